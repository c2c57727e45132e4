"""The statements of an upsert into one table: composed once, from quoted identifiers. Runs none.

`s` is a staged change, one for each key; `t` the row of the table; `v` the memory of a key (see `versions_sql`).
"""

from collections.abc import Callable, Sequence

from msgspec import Struct
from psycopg import sql

from ingestd.config import options as cfg
from ingestd.schema.postgres import Schema, SchemaColumn
from ingestd.sinks.postgres.table_sql import table_identifier
from ingestd.sinks.postgres.upsert_order import Word, equal, later, name, not_earlier, same_key, version_pairs, words
from ingestd.sinks.postgres.versions_sql import VersionsSql, versions_sql
from ingestd.stores.postgres.errors import record_fault_condition
from ingestd.stores.statements import load_statements

CHANGES = sql.SQL("pg_temp.ingestd_changes")
INDEXED = sql.SQL("pg_temp.ingestd_changes_indexed")
"""The same with an index on the number, which only the loop needs: it asks for 50 rows at a time."""
CHAIN = sql.SQL("pg_temp.ingestd_chain")
"""Records of keys whose change was put together from several: their versions, to be compared with the stored ones."""
_LOOP = load_statements("upsert_loop.sql")["loop"].decode()
_ALL = sql.SQL("true")
_BLOCK = sql.SQL("s.ingestd_row >= ingestd_next AND s.ingestd_row < ingestd_next + 50")
_ROW = sql.SQL("s.ingestd_row = ingestd_one")


class Target(Struct, frozen=True):
    """What the statements are about."""

    table: cfg.Table
    pipeline: str
    topic: str
    stored: Schema
    """The columns of the table that records fill."""
    versions: tuple[SchemaColumn, ...]
    """() when the offset decides."""
    optional: tuple[str, ...]
    """Stored columns that a record may leave as they are; column n has the flag `has(n)` in staging."""
    keep: tuple[str, ...]
    """Columns that an upsert, too, may leave as they are."""
    needed: tuple[str, ...]
    """Stored columns without which no row can be inserted."""
    partitioned: bool
    """Whether the table is: then no INSERT can tell whether it inserted or updated."""

    @property
    def mark(self) -> str | None:
        return self.table.delete.mark if self.table.delete else None

    @property
    def hard(self) -> bool:
        return self.table.delete is not None and self.table.delete.how == "hard"

    @property
    def staged(self) -> tuple[SchemaColumn, ...]:
        """The stored columns, and versions that are not stored."""
        names = self.stored.names
        return (*self.stored.columns, *(column for column in self.versions if column.name not in names))

    @property
    def guarded(self) -> bool:
        """Whether the table's own columns tell which record is later."""
        return bool(self.versions) and all(column.name in self.stored.names for column in self.versions)


class UpsertSql(Struct, frozen=True):
    """Every statement that the sink may run, ready to execute. All write what became of rows to `ingestd_fates`."""

    setup: tuple[bytes, ...]
    plain: bytes
    """Whole rows, none of them replayed: one INSERT .. ON CONFLICT."""
    plain_replayed: bytes
    """Whole rows, all of them replayed."""
    lock: bytes
    """Locks what is stored of the staged keys, in key order."""
    merge: tuple[bytes, ...]
    """Any changes, after `lock`."""
    stale: bytes
    """Numbers of the records in `ingestd_chain` that are older than what is stored."""
    loop_plain: bytes
    loop_merge: bytes
    """The same row by row, for finding the rows that the table refuses."""


def has(n: int) -> str:
    """The staging flag of optional column `n`."""
    return f"ingestd_has_{n}"


def upsert_sql(target: Target) -> UpsertSql:
    """The statements of `target`."""
    memory = memory_of(target)
    merge = _merge(target, memory, CHANGES, _ALL)
    return UpsertSql(
        setup=_setup(target),
        plain=_plain(target, CHANGES, _ALL, replayed=False),
        plain_replayed=_plain(target, CHANGES, _ALL, replayed=True),
        lock=memory.lock if memory else _lock(target),
        merge=merge,
        stale=_stale(target, memory),
        loop_plain=_loop(lambda which: (_plain(target, INDEXED, which, replayed=False),)),
        loop_merge=_loop(lambda which: _merge(target, memory, INDEXED, which)),
    )


def memory_of(target: Target) -> VersionsSql | None:
    """The statements of the memory that hard deletes need; None for all others."""
    if not target.hard:
        return None
    keys = [column for key in target.table.key for column in target.stored.columns if column.name == key]
    return versions_sql(target.pipeline, target.topic, keys, target.versions)


def _values(target: Target, mark: str) -> Word:
    cast = [name(c.name, "s") + sql.SQL(c.type.stage_cast or "") for c in target.stored.columns]
    return words([*cast, sql.SQL(mark)] if target.mark else cast)


def _columns(target: Target) -> Word:
    return words([name(column) for column in [*target.stored.names, *([target.mark] if target.mark else [])]])


