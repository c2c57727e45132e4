"""Every dead letter is in the Parquet files exactly once, whatever ends the keeper."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from ingestd.errors import Retryable
from ingestd.keeper.export import SCHEMA, Export
from ingestd.stores.dead_letters import Purpose
from ingestd.stores.postgres.letters import PostgresLetters
from ingestd.stores.store import LedgerKey
from tests.keeper.conftest import Kept, turn_until

MakeKept = Callable[..., Kept]


class Forgetful:
    """An outbox whose first mark is lost, as by a crash just before it."""

    def __init__(self, outbox: PostgresLetters):
        self._outbox = outbox
        self._lost = False
        self.prepare, self.waiting = outbox.prepare, outbox.waiting

    def mark(self, purpose: Purpose, ids: Any) -> None:
        if not self._lost:
            self._lost = True
            raise Retryable("connection lost")
        self._outbox.mark(purpose, ids)


def rows(folder: Path) -> list[Any]:
    """All rows of all files, by id."""
    found = [row for path in sorted(folder.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]
    return sorted(found, key=lambda row: row["id"])


def test_letters_are_typed_rows(kept: MakeKept, tmp_path: Path) -> None:
    one = kept(parquet=str(tmp_path / "dead" / "letters"))
    one.refuse([b"bad \xff", None, b'{"id": "a", "v": "x"}'])
    turn_until(one.post(), lambda: one.marked("exported") == 3)
    (path,) = (tmp_path / "dead" / "letters").iterdir()
    assert pq.read_schema(path).equals(SCHEMA)
    found = rows(path.parent)
    assert [row["payload"] for row in found] == [b"bad \xff", None, b'{"id": "a", "v": "x"}']
    assert [(row["topic"], row["partition"], row["offset"], row["record_key"]) for row in found] == [
        ("orders", 0, n, b"key") for n in range(3)
    ]
    assert found[2]["column_name"] == "v"


def test_crash_between_file_and_mark_repeats_no_letter(kept: MakeKept, tmp_path: Path) -> None:
    one = kept(parquet=str(tmp_path))
    store = type(one.bench.store)(one.config.store, key := LedgerKey("p", "orders"))
    one.refuse([b"1", b"2", b"3"])
    duty = Export(one.bench.pipeline, Forgetful(PostgresLetters(store, key)), period_secs=0)
    with pytest.raises(Retryable):
        duty.turn()
    one.refuse([b"4"])
    turn_until(one.post(), lambda: one.marked("exported") == 4)
    assert [row["payload"] for row in rows(tmp_path)] == [b"1", b"2", b"3", b"4"]
    store.close()


def test_unfinished_file_is_not_read_as_parquet(kept: MakeKept, tmp_path: Path) -> None:
    one = kept(parquet=str(tmp_path))
    (tmp_path / ".p-000000000001-000000000001.parquet.unfinished").write_bytes(b"torn")
    one.refuse([b"1"])
    turn_until(one.post(), lambda: one.marked("exported") == 1)
    assert [row["payload"] for row in rows(tmp_path)] == [b"1"]


def test_directory_that_cannot_be_written_loses_nothing(kept: MakeKept, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    one = kept(parquet=str(tmp_path / "file"))
    one.refuse([b"1"])
    post = one.post()
    post.turn()
    assert one.marked("exported") == 0
    (tmp_path / "file").unlink()
    turn_until(post, lambda: one.marked("exported") == 1)
    assert len(rows(tmp_path / "file")) == 1
