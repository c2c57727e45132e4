"""The memory of hard deletes: one table for each pipeline, of keys and their latest versions. Runs no statement.

A table with the key's and version's own types, not one for all pipelines: it is read and written with every batch,
and text forms of keys would cost a conversion of each and compare numbers as text.
"""

import hashlib
from collections.abc import Callable, Sequence

from msgspec import Struct
from psycopg import sql

from ingestd.schema.postgres import SchemaColumn
from ingestd.sinks.postgres.upsert_order import Word, by_bytes, equal, later, name, words

OLDER_ROWS = "the table had rows before this memory"
"""Comment on a memory that does not know every key of its table; `ingestd verify` reads it."""
_MAX_NAME_BYTES = 63


class VersionsSql(Struct, frozen=True):
    """The statements about one memory; `v` is its row, `c` one of `ingestd_chain`."""

    create: bytes
    lock: bytes
    """Locks what is remembered of the staged keys, in key order."""
    remember: Callable[[Word, Word], bytes]
    """(staging, which rows of it) -> locks and writes these keys in order; those that pass go to `ingestd_won`."""
    known: Word
    """The row of chained record c."""
    passes: Word
    """Whether chained record c is later than v."""
    columns: tuple[tuple[str, str], ...]
    """Name and type of each column, as format_type prints it."""


def versions_table(pipeline: str) -> str:
    """Name of the pipeline's memory, in the schema ingestd; a long one ends in a digest."""
    plain = f"versions_{pipeline}"
    if len(plain.encode()) <= _MAX_NAME_BYTES:
        return plain
    return f"{plain[:46]}_{hashlib.sha256(pipeline.encode()).hexdigest()[:16]}"


def versions_identifier(pipeline: str) -> sql.Identifier:
    """The quoted name of the pipeline's memory."""
    return sql.Identifier("ingestd", versions_table(pipeline))


def versions_sql(
    pipeline: str, topic: str, key: Sequence[SchemaColumn], versions: Sequence[SchemaColumn]
) -> VersionsSql:
    """The statements of the memory of `pipeline`; its columns are k1.. for the key, v1.. for the version."""
    memory = versions_identifier(pipeline)
    keys = [(f"k{n}", column) for n, column in enumerate(key, 1)]
    valued = [*keys, *((f"v{n}", column) for n, column in enumerate(versions, 1))]

    def match(row: str) -> Word:
        return words([name(k, "v") + sql.SQL(" = ") + by_bytes(c, name(c.name, row)) for k, c in keys], " AND ")

    def passes(of: Callable[[str, SchemaColumn], Word], arrival: Word) -> Word:
        pairs = [(of(v, column), name(v, "v")) for v, column in valued[len(keys) :]]
        return sql.SQL("({} OR ({} AND {}))").format(later(pairs), equal(pairs), arrival)

    def remember(staging: Word, which: Word) -> bytes:
        return (
            sql.SQL(_REMEMBER)
            .format(
                memory=memory,
                columns=words([name(into) for into, _ in valued]),
                values=words([name(column.name, "s") for _, column in valued]),
                key=words([name(k) for k, _ in keys]),
                keys=words([name(k, "v") for k, _ in keys]),
                topic=sql.Literal(topic),
                sets=words([sql.SQL("{0} = excluded.{0}").format(name(v)) for v, _ in valued[len(keys) :]] + _PLACE),
                passes=passes(lambda v, _: name(v, "excluded"), sql.SQL(_REPLACES)),
                staging=staging,
                which=which,
                match=match("s"),
            )
            .as_bytes()
        )

    lock = (
        "SELECT count(*) FROM (SELECT 1 FROM {} v JOIN pg_temp.ingestd_changes s ON {} ORDER BY s.ingestd_row"
        " FOR NO KEY UPDATE OF v) AS locked"
    )
    return VersionsSql(
        create=_create(memory, keys, valued),
        lock=sql.SQL(lock).format(memory, match("s")).as_bytes(),
        remember=remember,
        known=sql.SQL("SELECT FROM {} v WHERE {}").format(memory, match("c")),
        passes=passes(
            lambda _, column: by_bytes(column, name(column.name, "c")),
            sql.SQL(_CHAINED_REPLACES).format(topic=sql.Literal(topic)),
        ),
        columns=(*((into, column.type.pg_type) for into, column in valued), *_FIXED.items()),
    )


_FIXED = {
    "topic": "text",
    "partition": "integer",
    "offset": "bigint",
    "deleted": "boolean",
    "replayed": "boolean",
    "updated_at": "timestamp with time zone",
}
_PLACE: list[Word] = [
    *(sql.SQL("{0} = excluded.{0}").format(sql.Identifier(column)) for column in list(_FIXED)[:-1]),
    sql.SQL("updated_at = now()"),
]
_REPLACES = (
    "(NOT excluded.replayed OR"
    ' (excluded.topic = v.topic AND excluded.partition = v.partition AND excluded."offset" > v."offset"))'
)
"""Which of equal versions is later: what was never committed before; of one partition the greater offset."""
_CHAINED_REPLACES = (
    '(c.ingestd_fresh OR ({topic} = v.topic AND c.ingestd_partition = v.partition AND c.ingestd_offset > v."offset"))'
)
_REMEMBER = (
    'WITH passed AS (INSERT INTO {memory} AS v ({columns}, topic, partition, "offset", deleted, replayed)'
    " SELECT {values}, {topic}, s.ingestd_partition, s.ingestd_offset, s.ingestd_deletes, NOT s.ingestd_fresh"
    " FROM {staging} s WHERE {which} ORDER BY s.ingestd_row"
    " ON CONFLICT ({key}) DO UPDATE SET {sets} WHERE {passes} RETURNING {keys}, (v.xmax = 0) AS first)"
    " INSERT INTO pg_temp.ingestd_won SELECT s.ingestd_row, v.first FROM passed v JOIN {staging} s ON {match}"
    " WHERE {which}"
)


def _create(
    memory: sql.Identifier, keys: Sequence[tuple[str, SchemaColumn]], valued: Sequence[tuple[str, SchemaColumn]]
) -> bytes:
    typed = [by_bytes(c, name(into) + sql.SQL(f" {c.type.pg_type}")) for into, c in valued[: len(keys)]]
    lines: list[Word] = [word + sql.SQL(" NOT NULL") for word in typed]
    lines += [by_bytes(c, name(into) + sql.SQL(f" {c.type.pg_type}")) for into, c in valued[len(keys) :]]
    lines += [sql.SQL("{} " + kind + " NOT NULL").format(name(column)) for column, kind in list(_FIXED.items())[:-1]]
    lines.append(sql.SQL("updated_at timestamptz NOT NULL DEFAULT now()"))
    lines.append(sql.SQL("PRIMARY KEY ({})").format(words([name(into) for into, _ in keys])))
    # Room for new versions on the page of the old ones: no index entry is written for them (HOT).
    return sql.SQL("CREATE TABLE {} ({}) WITH (fillfactor = 80)").format(memory, words(lines)).as_bytes()
