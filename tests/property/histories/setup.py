"""Owns what a history is about: the pipeline, its table's DDL, and the records that it may read. Runs nothing."""

from decimal import Decimal
from typing import Any

import msgspec
import orjson
from hypothesis import strategies as st
from msgspec import Struct

from ingestd.config import options as cfg
from tests.sinks.contracts import TOPIC

ABSENT = "absent"
BAD = -1
"""A value that the decoder takes and the table refuses."""
MENDED = 7
KEYS = 4
FIELDS = ("ts", "seq", "kept", "plain", "v")
_RANKS: dict[str, list[Any]] = {
    "int8": [-5, 0, 9, 10],
    "numeric(6,2)": [Decimal("-1.5"), Decimal("2"), Decimal("9.5"), Decimal("10")],
    "text": ["", "B", "a", "é"],
}
"""Values of the version column, ascending: as texts, numbers and locales do not all order them."""


class Setup(Struct, frozen=True):
    """One pipeline and its table."""

    mode: str = "upsert"
    version: tuple[str, ...] = ("ts",)
    """() is the offset."""
    ts_type: str = "int8"
    ts_stored: bool = True
    how: str = "none"
    tombstones: bool = False
    gate: bool = False
    keep: bool = True
    refusal: str = "check"
    partitions: int = 2
    direct: bool = True

    @property
    def hard(self) -> bool:
        return self.how == "hard"

    @property
    def chains(self) -> bool:
        """Whether a row may have fields of several records."""
        return self.mode == "upsert" and (self.keep or self.how == "soft")

    @property
    def stored(self) -> tuple[str, ...]:
        """The columns of the table in order; `gone` is the mark of soft deletes."""
        fields = tuple(name for name in FIELDS if name != "ts" or self.ts_stored)
        return ("id", *fields, *(("gone",) if self.how == "soft" else ()))

    def pipeline(self, name: str) -> cfg.Pipeline:
        """The pipeline, with a table and a gate of its own."""
        return msgspec.convert(
            {
                "name": name,
                "topic": TOPIC,
                "dead_letters": {"max_ratio": 1.0, "max_run": 1_000_000},
                "column": self._columns(),
                "table": self._table(name),
                **({"dedupe": {"table": f"seen_{name}", "key": "eid", "create": True}} if self.gate else {}),
            },
            cfg.Pipeline,
        )

    def _columns(self) -> list[dict[str, Any]]:
        columns: list[dict[str, Any]] = [
            {"name": "id", "type": "text", "required": True},
            {"name": "ts", "type": self.ts_type, "stored": self.ts_stored},
            {"name": "seq", "type": "int4"},
            {"name": "kept", "type": "text", "keep_when_absent": self.keep and self.mode == "upsert"},
            {"name": "plain", "type": "text"},
            {"name": "v", "type": "int4"},
            {"name": "op", "type": "text", "stored": False},
        ]
        return [*columns, {"name": "eid", "type": "text", "required": True, "stored": False}][: 8 if self.gate else 7]

    def _table(self, name: str) -> dict[str, Any]:
        table: dict[str, Any] = {"name": f"t_{name}", "mode": self.mode, "direct": self.direct}
        if self.mode != "append":
            table["key"] = ["id"]
        if self.mode == "upsert":
            table["version"] = list(self.version) or "offset"
        if self.how != "none":
            table["delete"] = {"when": {"op": "d"}, "tombstone": self.tombstones, "how": self.how}
        if self.how == "soft":
            table["delete"]["mark"] = "gone"
        return table

    def ddl(self, name: str, sqlite: bool) -> str:
        """The table. Its `v` refuses BAD at once, at the end of the statement, or at COMMIT."""
        number = "TEXT" if sqlite and self.ts_type.startswith("numeric") else self.ts_type
        kinds = {"id": "TEXT", "ts": number, "seq": "integer", "kept": "TEXT", "plain": "TEXT", "v": "integer"}
        refuse = "CHECK (v > 0)" if self.refusal == "check" else "REFERENCES parents (v)"
        kinds["id"] += "" if self.mode == "append" else " PRIMARY KEY"
        kinds["v"] += f" {refuse}" + (" DEFERRABLE INITIALLY DEFERRED" if self.refusal == "deferred" else "")
        kinds["gone"] = "integer NOT NULL DEFAULT 0" if sqlite else "boolean NOT NULL DEFAULT false"
        return f"CREATE TABLE t_{name} ({', '.join(f'{column} {kinds[column]}' for column in self.stored)})"

    def rank(self, stored: Any) -> int | None:
        """The place of a stored version in `_RANKS`."""
        if stored is None:
            return None
        values = _RANKS[self.ts_type]
        return values.index(Decimal(stored) if self.ts_type.startswith("numeric") else stored)