def _plain(target: Target, staging: Word, which: Word, replayed: bool) -> bytes:
    table, key = target.table, target.table.key
    changed = [c for c in [*target.stored.names, *([target.mark] if target.mark else [])] if c not in key]
    sets = words([sql.SQL("{0} = excluded.{0}").format(name(c)) for c in changed or key])
    conflict: Word = sql.SQL("DO UPDATE SET ") + sets
    if target.guarded:
        pairs = version_pairs(target.versions, "excluded", "t")
        conflict += sql.SQL(" WHERE ") + (later(pairs) if replayed else not_earlier(pairs))
    elif replayed:
        conflict = sql.SQL("DO NOTHING")
    text = (
        "WITH done AS (INSERT INTO {table} AS t ({columns}) SELECT {values} FROM {staging} s WHERE {which}"
        " ORDER BY s.ingestd_row ON CONFLICT ({key}) {conflict} RETURNING (t.xmax = 0) AS added)"
        " INSERT INTO pg_temp.ingestd_fates"
        " SELECT CASE WHEN added THEN 'inserted' ELSE 'updated' END, count(*), NULL FROM done GROUP BY added"
    )
    return (
        sql.SQL(text)
        .format(
            table=table_identifier(table.name),
            columns=_columns(target),
            values=_values(target, "false"),
            staging=staging,
            which=which,
            key=words([name(k) for k in key]),
            conflict=conflict,
        )
        .as_bytes()
    )


def _lock(target: Target) -> bytes:
    text = (
        "SELECT count(*) FROM (SELECT 1 FROM {table} t JOIN {staging} s ON {same} ORDER BY s.ingestd_row"
        " FOR NO KEY UPDATE OF t) AS locked"
    )
    same = same_key(target.table.key, "t", "s")
    return sql.SQL(text).format(table=table_identifier(target.table.name), staging=CHANGES, same=same).as_bytes()


def _wins(target: Target, of: str, memory: bool) -> Word:
    """Whether change `of` is later than row t. Where a memory let it pass, that knows more than the table."""
    flag = sql.Identifier(of, "ingestd_fresh")
    settles: Word = sql.SQL("({} OR NOT w.first)").format(flag) if memory else flag
    if not target.guarded:
        return settles
    pairs = version_pairs(target.versions, of, "t")
    return sql.SQL("({} OR ({} AND {}))").format(later(pairs), equal(pairs), settles)


def _merge(target: Target, memory: VersionsSql | None, staging: Word, which: Word) -> tuple[bytes, ...]:
    """Rows that are missing are inserted, the others updated field by field; hard deletes remember, then delete."""
    source: Word = sql.SQL("{} s").format(staging)
    if memory:
        source += sql.SQL(" JOIN pg_temp.ingestd_won w ON w.ingestd_row = s.ingestd_row")
    fill = {
        "table": table_identifier(target.table.name),
        "source": source,
        "staging": staging,
        "which": which,
        "same": same_key(target.table.key, "t", "s"),
        "wins": _wins(target, "s", memory is not None),
    }
    statements: list[bytes] = []
    if memory:
        statements.append(memory.remember(staging, which))
        statements += [sql.SQL(text).format(**fill).as_bytes() for text in _HARD_DELETE]
    statements.append(_insert_missing(target, fill))
    statements.append(_update(target, fill))
    return tuple(statements)


_HARD_DELETE = (
    "DELETE FROM {table} t USING {source} WHERE {which} AND s.ingestd_deletes AND {same} AND {wins}",
    # What is still there is newer than the delete; what was never there is deleted without effect.
    "INSERT INTO pg_temp.ingestd_fates SELECT 'deleted', count(*), NULL FROM {source}"
    " WHERE {which} AND s.ingestd_deletes AND NOT EXISTS (SELECT FROM {table} t WHERE {same})",
)


def _insert_missing(target: Target, fill: dict[str, Word]) -> bytes:
    """Deletes (soft ones) insert too, where they have all that a row needs; else they are deletes without effect."""
    whole = words([name(c, "s") + sql.SQL(" IS NOT NULL") for c in target.needed] or [_ALL], " AND ")
    insertable = sql.SQL("NOT s.ingestd_deletes") if target.hard else sql.SQL("(NOT s.ingestd_deletes OR {})")
    text = (
        "WITH missing AS (SELECT s.* FROM {source} WHERE {which} AND NOT EXISTS (SELECT FROM {table} t WHERE {same})),"
        " done AS (INSERT INTO {table} AS t ({columns}) SELECT {values} FROM missing s WHERE {insertable}"
        " ORDER BY s.ingestd_row ON CONFLICT ({key}) DO NOTHING RETURNING {keys})"
        " INSERT INTO pg_temp.ingestd_fates"
        " SELECT 'inserted', 1, s.ingestd_row FROM done t JOIN missing s ON {same}"
    )
    if not target.hard:
        text += " UNION ALL SELECT 'deleted', 1, s.ingestd_row FROM missing s WHERE NOT {insertable}"
    key = target.table.key
    return (
        sql.SQL(text)
        .format(
            **fill,
            columns=_columns(target),
            values=_values(target, "s.ingestd_deletes"),
            insertable=insertable.format(whole),
            key=words([name(k) for k in key]),
            keys=words([name(k, "t") for k in key]),
        )
        .as_bytes()
    )


