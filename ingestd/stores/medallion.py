"""What became of each run on its way to stage and current, in the store. Knows no database and no file.

`ingestd.stores.postgres.medallion` and `ingestd.stores.sqlite.medallion` execute the statements.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol

import msgspec
from msgspec import Struct, structs

COMMITTED = "committed"
"""It counts, but its files may still be in the workroom."""
SETTLED = "settled"


class Statements(Protocol):
    """Executes statements of `sql/medallion.sql` by name. `connection` is as the store opens it."""

    def prepare(self, connection: Any) -> None:
        """Create the tables that are missing. Raises: Halt with the statements when this role may not."""
        ...

    def read(self, connection: Any, name: str, values: Mapping[str, Any]) -> list[Any]:
        """The rows, as of now."""
        ...

    def write(self, cursor: Any, name: str, values: Mapping[str, Any]) -> int:
        """In the cursor's transaction; how many rows changed."""
        ...

    def commit(self, connection: Any, name: str, values: Mapping[str, Any]) -> None:
        """In a transaction of its own."""
        ...


class StageUnit(Struct, frozen=True, kw_only=True):
    """One run's events of one stage table: events = rows + dead + ignored."""

    run_id: str
    table: str
    topic: str
    state: str = COMMITTED
    events: int
    rows: int
    dead: int
    ignored: int
    """Tombstones, heartbeats, transaction markers: they hold nothing to store."""
    truncates: int
    """Among the rows."""
    files: int
    nbytes: int
    partitions: dict[str, tuple[int, int]]
    """Partition -> its first offset, and the one after the last."""
    key: tuple[str, ...] = ()
    """Columns of the primary key; none where the source's table has none."""


class StagedRun(Struct, frozen=True, kw_only=True):
    """A run of which every event is accounted for: those of its units, and `unread` ones of topics without a table."""

    run_id: str
    events: int
    unread: int


class CurrentTable(Struct, frozen=True, kw_only=True):
    """A version of one current table."""

    table: str
    version: int = 0
    """0 before the first merge."""
    state: str = SETTLED
    buckets: int = 0
    key_types: str = ""
    """Names and types of the key's columns: the hash of a key depends on them."""
    rows: int = 0
    nbytes: int = 0


class StageLedger:
    """The stage of one pipeline."""

    def __init__(self, statements: Statements, pipeline: str):
        self._statements = statements
        self._pipeline = pipeline

    def units(self, connection: Any) -> list[StageUnit]:
        """All of them, by run."""
        rows = self._statements.read(connection, "list_units", {"pipeline": self._pipeline})
        names = StageUnit.__struct_fields__
        found = [(*row[:-2], *map(msgspec.json.decode, row[-2:])) for row in rows]
        return [msgspec.convert(dict(zip(names, row, strict=True)), StageUnit) for row in found]

    def add(self, cursor: Any, unit: StageUnit) -> None:
        """In the transaction that makes it count. Raises the driver's error when it is there already."""
        documents = {name: msgspec.json.encode(getattr(unit, name)).decode() for name in ("partitions", "key")}
        values = structs.asdict(unit) | documents
        self._statements.write(cursor, "add_unit", {"pipeline": self._pipeline, **values})

    def settle(self, connection: Any, unit: StageUnit) -> None:
        """Its files are in place. Commits."""
        values = {"pipeline": self._pipeline, "table": unit.table, "run_id": unit.run_id}
        self._statements.commit(connection, "settle_unit", values)

    def runs(self, connection: Any) -> dict[str, StagedRun]:
        """Those that are staged, by id."""
        rows = self._statements.read(connection, "list_staged_runs", {"pipeline": self._pipeline})
        return {row[0]: StagedRun(run_id=row[0], events=row[1], unread=row[2]) for row in rows}

    def add_run(self, connection: Any, run: StagedRun) -> None:
        """All of its units are there. Commits."""
        self._statements.commit(connection, "add_staged_run", {"pipeline": self._pipeline, **structs.asdict(run)})


class CurrentLedger:
    """The current tables of one pipeline."""

    def __init__(self, statements: Statements, pipeline: str):
        self._statements = statements
        self._pipeline = pipeline

    def tables(self, connection: Any) -> dict[str, CurrentTable]:
        """Those that there are, by name."""
        rows = self._statements.read(connection, "list_tables", {"pipeline": self._pipeline})
        names = CurrentTable.__struct_fields__
        return {row[0]: CurrentTable(**dict(zip(names, row, strict=True))) for row in rows}

    def merged(self, connection: Any, table: str) -> set[str]:
        """Ids of the runs whose stage partitions are in the table."""
        rows = self._statements.read(connection, "merged_runs", {"pipeline": self._pipeline, "table": table})
        return {row[0] for row in rows}

    def publish(self, cursor: Any, table: CurrentTable, runs: Collection[str]) -> bool:
        """The next version, with these runs merged, in the caller's transaction. False: another merge was first."""
        values = {"pipeline": self._pipeline, **structs.asdict(table)}
        self._statements.write(cursor, "first_version", values)
        if self._statements.write(cursor, "next_version", values) != 1:
            return False
        for run_id in sorted(runs):
            self._statements.write(cursor, "add_merged_run", values | {"run_id": run_id})
        return True

    def settle(self, connection: Any, table: CurrentTable) -> None:
        """This version is in place. Commits."""
        self._statements.commit(connection, "settle_table", {"pipeline": self._pipeline, **structs.asdict(table)})
