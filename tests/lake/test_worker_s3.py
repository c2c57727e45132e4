"""A worker whose lake is in a bucket: each record once, whoever is killed, and the object store goes and comes back."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ingestd import cli
from ingestd.embedded.kafka import KafkaServer
from ingestd.errors import ExitCode
from tests.fix_proxy import Proxy
from tests.fix_s3 import S3Server
from tests.fix_servers import MakeTopic, Produce
from tests.lake.flow import destroying, records
from tests.lake.flow_s3 import BucketFlow

# The first one may build the object store.
pytestmark = pytest.mark.timeout(900)

TABLE = {"name": "sink", "mode": "insert", "key": ["id"], "create": True}
COUNT = 2_300
MakeBucketFlow = Callable[..., BucketFlow]


@pytest.fixture
def flow(
    kafka: KafkaServer, url: str, topic: MakeTopic, tmp_path: Path, s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MakeBucketFlow]:
    """`flow(**pipeline)`: a topic and its pipeline, on both stores, with a lake in a new bucket.

    Its workers write to TMPDIR `first`, on the way to the bucket; `other` is another host's.
    """
    for host in ("first", "other"):
        (tmp_path / host).mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "first"))
    with contextlib.ExitStack() as made:

        def make(**pipeline: Any) -> BucketFlow:
            one = BucketFlow(kafka.bootstrap_servers, url, topic(1), tmp_path, s3_url, **pipeline)
            made.enter_context(destroying(one))
            return one

        yield make


@pytest.fixture
def proxy(aws: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """The way to the object store of every process that is started while it is there."""
    found = Proxy("127.0.0.1", aws.port)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{found.port}")
    yield found
    found.stop()


@pytest.mark.parametrize("step", ["uploaded", "committed", "copied"])
def test_another_host_ends_what_a_killed_one_left_and_no_record_is_lost_or_doubled(
    flow: MakeBucketFlow, produce: Produce, step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = flow(table=TABLE)
    produce(one.topic, records(0, COUNT))
    killed = one.start(patch=f"tests.lake.crashes:kill_at_s3:{step}")
    assert killed.exit_code(60) == -signal.SIGKILL, killed.errors
    assert one.cursors() == {0: 500 if step == "uploaded" else 1_000}
    assert one.keys("_staging"), "the test is about what is left there"
    assert len(one.ids()) == len(set(one.ids())) <= one.cursors()[0], "nobody sees a row twice, or an uncommitted one"
    # The other one has nothing of the first one's disk.
    monkeypatch.setenv("TMPDIR", str(tmp_path / "other"))
    worker = one.start()
    worker.until(lambda: one.cursors("table") == {0: COUNT})
    one.stop(worker)
    assert one.ids() == list(range(COUNT))
    one.check()
    assert one.ask("SELECT count(*) FROM sink") == [(COUNT,)]


def test_store_that_is_away_is_waited_for_and_the_partition_resumes_alone(
    flow: MakeBucketFlow, produce: Produce, proxy: Proxy, aws: S3Server
) -> None:
    one = flow()
    produce(one.topic, records(0, 700))
    worker = one.start()
    worker.until(lambda: one.cursors() == {0: 500})
    proxy.stop()
    if aws.is_durable:
        aws.kill()
    produce(one.topic, records(700, COUNT - 700))
    worker.until(lambda: worker.lanes[0]["state"] == "RETRYING")
    assert "cannot be reached" in worker.lanes[0]["text"] and "waits" in worker.lanes[0]["text"]
    assert one.cursors() == {0: 500}
    if aws.is_durable:
        aws.start()
    proxy.start()
    worker.until(lambda: one.cursors("table") == {0: COUNT}, 60)
    one.stop(worker)
    assert one.ids() == list(range(COUNT))
    one.check()


def test_wrong_credentials_halt_with_what_to_do_and_the_right_ones_go_on(
    flow: MakeBucketFlow, produce: Produce, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = flow()
    produce(one.topic, records(0, 700))
    with monkeypatch.context() as wrong:
        wrong.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
        halted = one.start()
        assert halted.exit_code(60) == ExitCode.HALTED
    said = halted.lanes[0]["text"]
    assert "AWS_ACCESS_KEY_ID" in said and "wrong-secret" not in said + "".join(halted.errors)
    assert one.keys() == []
    worker = one.start()
    worker.until(lambda: one.cursors("table") == {0: 700})
    one.stop(worker)
    assert one.ids() == list(range(700))
    one.check()


def test_commands_read_merge_and_account_for_the_objects(
    flow: MakeBucketFlow, produce: Produce, capsys: pytest.CaptureFixture[str]
) -> None:
    one = flow()
    one.pipeline["lake"]["compact"] = {"min_files": 2, "readers": "manifest"}
    produce(one.topic, [*records(0, 1_200), b"no json"])
    worker = one.start()
    worker.until(lambda: one.cursors("table") == {0: 1_201})
    one.stop(worker)
    one.check()
    query = "SELECT count(*) AS rows, count(DISTINCT id) AS ids, max(id) AS last FROM lake"

    def ran(*command: str) -> tuple[int, str]:
        name, *more = command
        part = [*name.split(), "--config", one.file(), *more]
        return cli.main(part), capsys.readouterr().out

    ask = ("query", "--lake", "p", "--sql", query, "--format", "csv")
    assert ran(*ask) == (ExitCode.OK, "rows,ids,last\n1200,1200,1199\n")
    before = len(one.manifest())
    assert ran("lake compact")[0] == ExitCode.OK
    assert len(one.manifest()) == 3 < before
    assert ran(*ask) == (ExitCode.OK, "rows,ids,last\n1200,1200,1199\n")
    assert ran("verify")[0] == ExitCode.OK
    one.place.remove(gone := min(one.manifest()))
    code, said = ran("verify")
    assert code == ExitCode.UNACCOUNTED and f"{gone}: is gone" in said