def _update(target: Target, fill: dict[str, Word]) -> bytes:
    sets: list[Word] = []
    for column in target.stored.columns:
        if column.name in target.table.key:
            continue
        value = name(column.name, "s") + sql.SQL(column.type.stage_cast or "")
        if column.name in target.optional:
            flag = sql.Identifier("s", has(target.optional.index(column.name)))
            value = sql.SQL("CASE WHEN {} THEN {} ELSE {} END").format(flag, value, name(column.name, "t"))
        sets.append(name(column.name) + sql.SQL(" = ") + value)
    if target.mark:
        sets.append(name(target.mark) + sql.SQL(" = s.ingestd_deletes"))
    if not sets:
        key = target.table.key[0]
        sets.append(name(key) + sql.SQL(" = ") + name(key, "s"))
    text = (
        "WITH done AS (UPDATE {table} t SET {sets} FROM {source} WHERE {which} AND {same} AND {wins} {upserts}"
        " AND NOT EXISTS (SELECT FROM pg_temp.ingestd_fates f WHERE f.ingestd_row = s.ingestd_row)"
        " RETURNING s.ingestd_deletes AS deletes)"
        " INSERT INTO pg_temp.ingestd_fates"
        " SELECT CASE WHEN deletes THEN 'deleted' ELSE 'updated' END, count(*), NULL FROM done GROUP BY deletes"
    )
    upserts = sql.SQL("AND NOT s.ingestd_deletes") if target.hard else sql.SQL("")
    return sql.SQL(text).format(**fill, sets=words(sets), upserts=upserts).as_bytes()


def _stale(target: Target, memory: VersionsSql | None) -> bytes:
    stored = sql.SQL("SELECT FROM {} t WHERE {}").format(
        table_identifier(target.table.name), same_key(target.table.key, "t", "c")
    )
    older: Word = sql.SQL("EXISTS ({} AND ({}) IS NOT TRUE)").format(stored, _wins(target, "c", memory=False))
    if memory:
        text = "CASE WHEN EXISTS ({known}) THEN EXISTS ({known} AND ({passes}) IS NOT TRUE) ELSE {older} END"
        older = sql.SQL(text).format(known=memory.known, passes=memory.passes, older=older)
    return (sql.SQL("SELECT c.ingestd_row FROM {} c WHERE ").format(CHAIN) + older).as_bytes()


def _loop(statements: Callable[[Word], tuple[bytes, ...]]) -> bytes:
    block = "".join(text.decode() + ";\n" for text in statements(_BLOCK))
    row = "".join(text.decode() + ";\n" for text in statements(_ROW))
    text = _LOOP.replace("{write_block}", block).replace("{write_row}", row)
    return text.replace("{is_record_fault}", record_fault_condition()).encode()


def _setup(target: Target) -> tuple[bytes, ...]:
    """Temporary tables of a session; ON COMMIT DELETE ROWS costs less than TRUNCATE."""
    flags = [sql.SQL(f"{has(n)} boolean") for n in range(len(target.optional))]
    places = sql.SQL("ingestd_row integer, ingestd_fresh boolean, ingestd_partition integer, ingestd_offset bigint")

    def typed(columns: Sequence[SchemaColumn]) -> list[Word]:
        return [name(column.name) + sql.SQL(" " + column.type.stage_type) for column in columns]

    versions = {column.name for column in target.versions}
    chained = [c for c in target.staged if c.name in versions or c.name in target.table.key]
    body = words([*typed(target.staged), places, sql.SQL("ingestd_deletes boolean"), *flags])
    create = sql.SQL("CREATE TEMPORARY TABLE {} ({}) ON COMMIT DELETE ROWS")
    tables = {
        "ingestd_changes": body,
        "ingestd_changes_indexed": body + sql.SQL(", PRIMARY KEY (ingestd_row)"),
        "ingestd_chain": words([*typed(chained), places]),
        "ingestd_won": sql.SQL("ingestd_row integer, first boolean"),
        "ingestd_fates": sql.SQL("fate text, n bigint, ingestd_row integer"),
        "ingestd_upsert_refused": sql.SQL(
            "n integer, sqlstate text, message text, column_name text, constraint_name text"
        ),
    }
    drop = sql.SQL("DROP TABLE IF EXISTS {}").format(words([sql.Identifier("pg_temp", table) for table in tables]))
    return (drop.as_bytes(), *(create.format(sql.Identifier(table), text).as_bytes() for table, text in tables.items()))
