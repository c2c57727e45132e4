"""Random changes of three source tables, by a seed: rows, keys, columns, truncates, transactions of every kind.

Knows nothing of what captures or copies them.
"""

import random
from collections import Counter

import psycopg
from psycopg import sql

from tests.cdc.copying import Source
from tests.debezium.every_type import SAMPLES

TABLES = ("every", "toast", "pairs")
_KEYS = 60
_BIG = 10_000
_ADDED = {
    "smallint": ("3", "-3"),
    "integer": ("70000", "0"),
    "bigint": ("5000000000", "1"),
    "numeric(8,2)": ("1.50", "-999999.99"),
    "text": ("'x'", "''", "'\u00fc \"q\" \\'"),
    "boolean": ("true", "false"),
    "date": ("'2026-01-05'", "'1999-12-31'"),
    "timestamptz": ("'2026-07-01 12:00:00.5+02'",),
    "uuid": ("'00000000-0000-0000-0000-00000000000a'",),
    "jsonb": ("'{\"a\": [1, null]}'", "'[]'"),
    "integer[]": ("'{1,NULL}'", "'{}'"),
    "bytea": ("'\\x00ff'",),
    "double precision": ("0.1", "-1e300"),
}
_WIDER = {
    "smallint": ("integer", "bigint"),
    "integer": ("bigint",),
    "numeric(8,2)": ("numeric(12,2)", "numeric(14,6)"),
    "character varying(20)": ("text",),
}
_UNTOLD = ("integer[]", "bytea")
"""Types whose defaults Debezium does not tell."""


