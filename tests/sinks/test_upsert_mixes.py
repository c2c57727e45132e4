"""Random histories of upserts and deletes, cut into batches and rewound anywhere, end as if replayed one by one."""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Struct

from tests.sinks.changes import changes_of, commit_records, counted, on_disk, rewind
from tests.sinks.contracts import Bench, MemoryRecord, ask, records_of

_ABSENT = "absent"
_FIELD = st.sampled_from([_ABSENT, None, "x", "y", "z"])
_KEYS = 5
_DELETES = {
    "none": None,
    "soft": {"when": {"op": "d"}, "how": "soft", "mark": "gone"},
    "hard": {"when": {"op": "d"}, "how": "hard"},
}


class Change(Struct, frozen=True):
    """One record; the key decides its partition."""

    key: int
    ts: int | None
    op: str
    kept: str | None
    plain: str | None

    def value(self) -> dict[str, Any]:
        fields = {"id": f"k{self.key}", "ts": self.ts, "op": self.op, "kept": self.kept, "plain": self.plain}
        return {name: field for name, field in fields.items() if field != _ABSENT}


_CHANGES = st.lists(
    st.builds(
        Change,
        key=st.integers(0, _KEYS - 1),
        ts=st.none() | st.integers(0, 4),
        op=st.sampled_from("uuud"),
        kept=_FIELD,
        plain=_FIELD,
    ),
    min_size=1,
    max_size=30,
)


def _replayed(changes: list[Change], version: str, how: str) -> set[tuple[Any, ...]]:
    """(key, ts, kept, plain, gone) of the rows after the changes, one by one."""
    rows: dict[int, tuple[Any, ...]] = {}
    latest: dict[int, int] = {}
    for change in changes:
        at = 0 if version == "offset" else -1 if change.ts is None else change.ts
        if at < latest.get(change.key, at):
            continue
        latest[change.key] = at
        deletes = change.op == "d" and how != "none"
        if deletes and how == "hard":
            rows.pop(change.key, None)
            continue
        _, _, kept, plain, _ = rows.get(change.key, (None, None, None, None, None))
        kept = kept if change.kept == _ABSENT else change.kept
        if not (deletes and change.plain == _ABSENT):
            plain = None if change.plain == _ABSENT else change.plain
        rows[change.key] = (f"k{change.key}", change.ts, kept, plain, deletes)
    return set(rows.values())


def _fresh(database: str) -> None:
    ask(database, "DROP TABLE IF EXISTS t; DROP SCHEMA IF EXISTS ingestd CASCADE")


def _records(changes: list[Change], places: list[tuple[int, int]]) -> list[MemoryRecord]:
    records = []
    for change, (partition, offset) in zip(changes, places, strict=True):
        records += records_of([change.value()], offset, partition)
    return records


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    _CHANGES,
    st.lists(st.integers(1, 12), min_size=1, max_size=6),
    st.lists(st.integers(1, 12), min_size=1, max_size=6),
    st.sampled_from(["offset", "ts"]),
    st.sampled_from(sorted(_DELETES)),
    st.booleans(),
)
def test_history_in_any_batches_ends_as_one_by_one_and_a_rewind_changes_nothing(
    database: str, changes: list[Change], cuts: list[int], again: list[int], version: str, how: str, direct: bool
) -> None:
    _fresh(database)
    columns: dict[str, Any] = {
        "id": "text",
        "ts": "int8",
        "kept": {"type": "text", "keep_when_absent": True},
        "plain": "text",
        "op": {"type": "text", "stored": False},
    }
    bench = Bench(database, changes_of(columns, version=version, delete=_DELETES[how], direct=direct), (0, 1))
    ends = [0, 0]
    places = []
    for change in changes:
        partition = change.key % 2
        places.append((partition, ends[partition]))
        ends[partition] += 1
    records = _records(changes, places)
    _commit(bench, records, cuts)
    gone = "gone" if how == "soft" else "false"
    assert set(ask(database, f"SELECT id, ts, kept, plain, {gone} FROM t")) == _replayed(changes, version, how)
    counts = counted(bench)
    assert (
        counts.records
        == len(changes)
        == counts.inserted + counts.updated + counts.stale + counts.folded + counts.deleted
    )
    before = on_disk(bench)
    for partition in (0, 1):
        rewind(bench, 0, partition)
    _commit(bench, records, again)
    assert on_disk(bench) == before
    bench.store.close()


def _commit(bench: Bench, records: list[MemoryRecord], cuts: list[int]) -> None:
    at = n = 0
    while at < len(records):
        commit_records(bench, records[at : at + cuts[n % len(cuts)]])
        at += cuts[n % len(cuts)]
        n += 1
