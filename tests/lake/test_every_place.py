"""What a directory and a bucket both promise: nothing is overwritten, and every step may be repeated by anybody."""

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ingestd.errors import Halt
from ingestd.lake.identity import check_identity
from ingestd.lake.open import open_place
from ingestd.lake.place import Place
from ingestd.lake.settle import remove_leftovers, settle
from ingestd.lake.writing.writer import LakeWriter
from tests.lake.lakes import MemoryManifest, pipeline, roll, rows_of
from tests.lake.test_writer import COLUMNS, batch

# The first one may build the object store.
pytestmark = pytest.mark.timeout(900)

STAGED = "_staging/p/t-0/x.parquet.staged"
FINAL = "d=a%2F%20~/x.parquet"

Host = Callable[[], Place]


@pytest.fixture(params=["local", "s3"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """`lake.path` of a root that is not there yet."""
    return str(tmp_path / "root") if request.param == "local" else str(request.getfixturevalue("s3_url"))


@pytest.fixture
def host(path: str) -> Host:
    """`host()`: the root as one more host opens it."""

    def opened() -> Place:
        of = pipeline(path, *COLUMNS)
        assert of.lake is not None
        return open_place(of.lake)

    return opened


def staged(place: Place, key: str = STAGED, text: bytes = b"rows") -> Path:
    scratch = place.scratch(key)
    scratch.write_bytes(text)
    place.seal(scratch, key)
    return scratch


def keys(place: Place, prefix: str = "") -> list[str]:
    return sorted(found.key for found in place.list(prefix))


def content(place: Place, key: str) -> bytes:
    with place.read(key) as file:
        return bytes(file.read())


def test_a_staged_file_is_never_made_twice(host: Host) -> None:
    place = host()
    place.scratch(STAGED)
    with pytest.raises(FileExistsError):
        place.scratch(STAGED)


def test_sealing_may_be_repeated(host: Host) -> None:
    place = host()
    scratch = staged(place)
    place.seal(scratch, STAGED)
    assert content(place, STAGED) == b"rows"


def test_publishing_may_be_repeated_by_any_host(host: Host) -> None:
    first, second = host(), host()
    staged(first)
    for place in (first, second, first):
        assert place.publish(STAGED, FINAL)
        assert (keys(place), keys(place, "_staging")) == ([FINAL], [])
    assert content(second, FINAL) == b"rows"


def test_two_hosts_that_publish_at_once_both_succeed(host: Host) -> None:
    places = [host() for _ in range(4)]
    for n in range(5):
        staged(places[0], f"{STAGED}{n}")
        ready = threading.Barrier(len(places))
        found: list[bool] = []

        def publish(place: Place, number: int, ready: threading.Barrier, found: list[bool]) -> None:
            ready.wait(10)
            found.append(place.publish(f"{STAGED}{number}", f"{FINAL}{number}"))

        threads = [threading.Thread(target=publish, args=(place, n, ready, found)) for place in places]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [True] * len(places)
        assert content(places[0], f"{FINAL}{n}") == b"rows"


def test_publishing_what_is_nowhere_says_so_and_makes_nothing(host: Host) -> None:
    place = host()
    assert not place.publish(STAGED, FINAL)
    assert keys(place) == []


def test_files_are_listed_without_the_staged_ones_unless_asked_for(host: Host) -> None:
    place = host()
    assert keys(place) == [] and keys(place, "_staging") == []
    place.identity("id")
    for key in (STAGED, "_staging/p/t-01/y", "d=a/_staging/y", "foreign.csv"):
        staged(place, key)
    assert keys(place) == ["d=a/_staging/y", "foreign.csv"]
    assert keys(place, "d=a") == ["d=a/_staging/y"]
    assert keys(place, "_staging/p/t-0") == [STAGED]
    assert keys(place, "_staging") == [STAGED, "_staging/p/t-01/y"]
    (found,) = place.list("_staging/p/t-0")
    assert found.nbytes == 4 and found.modified.tzinfo is not None


def test_removing_may_be_repeated_and_takes_nothing_else(host: Host) -> None:
    place = host()
    for key in ("a=1/b=1/x", "a=1/b=2/y"):
        staged(place, key)
    for _ in range(2):
        place.remove("a=1/b=1/x")
    assert keys(place) == ["a=1/b=2/y"]


@pytest.mark.parametrize("key", ["", "../x", "a/../../x", "/etc/passwd", "a//b", "./a", "a\0b"])
def test_a_key_never_leaves_the_root(host: Host, key: str) -> None:
    place = host()
    uses: list[Callable[[], object]] = [
        lambda: place.scratch(key),
        lambda: place.publish(STAGED, key),
        lambda: place.publish(key, FINAL),
        lambda: place.remove(key),
        lambda: place.read(key),
    ]
    for use in uses:
        with pytest.raises(ValueError, match="no key of a lake"):
            use()


def test_reading_gives_any_range_or_says_that_there_is_no_file(host: Host) -> None:
    place = host()
    staged(place)
    assert place.publish(STAGED, FINAL)
    with place.read(FINAL) as file:
        assert (file.size(), file.read_at(2, 1), file.read_at(10, 2), file.read_at(1, 9)) == (4, b"ow", b"ws", b"")
    with pytest.raises(FileNotFoundError):
        place.read("d=a/y.parquet")


def test_the_first_identity_stays_also_of_several_that_come_together(host: Host) -> None:
    places = [host() for _ in range(6)]
    assert places[0].identity("") == ""
    found: list[str] = []
    ready = threading.Barrier(len(places))

    def ask(n: int) -> None:
        ready.wait(10)
        found.append(places[n].identity(f"id-{n}"))

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(len(places))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == len(places) and len(set(found)) == 1
    assert json.loads(content(host(), "_ingestd.json")) == {"lake_id": found[0]}


def test_a_root_that_is_not_empty_gets_no_identity(host: Host) -> None:
    place = host()
    staged(place, "x.parquet")
    assert place.identity("id") == ""
    with pytest.raises(Halt, match="not empty and no lake"):
        check_identity(place, MemoryManifest(), None)


@pytest.mark.parametrize("text", [b"", b"{}", b'{"lake_id": 1}', b"[]", b"\xff"])
def test_a_broken_identity_halts(host: Host, text: bytes) -> None:
    place = host()
    staged(place, "_ingestd.json", text)
    with pytest.raises(Halt, match="restore it"):
        place.identity("id")


def test_a_tile_goes_from_the_writer_to_its_readers(host: Host, path: str) -> None:
    place, manifest = host(), MemoryManifest()
    check_identity(place, manifest, None)
    of = pipeline(path, *COLUMNS, partition_by=["d"], buffer=1, max_open_files=2)
    for epoch, start in ((1, 0), (2, 0), (3, 3)):
        writer = LakeWriter(of, place, "t")
        writer.begin(0, start, epoch)
        writer.add(rows_of(batch(["a", "b", "c"], start), start))
        if epoch == 1:
            writer.seal(0)  # never committed
        else:
            assert roll(writer, place, manifest).tile.end == start + 3
    assert len(keys(place, "_staging")) == 3
    assert remove_leftovers(host(), manifest, None, "p", "t", {0: 4}) == 3
    assert settle(host(), manifest, None, manifest.files(None)), "once more, by another"
    assert keys(place) == sorted(file.key for file in manifest.all)
    found = []
    for file in manifest.all:
        with place.read(file.key) as opened:
            assert opened.size() == file.nbytes
            found += pq.read_table(opened, columns=["n"]).column(0).to_pylist()
    assert sorted(found) == list(range(6))
