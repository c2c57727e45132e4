"""What must be in table, gate and dead letters, by applying records one after the other. Knows no database."""

from typing import Any

from tests.property.histories.setup import FIELDS, MENDED, Change, Setup

Place = tuple[int, int]


class Reference:
    """Everything is done record by record, in the order of its partition. No batch, no transaction, no fault."""

    def __init__(self, setup: Setup):
        self._setup = setup
        self.rows: dict[str, dict[str, Any]] = {}
        self.appended: list[dict[str, Any]] = []
        self._standing: dict[str, tuple[tuple[int, ...], int]] = {}
        self.gate: set[str] = set()
        self.dead: set[Place] = set()
        self.maybe_dead: set[Place] = set()
        """The table refuses them only if it is asked: not when a later record of the key is already there."""
        self.maybe_seen: set[str] = set()
        """Gate keys of records that may have gone through the gate and then been replaced unasked."""
        self.committed: dict[int, int] = {}

    def read(self, place: Place, change: Change) -> None:
        """The record comes from the log, for the first time or again after a rewind."""
        partition, offset = place
        replayed = offset < self.committed.get(partition, 0)
        if change.undecodable(self._setup):
            self.dead.add(place)
        elif not (replayed and self._setup.mode == "append"):
            self._pass_gate(place, change, replayed)
        self.committed[partition] = max(self.committed.get(partition, 0), offset + 1)

    def redrive(self, place: Place, change: Change | None) -> None:
        """The dead letter left the box: mended, or (None) because nothing is to be done about it any more."""
        self.dead.discard(place)
        self.maybe_dead.discard(place)
        if change is not None:
            self._pass_gate(place, mended(change), replayed=True)

    def _pass_gate(self, place: Place, change: Change, replayed: bool) -> None:
        seen = self._setup.gate and change.eid in self.gate
        if self._is_asked(change) and change.refused_by_table(self._setup):
            (self.maybe_dead if seen or self._setup.mode == "upsert" else self.dead).add(place)
            self.maybe_seen |= {change.eid} if self._setup.mode == "upsert" else set()
        elif not seen:
            self.gate.add(change.eid)
            self._write(place[1], change, replayed)

    def _is_asked(self, change: Change) -> bool:
        """Whether the table looks at the row at all: a foreign key does not, of a row that is there already."""
        return self._setup.mode != "insert" or self._setup.refusal == "check" or change.id not in self.rows

    def _write(self, offset: int, change: Change, replayed: bool) -> None:
        setup = self._setup
        if setup.mode == "append":
            self.appended.append({"id": change.id, **_row(change.fields())})
        elif setup.mode == "insert":
            self.rows.setdefault(change.id, {"id": change.id, **_row(change.fields())})
        elif self._is_later(offset, change, replayed):
            self._upsert(change)

    def _is_later(self, offset: int, change: Change, replayed: bool) -> bool:
        fields = change.fields()
        version = tuple(-99 if (value := fields.get(name)) is None else value for name in self._setup.version)
        before = self._standing.get(change.id)
        if before is not None and version <= before[0]:
            settles = not replayed or (self._setup.hard and offset > before[1])
            if version < before[0] or not settles:
                return False
        self._standing[change.id] = (version, offset)
        return True

    def _upsert(self, change: Change) -> None:
        setup, fields, deletes = self._setup, change.fields(), change.deletes(self._setup)
        if deletes and setup.hard:
            self.rows.pop(change.id, None)
            return
        row = self.rows.setdefault(change.id, {"id": change.id, **_row({})})
        for name in FIELDS:
            keeps = (deletes or (name == "kept" and setup.keep)) and name not in setup.version
            if name in fields or not keeps:
                row[name] = fields.get(name)
        row["gone"] = deletes


def mended(change: Change) -> Change:
    """The record as the redrive's fix makes it."""
    return Change(change.key, change.ts, change.seq, change.kept, change.plain, MENDED, change.op, change.eid)


def _row(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: fields.get(name) for name in FIELDS} | {"gone": False}
