"""Several topics in one worker process: how one ends, and what that is to the others."""

import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest

from ingestd.board import Board, SlotCell
from ingestd.config import options as cfg
from ingestd.embedded.kafka import KafkaServer
from ingestd.errors import ExitCode
from ingestd.planning import Part, WorkerPlan
from ingestd.worker.process import Crew, Heart, allow_files, shared_out
from tests.fix_servers import MakeTopic, Produce
from tests.sinks.contracts import ask
from tests.worker.worker_process import WorkerProcess

MakeCrew = Callable[..., WorkerProcess]


@pytest.fixture
def crew(kafka: KafkaServer, database: str) -> Iterator[MakeCrew]:
    """`crew(topics, patch="")` starts a worker for partition 0 of each, into the tables that they name."""
    made: list[WorkerProcess] = []

    def start(topics: list[str], patch: str = "") -> WorkerProcess:
        pipeline = {
            "name": "p",
            "topic": "crew-*",
            "column": [{"name": "id", "type": "int4"}],
            "table": {"name": "{table}", "mode": "insert", "key": ["id"], "create": True},
        }
        config = {
            "kafka": {"bootstrap_servers": kafka.bootstrap_servers, "group_id": "workers"},
            "store": {"url": database},
            "pipeline": [pipeline],
        }
        made.append(WorkerProcess(config, list(range(len(topics))), patch, topics))
        return made[-1]

    yield start
    for one in made:
        one.end()


@pytest.fixture
def topics(topic: MakeTopic, produce: Produce) -> list[str]:
    """Three topics with ten records each."""
    made = [topic(1, name=f"crew-{time.monotonic_ns()}-{table}.{table}") for table in ("a", "b", "c")]
    for name in made:
        produce(name, [orjson.dumps({"id": number}) for number in range(10)])
    return made


def read(one: WorkerProcess, *numbers: int, upto: int = 10) -> bool:
    return all(one.lanes.get(number, {}).get("next_offset") == upto for number in numbers)


def test_term_stops_all_topics(crew: MakeCrew, topics: list[str]) -> None:
    one = crew(topics)
    one.until(lambda: read(one, 0, 1, 2))
    one.process.send_signal(signal.SIGTERM)
    assert one.exit_code() == ExitCode.OK
    assert {lane["state"] for lane in one.lanes.values()} == {"RELEASED"}


def test_one_fenced_topic_ends_the_process_and_the_others_commit_what_they_have(
    crew: MakeCrew, topics: list[str], produce: Produce
) -> None:
    one = crew(topics)
    one.until(lambda: read(one, 0, 1, 2))
    other = crew(topics[1:2])
    other.until(lambda: read(other, 0))
    produce(topics[1], [b'{"id": 11}'])
    assert one.exit_code() == ExitCode.LEASE_LOST
    assert (one.lanes[0]["state"], one.lanes[2]["state"]) == ("RELEASED", "RELEASED")
    other.until(lambda: read(other, 0, upto=11))


def test_halted_topics_leave_the_others_and_all_halted_is_halted(
    crew: MakeCrew, topics: list[str], produce: Produce, database: str
) -> None:
    for table in ("a", "c"):
        ask(database, f"CREATE TABLE {table} (id text PRIMARY KEY)")
    one = crew(topics)
    one.until(lambda: [one.lanes.get(n, {}).get("state") for n in (0, 2)] == ["HALTED", "HALTED"])
    one.until(lambda: read(one, 1))
    produce(topics[1], [b"no json"] * 300)
    assert one.exit_code() == ExitCode.HALTED


def test_a_defect_with_one_topic_is_not_the_end_of_the_others(crew: MakeCrew, topics: list[str]) -> None:
    one = crew(topics, patch=f"tests.worker.crashing:crash_once:{topics[1]}")
    one.until(lambda: read(one, 0, 1, 2))
    assert "RETRYING" in one.states[1], "it was away for a moment"
    assert "RETRYING" not in one.states[0] + one.states[2]


class _Hand(threading.Thread):
    """Turns until it is told to hang."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.code: ExitCode | None = None
        self.turned_at = 0.0
        self.hangs = False
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(0.02):
            self.turned_at = self.turned_at if self.hangs else time.monotonic()
        self.code = ExitCode.OK

    def stop(self) -> None:
        self._over.set()


def test_the_heart_beats_only_while_every_topic_turns() -> None:
    board, hands = Board(), [_Hand(), _Hand()]
    pipeline = cfg.Pipeline(name="p", topic="*", table=cfg.Table(name="{table}"))
    config: Any = cfg.Config(
        kafka=cfg.Kafka(bootstrap_servers="h:1", group_id="g"), store=cfg.Store(url="sqlite:///x"), pipeline=(pipeline,)
    )
    crew = Crew(config, WorkerPlan(9, 0, (Part("a", (0,), {0: 0}),)), board, Heart(board, 9))
    crew._hands = hands  # type: ignore[assignment]
    codes: list[ExitCode] = []
    runner = threading.Thread(target=lambda: codes.append(crew.run()), daemon=True)
    runner.start()

    def beats(secs: float = 5) -> bool:
        before, deadline = board.slot(9, SlotCell.BEAT_NS), time.monotonic() + secs
        while time.monotonic() < deadline:
            if board.slot(9, SlotCell.BEAT_NS) != before:
                return True
            time.sleep(0.01)
        return False

    assert beats()
    hands[1].hangs = True
    beats(0.6)  # the one that was under way
    assert not beats(1.5), "one hangs"
    hands[1].hangs = False
    assert beats()
    crew.stop()
    runner.join(10)
    assert codes == [ExitCode.OK]


def test_memory_of_a_process_is_shared_by_its_topics() -> None:
    pipeline = cfg.Pipeline(name="p", topic="*", table=cfg.Table(name="{table}"))
    config = cfg.Config(
        kafka=cfg.Kafka(bootstrap_servers="h:1", group_id="g"), store=cfg.Store(url="sqlite:///x"), pipeline=(pipeline,)
    )
    shared = shared_out(config, 8)
    assert shared.workers.prefetch * 8 == config.workers.prefetch
    assert shared.pipeline[0].batch.max_bytes * 8 == pipeline.batch.max_bytes
    assert shared_out(config, 1000).pipeline[0].batch.max_bytes == 1024 * 1024, "a batch that still pays"


def test_many_topics_may_have_more_files_than_the_soft_limit() -> None:
    pid = os.fork()
    if pid == 0:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (300, hard))
        allow_files(1)
        few = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        allow_files(25)
        many = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        os._exit(0 if few == 300 and many > 1_000 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
