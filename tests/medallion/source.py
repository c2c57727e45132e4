"""A table whose changes become Debezium's events in compacted bronze files. Knows nothing of stage and current."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ingestd.config import options as cfg
from ingestd.run_id import Run, new_run_id
from ingestd.stores.open import open_runs, open_store
from ingestd.stores.runs import ENDED
from ingestd.stores.store import LedgerKey

UNAVAILABLE = "__debezium_unavailable_value"
TOPIC = "shop.public.customers"
BRONZE_SCHEMA = pa.schema(
    [
        ("event", pa.string()),
        ("key", pa.string()),
        ("topic", pa.string()),
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("ts", pa.timestamp("us", "UTC")),
        ("run_id", pa.string()),
    ]
)
_SOURCES = {"event": "value", "topic": "topic", "partition": "partition", "offset": "offset", "ts": "timestamp"}
_TYPES = {"partition": "int4", "offset": "int8", "ts": "timestamptz"}
Row = dict[str, Any]


def bronze(root: Path, *tables: cfg.MedallionTable, **options: Any) -> cfg.Pipeline:
    """A bronze pipeline below `root`."""
    names = (*_SOURCES, "key", "run_id")
    sources: dict[str, Any] = _SOURCES | {"key": "key", "run_id": "run"}
    return cfg.Pipeline(
        name="bronze",
        topic="shop.*",
        format="raw",
        column=tuple(cfg.Column(name=n, type=_TYPES.get(n, "text"), source=sources[n]) for n in names),
        lake=cfg.Lake(
            path=str(root / "bronze"),
            partition_by=("run_id",),
            compact=cfg.Compaction(into=str(root / "compacted")),
        ),
        medallion=cfg.Medallion(table=tables, **options),
    )


class Runs:
    """Executions of a daemon that did nothing but fill bronze."""

    def __init__(self, root: Path, store: cfg.Store):
        self._root = root
        self._options = store
        self._clock = 1_700_000_000_000

    def begin(self, host: str = "here") -> str:
        """A run that is running, on a host of that name; its id."""
        self._clock += 1000
        run = Run(new_run_id(self._clock), host, 1, "gone")
        opened = open_store(self._options, LedgerKey("bronze", TOPIC))
        opened.prepare()
        runs = open_runs(self._options)
        runs.prepare(opened.open())
        runs.begin(opened.open(), run, ["bronze"])
        opened.close()
        return run.run_id

    def end(self, run_id: str) -> None:
        opened = open_store(self._options, LedgerKey("bronze", TOPIC))
        open_runs(self._options).end(opened.open(), run_id, ENDED)
        opened.close()

    def fill(self, run_id: str, events: list[Row]) -> None:
        """The run's compacted file."""
        directory = self._root / "compacted" / f"run_id={run_id}"
        directory.mkdir(parents=True)
        rows = [event | {"run_id": run_id} for event in events]
        pq.write_table(
            pa.Table.from_pylist(rows, BRONZE_SCHEMA), directory / "events_compacted.parquet", row_group_size=7
        )

    def past(self, events: list[Row]) -> str:
        """A run that has ended and is compacted; its id."""
        run_id = self.begin()
        self.fill(run_id, events)
        self.end(run_id)
        return run_id


class Customers:
    """A table (id, name, notes), with notes TOASTed; `rows` is what it holds, `take()` the events since the last."""

    def __init__(self, partition: int = 0, topic: str = TOPIC, with_schema: bool = True):
        self.rows: dict[int, Row] = {}
        self.columns: dict[str, str] = {"id": "int64", "name": "string", "notes": "string"}
        self.offset = 0
        self._partition = partition
        self._topic = topic
        self._with_schema = with_schema
        self._events: list[Row] = []

    def take(self) -> list[Row]:
        taken, self._events = self._events, []
        return taken

    def create(self, id: int, op: str = "c", **values: Any) -> None:
        """Or, with op "r", what a snapshot reads."""
        self.rows[id] = {name: values.get(name) for name in self.columns} | {"id": id}
        self._say(id, op, None, self.rows[id])

    def update(self, id: int, **values: Any) -> None:
        """An event brings notes only when they change."""
        self.rows[id] = self.rows[id] | values
        after = dict(self.rows[id])
        if "notes" not in values and after["notes"] is not None:
            after["notes"] = UNAVAILABLE
        self._say(id, "u", None, after)

    def delete(self, id: int) -> None:
        del self.rows[id]
        self._say(id, "d", {name: id if name == "id" else None for name in self.columns}, None)
        self.raw(self._key(id), None)

    def change_key(self, id: int, to: int) -> None:
        """As Debezium sends it: a delete, its tombstone, a create with every value."""
        row = self.rows[id]
        self.delete(id)
        self.create(to, **{name: value for name, value in row.items() if name != "id"})

    def truncate(self) -> None:
        self.rows.clear()
        self._say(None, "t", None, None)

    def add_column(self, name: str, kind: str = "string") -> None:
        """Rows that there are have null in it, and no event says so."""
        self.columns[name] = kind
        for row in self.rows.values():
            row[name] = None

    def raw(self, key: str | None, value: str | None) -> None:
        """Any record."""
        self._events.append(
            {
                "event": value,
                "key": key,
                "topic": self._topic,
                "partition": self._partition,
                "offset": self.offset,
                "ts": 1_700_000_000_000_000 + self.offset,
            }
        )
        self.offset += 1

    def _say(self, id: int | None, op: str, before: Row | None, after: Row | None) -> None:
        payload = {"before": before, "after": after, "source": {"lsn": 1000 + self.offset}, "op": op, "ts_ms": 1}
        document: Any = {"schema": self._schema(), "payload": payload} if self._with_schema else payload
        self.raw(None if id is None else self._key(id), json.dumps(document))

    def _key(self, id: int) -> str:
        if not self._with_schema:
            return json.dumps({"id": id})
        schema = {"type": "struct", "fields": [{"type": "int64", "optional": False, "field": "id"}], "optional": False}
        return json.dumps({"schema": schema, "payload": {"id": id}})

    def _schema(self) -> Row:
        fields = [{"type": kind, "optional": name != "id", "field": name} for name, kind in self.columns.items()]
        row = {"type": "struct", "fields": fields, "optional": True}
        ends = [row | {"field": "before"}, row | {"field": "after"}]
        return {"type": "struct", "fields": ends, "name": f"{self._topic}.Envelope"}
