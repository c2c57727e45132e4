"""A directory as a lake's place: nothing is overwritten, every step may be repeated, and errors say what to do."""

import errno
import os
from pathlib import Path

import pytest

from ingestd.errors import Halt, Retryable
from ingestd.lake.places.faults import fault, faults
from ingestd.lake.places.local import LocalPlace
from ingestd.lake.places.turns import alone, shared

STAGED = "_staging/p/t-0/x.parquet.staged"
FINAL = "d=a/x.parquet"


def staged(place: LocalPlace, text: bytes = b"rows") -> None:
    scratch = place.scratch(STAGED)
    scratch.write_bytes(text)
    place.seal(scratch, STAGED)


def keys(place: LocalPlace, prefix: str = "") -> list[str]:
    return sorted(found.key for found in place.list(prefix))


def test_a_staged_file_is_never_made_twice(tmp_path: Path) -> None:
    place = LocalPlace(str(tmp_path))
    staged(place)
    with pytest.raises(FileExistsError):
        place.scratch(STAGED)
    assert (tmp_path / STAGED).read_bytes() == b"rows"


def test_publishing_and_sealing_may_be_repeated_by_anybody(tmp_path: Path) -> None:
    place, other = LocalPlace(str(tmp_path)), LocalPlace(str(tmp_path))
    staged(place)
    place.seal(tmp_path / STAGED, STAGED)
    for host in (place, other, place):
        assert host.publish(STAGED, FINAL)
    assert (tmp_path / FINAL).read_bytes() == b"rows"
    assert not (tmp_path / STAGED).exists()


def test_removing_takes_empty_directories_along_but_never_the_root_or_a_neighbour(tmp_path: Path) -> None:
    root = tmp_path / "root"
    place = LocalPlace(str(root))
    for key in ("a=1/b=1/x", "a=1/b=2/y"):
        scratch = place.scratch(key)
        place.seal(scratch, key)
    place.remove("a=1/b=1/x")
    assert not (root / "a=1/b=1").exists() and (root / "a=1/b=2/y").exists()
    place.remove("a=1/b=2/y")
    place.remove("a=1/b=2/y")
    assert list(root.iterdir()) == []
    staged(place)
    assert place.publish(STAGED, "a=1/b=2/y"), "directories that are gone are made again"


def test_a_file_in_the_way_halts_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "d=a").write_text("")
    place = LocalPlace(str(tmp_path))
    staged(place)
    with pytest.raises(Halt, match="move it away"):
        place.publish(STAGED, FINAL)
    assert (tmp_path / STAGED).exists()


@pytest.mark.parametrize(
    ("number", "decision", "said"),
    [
        (errno.ENOSPC, Retryable, "disk is full"),
        (errno.EDQUOT, Retryable, "quota"),
        (errno.EIO, Retryable, "kernel's log"),
        (errno.EMFILE, Retryable, "max_open_files"),
        (errno.ETIMEDOUT, Retryable, "timed out"),
        (errno.EACCES, Halt, "this user may not"),
        (errno.EPERM, Halt, "this user may not"),
        (errno.EROFS, Halt, "read-only"),
        (errno.ENAMETOOLONG, Halt, "too long"),
    ],
)
def test_errors_of_the_system_decide_between_waiting_and_halting(number: int, decision: type, said: str) -> None:
    found = fault(OSError(number, os.strerror(number)), "lake/x: write")
    assert type(found) is decision
    assert str(found).startswith("lake/x: write: ") and said in str(found) and "\n" not in str(found)
    with pytest.raises(decision), faults("x"):
        raise OSError(number, os.strerror(number))


def test_settlers_share_the_lake_and_an_exchange_has_it_alone(tmp_path: Path) -> None:
    first, second = LocalPlace(str(tmp_path)), LocalPlace(str(tmp_path))
    with shared(first) as one, shared(second, 0) as two, alone(second, 0) as three:
        assert (one, two, three) == (True, True, False)
    with alone(first, 0) as one, shared(second, 0) as two, alone(second, 0) as three:
        assert (one, two, three) == (True, False, False)
    with shared(second, 0) as again:
        assert again
