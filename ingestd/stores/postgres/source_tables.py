"""The copy of a source's table in PostgreSQL, growing with it. Knows no records and no lease."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from psycopg import sql

from ingestd.config import options as cfg
from ingestd.schema.types import parse_type
from ingestd.stores.postgres.evolution import LOCK_TIMEOUT, type_sql
from ingestd.stores.postgres.statements import SQL
from ingestd.stores.source_tables import Growth, SourceTable, read_texts
from ingestd.stores.statements import load_statements

_SQL = load_statements("source_tables.sql")


class PostgresSourceTables:
    """See `ingestd.stores.source_tables.SourceTables`."""

    def __init__(self, pipeline: cfg.Pipeline):
        self._table = sql.Identifier(*pipeline.table.name.split(".", 1))
        self._name = pipeline.table.name
        self._create = pipeline.table.create
        self._values = {"pipeline": pipeline.name, "topic": pipeline.topic, "table_name": pipeline.table.name}

    def read(self, connection: Any) -> SourceTable | None:
        """What is remembered. Commits."""
        with connection.cursor() as cursor:
            found = self._read(cursor)
            connection.commit()
        return found

    def _read(self, cursor: Any) -> SourceTable | None:
        if not cursor.execute(_SQL["exists"]).fetchone()[0]:
            return None
        row = cursor.execute(_SQL["read"], self._values).fetchone()
        return None if row is None else read_texts(*row)

    def grow(
        self,
        connection: Any,
        grown: Callable[[SourceTable | None], Growth],
        defaults: Callable[[Sequence[str]], Mapping[str, Any]],
    ) -> Growth:
        """Change the copy, when it is there, and remember that. Commits."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('lock_timeout', %s, true)", (LOCK_TIMEOUT,))
            cursor.execute(SQL["schema_lock"])
            if not cursor.execute(_SQL["exists"]).fetchone()[0]:
                cursor.execute(_SQL["create"])
            growth = grown(self._read(cursor))
            if self._name:
                self._change(cursor, growth, defaults([name for name, _ in growth.added]))
            cursor.execute(_SQL["remember"], self._values | growth.table.texts())
            connection.commit()
        return growth

    def _change(self, cursor: Any, growth: Growth, defaults: Mapping[str, Any]) -> None:
        exists = cursor.execute("SELECT to_regclass(%s) IS NOT NULL", (self._table.as_string(),)).fetchone()[0]
        if not exists:
            self._make_schema(cursor)
            return
        changes = [
            sql.SQL("ADD COLUMN IF NOT EXISTS {} {}{}").format(
                sql.Identifier(name), type_sql(kind), _default(kind, defaults.get(name))
            )
            for name, kind in growth.added
        ] + [
            sql.SQL("ALTER COLUMN {0} TYPE {1} USING {0}::{1}").format(sql.Identifier(name), type_sql(kind))
            for name, kind in growth.widened
        ]
        if changes:
            cursor.execute(sql.SQL("ALTER TABLE {} ").format(self._table) + sql.SQL(", ").join(changes))

    def _make_schema(self, cursor: Any) -> None:
        """The schema of a table that is about to be made; no privilege is needed when it is there."""
        schema, dot, _ = self._name.partition(".")
        if not self._create or not dot:
            return
        found = cursor.execute("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = %s)", (schema,)).fetchone()[0]
        if not found:
            cursor.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))


def _default(kind: str, array: Any) -> Any:
    """A DEFAULT clause for the one value of `array`."""
    if array is None:
        return sql.SQL("")
    parsed, value = parse_type(kind), array[0].as_py()
    written = _array_text(value, parsed.scalar) if parsed.is_array else _text(value, parsed.scalar)
    return sql.SQL(" DEFAULT {}::{}").format(sql.Literal(written), type_sql(kind))


def _text(value: Any, scalar: str) -> str:
    """A value as PostgreSQL reads it in a quoted literal of its type."""
    if scalar == "bytea":
        return f"\\x{value.hex()}"
    return str(UUID(bytes=value)) if isinstance(value, bytes) else str(value)


def _array_text(elements: Sequence[Any], scalar: str) -> str:
    """PostgreSQL's own notation: {"a","b",NULL}."""
    written = []
    for element in elements:
        escaped = "" if element is None else _text(element, scalar).replace("\\", "\\\\").replace('"', '\\"')
        written.append("NULL" if element is None else f'"{escaped}"')
    return "{" + ",".join(written) + "}"