class Changes:
    """Makes the tables, then changes them; everything that happens is drawn from one generator."""

    def __init__(self, source: Source, seed: int, only: tuple[str, ...] | None = None):
        self._source = source
        self._random = random.Random(seed)
        self.samples = {name: SAMPLES[name] for name in (only or SAMPLES)}
        self._columns = {table: {} for table in TABLES}  # type: dict[str, dict[str, str]]
        self._made = 0
        self._widened: set[str] = set()
        self.done: Counter[str] = Counter()
        """Kinds of changes, and "transactions" committed at the source."""

    def make_tables(self) -> None:
        """With rows from before anybody captured changes."""
        run = self._source.execute
        if "mood" in self.samples:
            run("CREATE TYPE mood AS ENUM ('sad', 'it''s ok')")
        columns = ", ".join(f"{name} {sample.declared}" for name, sample in self.samples.items())
        run(f"CREATE TABLE every (id int PRIMARY KEY, {columns})".encode())
        run("CREATE TABLE toast (id bigint PRIMARY KEY, n int, big text, raw bytea, many int[], doc jsonb)")
        for name in ("big", "raw", "many", "doc"):
            run(f"ALTER TABLE toast ALTER {name} SET STORAGE EXTERNAL".encode())
        # A row whose key changes is made anew, and needs the values that an update does not bring.
        run("ALTER TABLE toast REPLICA IDENTITY FULL" if self._random.random() < 0.5 else "SELECT 1")
        run("CREATE TABLE pairs (a text, b int, v varchar(20), w integer, x numeric(8,2), PRIMARY KEY (b, a))")
        run("SET lock_timeout = '100ms'")
        # Years before 1582 and much money come wrong from a snapshot: Debezium's own conversion.
        for table in TABLES[1:]:
            for _ in range(20):
                self._insert(self._source, table)

    def turn(self) -> None:
        """One transaction or one change of a table's form; neither where another session is in the way."""
        try:
            self._turn(self._random.random())
        except psycopg.errors.LockNotAvailable:
            self._count("locked")

    def _turn(self, draw: float) -> None:
        if draw < 0.05:
            self._alter()
        elif draw < 0.07:
            self._source.execute(sql.SQL("TRUNCATE {}").format(sql.Identifier(self._random.choice(TABLES))))
            self._count("truncate")
        else:
            self._transaction(draw < 0.15)

    def touch(self) -> None:
        """A change in each table, so that its latest form is in an event."""
        for table in TABLES:
            self._insert(self._source, table)

    def _transaction(self, rolled_back: bool) -> None:
        changes = self._random.choice((1, 1, 2, 5, 30))
        with self._source.transaction(force_rollback=rolled_back):
            for _ in range(changes):
                self._change(self._source)
        self._count("rolled back" if rolled_back else "transactions")

    def change_in(self, session: Source) -> None:
        """Some changes in the transaction of another session, as long as that may be; skipped where a row is locked."""
        session.execute("SET LOCAL lock_timeout = '50ms'")
        for _ in range(self._random.randint(1, 5)):
            try:
                with session.transaction():
                    self._change(session)
            except psycopg.errors.LockNotAvailable:
                self._count("locked")
        self._count("long")

    def _count(self, what: str) -> None:
        self.done[what] += 1
        if what in ("truncate", "altered", "long"):
            self.done["transactions"] += 1

    def _change(self, session: Source) -> None:
        table = self._random.choice(TABLES)
        make = self._random.choices((self._insert, self._update, self._delete, self._rekey), (4, 4, 2, 1))[0]
        make(session, table)
        self.done[make.__name__.strip("_")] += 1

    def _key(self, table: str) -> dict[str, str]:
        number = self._random.randrange(_KEYS)
        if table == "pairs":
            return {"b": str(number % 7), "a": f"'k{number}'"}
        return {"id": str(number)}

    def _values(self, table: str) -> dict[str, str]:
        pick = self._random
        if table == "every":
            found = {name: pick.choice((*sample.values, "NULL")) for name, sample in self.samples.items()}
        elif table == "toast":
            size, letter = pick.choice((0, 10, _BIG)), pick.choice("abc")
            found = {
                "n": str(pick.randrange(1000)),
                "big": f"repeat('{letter}', {size})",
                "raw": f"decode(repeat('0{letter}', {size}), 'hex')",
                "many": f"array_fill({pick.randrange(9)}, ARRAY[{size // 4}])",
                "doc": f"jsonb_build_object('k', repeat('{letter}', {size}))",
            }
        else:
            found = {"v": f"'v{pick.randrange(99)}'", "w": str(pick.randrange(-9, 9)), "x": f"{pick.randrange(999)}.25"}
        found |= {name: pick.choice((*_ADDED[kind], "NULL")) for name, kind in self._columns[table].items()}
        return found

    def _insert(self, session: Source, table: str) -> None:
        key, values = self._key(table), self._values(table)
        # What is left out gets the column's default.
        values = {name: value for name, value in values.items() if self._random.random() < 0.8}
        row = key | values
        sets = ", ".join(f'"{name}" = excluded."{name}"' for name in row)
        session.execute(
            f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join(row.values())})"
            f" ON CONFLICT ({', '.join(key)}) DO UPDATE SET {sets}".encode()
        )

    def _update(self, session: Source, table: str) -> None:
        values = self._values(table)
        some = self._random.sample(sorted(values), self._random.randint(1, min(3, len(values))))
        sets = ", ".join(f"{name} = {values[name]}" for name in some)
        session.execute(f"UPDATE {table} SET {sets} WHERE {self._where(table)}".encode())

    def _delete(self, session: Source, table: str) -> None:
        session.execute(f"DELETE FROM {table} WHERE {self._where(table)}".encode())

    def _rekey(self, session: Source, table: str) -> None:
        """Another key, free or not; of `toast` all big values come along, as a copy needs it without FULL."""
        new = self._key(table)
        free = " AND ".join(f"{name} = {value}" for name, value in new.items())
        values = self._values(table) if table == "toast" else {}
        sets = ", ".join(f"{name} = {value}" for name, value in (new | values).items())
        session.execute(
            f"UPDATE {table} SET {sets} WHERE {self._where(table)}"
            f" AND NOT EXISTS (SELECT FROM {table} WHERE {free})".encode()
        )

    def _where(self, table: str) -> str:
        return " AND ".join(f"{name} = {value}" for name, value in self._key(table).items())

    def _alter(self) -> None:
        table = self._random.choice(TABLES)
        columns = self._columns[table]
        draw = self._random.random()
        # Once each: a second choice might narrow the scale, and a copy never does.
        wider = {name: _WIDER[kind] for name, kind in columns.items() if kind in _WIDER and name not in self._widened}
        if draw < 0.5 or not columns:
            self._made += 1  # also where it comes to nothing: no name is ever used twice
            name, kind = f"c{self._made}", self._random.choice(sorted(_ADDED))
            told = self._random.random() < 0.6 and kind not in _UNTOLD
            default = f" DEFAULT {self._random.choice(_ADDED[kind])}" if told else ""
            self._source.execute(f"ALTER TABLE {table} ADD COLUMN {name} {kind}{default}".encode())
            columns[name] = kind
        elif draw < 0.7 or not wider:
            name = self._random.choice(sorted(columns))
            self._source.execute(f"ALTER TABLE {table} DROP COLUMN {name}".encode())
            del columns[name]
        else:
            name = self._random.choice(sorted(wider))
            kind = self._random.choice(wider[name])
            self._widened.add(name)
            self._source.execute(f"ALTER TABLE {table} ALTER COLUMN {name} TYPE {kind}".encode())
            # Narrow values are still drawn.
            columns[name] = kind if kind in _ADDED else columns[name]
        # So that Debezium sees this form of the table, and no later one, when it looks the default up.
        self._insert(self._source, table)
        self._count("altered")
