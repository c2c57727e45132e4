"""The DuckDB statements of a merge, built from a table's columns. Knows no file of a lake and no store."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from decimal import Decimal

from msgspec import Struct

PLACE_COLUMNS = ("_lsn", "_ts", "_partition", "_offset", "_run_id")
"""Of the last event of each row; the stage's other columns are not in current."""
_ABSENT = "_absent"
_ORDER = "ingestd_order"
_BUCKET = "ingestd_bucket"


class Shape(Struct, frozen=True):
    """What a current table looks like."""

    columns: tuple[tuple[str, str], ...]
    """Name and DuckDB type, those of the row first, then `PLACE_COLUMNS`."""
    key: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.columns]

    @property
    def key_types(self) -> str:
        """Changes when the hash of a key may change."""
        types = dict(self.columns)
        return ", ".join(f"{quoted(name)} {types[name]}" for name in self.key)


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def files(paths: Sequence[str], more: str = "") -> str:
    """The rows of these files as they are, columns by name."""
    listed = ", ".join(map(literal, paths))
    return f"read_parquet([{listed}], union_by_name = true, hive_partitioning = false{more})"


class Source(Struct, frozen=True):
    """Files of the same kind, and the columns that some of them have."""

    paths: Sequence[str]
    names: Collection[str]


def split(shape: Shape, stage: Source, whole: Source, buckets: int, since: Decimal | None, to: str) -> str:
    """All new events in one file, in the order of their buckets, so that each can be read alone.

    Needs a table `eras` of (run_id, era). `whole` are files of the current table whose rows are put into other buckets:
    they come before all events. Events up to the order `since`, a truncate's, are left out.
    """
    order = event_order()
    newer = "" if since is None else f" AND {order} > {since}"
    parts = [
        f"SELECT {_casts(shape, stage)}, _deleted, {_ABSENT}, {order} AS {_ORDER}"
        f" FROM {files(stage.paths)} JOIN eras ON _run_id = run_id WHERE _op <> 't'{newer}"
    ]
    if whole.paths:
        before = "CAST(-1 - file_row_number - (file_index::HUGEINT << 48) AS DECIMAL(38, 0))"
        parts.append(
            f"SELECT {_casts(shape, whole)}, false AS _deleted, NULL::VARCHAR[] AS {_ABSENT}, {before} AS {_ORDER}"
            f" FROM {files(whole.paths, ', file_row_number = true')}"
        )
    rows = " UNION ALL ".join(parts)
    hashed = f"SELECT *, {_bucket(shape, buckets)} AS {_BUCKET} FROM ({rows})"
    return f"COPY (FROM ({hashed}) ORDER BY {_BUCKET}) TO {literal(to)} (FORMAT parquet, COMPRESSION lz4_raw)"


def event_order() -> str:
    """Later events have a higher one, none has that of another: era, offset, partition."""
    # A decimal, since DuckDB writes HUGEINT into Parquet as a double.
    return "CAST((era::HUGEINT << 80) + (_offset::HUGEINT << 16) + _partition AS DECIMAL(38, 0))"


def truncated(stage: Sequence[str]) -> str:
    """The order of the last truncate; null when there is none. Needs `eras`."""
    return f"SELECT max({event_order()}) FROM {files(stage)} JOIN eras ON _run_id = run_id WHERE _op = 't'"


def touched(events: str) -> str:
    """Buckets with events, and how many there are; ascending."""
    return f"SELECT {_BUCKET}, count(*) FROM read_parquet({literal(events)}) GROUP BY 1 ORDER BY 1"


def absent_columns(events: str) -> str:
    """Columns that some event did not bring."""
    return (
        f"SELECT DISTINCT unnest({_ABSENT}) FROM read_parquet({literal(events)}) WHERE {_ABSENT} IS NOT NULL ORDER BY 1"
    )