class Change(Struct, frozen=True):
    """One record. Its key decides the partition, so that one partition orders all records of a key."""

    key: int
    ts: int | str | None = ABSENT
    seq: int | str | None = ABSENT
    kept: str | None = ABSENT
    plain: str | None = ABSENT
    v: int | str | None = ABSENT
    op: str = "u"
    eid: str = ""
    form: str = "json"
    """json, tombstone, garbage (no JSON), keyless (without id)."""

    @property
    def id(self) -> str:
        return f"k{self.key}"

    def fields(self) -> dict[str, Any]:
        """The fields that the record has."""
        if self.form == "tombstone":
            return {}
        return {name: value for name in FIELDS if (value := getattr(self, name)) != ABSENT}

    def payload(self, setup: Setup) -> bytes | None:
        if self.form == "tombstone":
            return None
        if self.form == "garbage":
            return b'{"id":"k0","v":[0'
        value = {"op": self.op, "eid": self.eid, **self.fields()}
        if self.form != "keyless":
            value["id"] = self.id
        if isinstance(self.ts, int):
            value["ts"] = _RANKS[setup.ts_type][self.ts]
        return orjson.dumps(value, default=lambda number: orjson.Fragment(str(number)))

    def deletes(self, setup: Setup) -> bool:
        return setup.how != "none" and (self.op == "d" or self.form == "tombstone")

    def undecodable(self, setup: Setup) -> bool:
        """Whether ingestd itself refuses the record."""
        if self.form == "tombstone":
            return not (setup.how != "none" and setup.tombstones)
        return self.form != "json" or self.v == "abc"

    def refused_by_table(self, setup: Setup) -> bool:
        """Whether the table would refuse the row that the record writes. A hard delete writes none."""
        return self.form == "json" and self.v == BAD and not (setup.hard and self.deletes(setup))


_TEXT = st.sampled_from([ABSENT, None, "x", "y"])
_NUMBER = st.sampled_from([ABSENT, None, 1, 2])
FORMS = st.sampled_from(["json"] * 12 + ["tombstone", "tombstone", "garbage", "keyless"])


def changes(setup: Setup) -> st.SearchStrategy[Change]:
    """Records for `setup`. Where a row may be folded away unseen, an event's id is never used for two contents."""
    return st.builds(
        Change,
        key=st.integers(0, KEYS - 1),
        ts=st.none() | st.integers(0, 3),
        seq=_NUMBER,
        kept=_TEXT,
        plain=_TEXT,
        v=st.sampled_from([ABSENT, None, 1, 2, 3, 4, BAD, "abc"]),
        op=st.sampled_from("uuud"),
        eid=st.sampled_from("abc"),
        form=FORMS,
    )


@st.composite
def setups(draw: st.DrawFn) -> Setup:
    """Any pipeline that `ingestd check` lets pass."""
    mode = draw(st.sampled_from(["upsert", "upsert", "upsert", "insert", "append"]))
    upsert = mode == "upsert"
    how = draw(st.sampled_from(["none", "soft", "hard"])) if upsert else "none"
    version = draw(st.sampled_from([(), ("ts",), ("ts", "seq")])) if upsert else ()
    gate = draw(st.booleans())
    return Setup(
        mode=mode,
        version=version,
        ts_type=draw(st.sampled_from(sorted(_RANKS))),
        ts_stored=not (how == "hard" and "ts" in version) or draw(st.booleans()),
        how=how,
        tombstones=how != "none" and not gate and draw(st.booleans()),
        gate=gate,
        keep=draw(st.booleans()),
        refusal=draw(st.sampled_from(["check", "check", "foreign_key", "deferred"])),
        partitions=draw(st.integers(1, 3)),
        direct=draw(st.booleans()),
    )
