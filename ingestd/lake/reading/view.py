"""The rows of a lake's files as one SELECT of DuckDB. Knows no manifest and no limits.

Files are read in groups of one schema, joined by UNION ALL BY NAME. In one scan of files whose types differ DuckDB 1.5
narrows a filter's constant to each file's type (duckdb issue 24900): `amount > 0.015` then misses a 0.02 that an older
file has with two digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from msgspec import structs

from ingestd.lake.places.arrow_files import KeyFiles
from ingestd.lake.reading.readable import Readable, Value, partition_values

_FOOTERS_AT_ONCE = 16


def select_all(connection: duckdb.DuckDBPyConnection, source: Readable) -> str:
    """What selects all rows of the files, there is at least one; partitions that are no column of the files come last.

    Sets variables and registers data sets of `connection`, and lets it open the local files and no others once
    external access is off. Raises: FileNotFoundError, OSError, pyarrow.ArrowException.
    """
    root = source.root()
    if root is not None:
        paths = _listed([str(root / key) for key in source.keys])
        connection.execute(f"SET allowed_paths = {paths}")
    parts = []
    for number, (schema, group) in enumerate(_groups(source)):
        if root is None:
            name = f"{number} of ingestd"
            connection.register(name, _dataset(schema, group))
            parts.append(f"SELECT * FROM {quoted(name)}")
        else:
            parts.append(_select_local(connection, root, group, schema.names, number))
    return " UNION ALL BY NAME ".join(parts)


def _groups(source: Readable) -> list[tuple[pa.Schema, Readable]]:
    """The files by their schema, the newest schema first."""
    if source.root() is None:
        with ThreadPoolExecutor(_FOOTERS_AT_ONCE) as pool:
            schemas = list(pool.map(lambda key: _schema(source, key), source.keys))
    else:
        schemas = [_schema(source, key) for key in source.keys]
    members: dict[pa.Schema, list[int]] = {}
    for number, schema in enumerate(schemas):
        members.setdefault(schema, []).append(number)
    newest = sorted(members.items(), key=lambda item: -item[1][-1])
    return [
        (
            schema,
            structs.replace(source, files=[source.files[n] for n in numbers], keys=[source.keys[n] for n in numbers]),
        )
        for schema, numbers in newest
    ]


def _schema(source: Readable, key: str) -> pa.Schema:
    with source.place.read(key) as file:
        found = pq.read_schema(file).remove_metadata()
        return pa.schema([field.remove_metadata() for field in found])


def _select_local(
    connection: duckdb.DuckDBPyConnection, root: Path, group: Readable, columns: Sequence[str], number: int
) -> str:
    """By DuckDB's own reader. Directories' names are not asked: they would hide a file's own values behind cut ones.

    DuckDB prunes by file_index as well as it does by them.
    """
    chosen = "*"
    for column, values in partition_values(group.files, columns).items():
        variable = f"ingestd {number} {column}"
        connection.execute(f"SET VARIABLE {quoted(variable)} = $1", [values])
        chosen += f", list_extract(getvariable({literal(variable)}), file_index::BIGINT + 1) AS {quoted(column)}"
    paths = _listed([str(root / key) for key in group.keys])
    return f"SELECT {chosen} FROM read_parquet({paths}, hive_partitioning = false)"


def _dataset(schema: pa.Schema, group: Readable) -> ds.Dataset:
    """For Arrow's reader, through the place's own client."""
    values = partition_values(group.files, schema.names)
    for column, of_files in values.items():
        schema = schema.append(pa.field(column, pa.array(of_files).type))
    expressions = [_expression({column: of[n] for column, of in values.items()}) for n in range(len(group.files))]
    return ds.FileSystemDataset.from_paths(
        list(group.keys),
        schema=schema,
        format=ds.ParquetFileFormat(),
        filesystem=KeyFiles(group).file_system(),
        partitions=expressions,
    )


def _expression(values: dict[str, Value]) -> ds.Expression:
    found = ds.scalar(True)
    for column, value in values.items():
        field = pc.field(column)
        found &= field.is_null() if value is None else field == value
    return found


def _listed(texts: Sequence[str]) -> str:
    return "[" + ", ".join(map(literal, texts)) + "]"


def quoted(name: str) -> str:
    """An SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """An SQL text."""
    return "'" + text.replace("'", "''") + "'"