def merge_bucket(shape: Shape, events: str, bucket: int, current: str | None, absent: Sequence[str]) -> str:
    """A table `merged`: the rows of one bucket, and how many values of each were never brought (`ingestd_missing`).

    Only one fixed-size value a key is aggregated, its last order, so that all of it can spill.
    """
    chosen = f"(SELECT * FROM read_parquet({literal(events)}) WHERE {_BUCKET} = {bucket})"
    keys = ", ".join(map(quoted, shape.key))
    kept = current and f"(SELECT {', '.join(map(quoted, shape.names))} FROM {files([current])})"
    sources = "".join(
        f", max({_ORDER}) FILTER (WHERE ({_ABSENT} IS NULL OR NOT list_contains({_ABSENT}, {literal(name)})))"
        f" AS {quoted('from ' + name)}"
        for name in absent
    )
    alive = f"e.{_ORDER} > coalesce(l.deleted_at, l.first_at - 1)"
    values = [
        f"{_value(name, number, bool(kept))} AS {quoted(name)}" if name in absent else f"e.{quoted(name)}"
        for name, number in ((name, absent.index(name) if name in absent else 0) for name in shape.names)
    ]
    missing = " + ".join(_missing(name, bool(kept), shape) for name in absent) or "0"
    joins = f" LEFT JOIN sources s ON {_same(shape, 's')}" if absent else ""
    joins += "".join(
        f" LEFT JOIN events v{number} ON v{number}.{_ORDER} = s.{quoted('from ' + name)}"
        for number, name in enumerate(absent)
    )
    joins += f" LEFT JOIN kept c ON {_same(shape, 'c')}" if absent and kept else ""
    ctes = [
        f"events AS {chosen}",
        f"last AS (SELECT {keys}, min({_ORDER}) AS first_at, max({_ORDER}) AS last_at,"
        f" max({_ORDER}) FILTER (WHERE _deleted) AS deleted_at FROM events GROUP BY {keys})",
    ]
    if kept:
        ctes.append(f"kept AS {kept}")
    if absent:
        of_key = f"FROM events e JOIN last l USING ({keys}) WHERE {alive} GROUP BY {keys}"
        ctes.append(f"sources AS (SELECT {keys}{sources} {of_key})")
    rows = (
        f"SELECT {', '.join(values)}, {missing} AS ingestd_missing FROM last l"
        f" JOIN events e ON e.{_ORDER} = l.last_at{joins} WHERE NOT e._deleted"
    )
    if kept:
        rows += f" UNION ALL SELECT *, 0 FROM kept ANTI JOIN last USING ({keys})"
    return f"CREATE OR REPLACE TEMP TABLE merged AS WITH {', '.join(ctes)} {rows}"


def write_bucket(shape: Shape, to: str) -> str:
    """The rows of `merged` into their file, in the order of the key."""
    names, keys = ", ".join(map(quoted, shape.names)), ", ".join(map(quoted, shape.key))
    return (
        f"COPY (SELECT {names} FROM merged ORDER BY {keys}) TO {literal(to)}"
        " (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 122880)"
    )


def empty(shape: Shape) -> str:
    """A table `merged` without rows."""
    columns = ", ".join(f"CAST(NULL AS {kind}) AS {quoted(name)}" for name, kind in shape.columns)
    return f"CREATE OR REPLACE TEMP TABLE merged AS SELECT {columns}, 0 AS ingestd_missing LIMIT 0"


def _casts(shape: Shape, source: Source) -> str:
    """Null where the files do not have the column yet, or no longer."""
    return ", ".join(
        f"CAST({quoted(name) if name in source.names else 'NULL'} AS {kind}) AS {quoted(name)}"
        for name, kind in shape.columns
    )


def _same(shape: Shape, alias: str) -> str:
    return " AND ".join(f"{alias}.{quoted(name)} = l.{quoted(name)}" for name in shape.key)


def _value(name: str, number: int, kept: bool) -> str:
    """The last value that an event brought since the row is there; else the stored one, when it is the same row."""
    stored = f"CASE WHEN l.deleted_at IS NULL THEN c.{quoted(name)} END" if kept else "NULL"
    return f"CASE WHEN s.{quoted('from ' + name)} IS NULL THEN {stored} ELSE v{number}.{quoted(name)} END"


def _missing(name: str, kept: bool, shape: Shape) -> str:
    """1 when no event brought the value and no row of that key is stored."""
    stored = f" AND (l.deleted_at IS NOT NULL OR c.{quoted(shape.key[0])} IS NULL)" if kept else ""
    return f"(s.{quoted('from ' + name)} IS NULL{stored})::INTEGER"


def _bucket(shape: Shape, buckets: int) -> str:
    # MD5, since DuckDB's own hash may be another one in its next version.
    key = ", ".join(f"{quoted(name)}::VARCHAR" for name in shape.key)
    return f"(md5_number_lower(concat_ws(chr(31), {key})) % {buckets})::INTEGER"
