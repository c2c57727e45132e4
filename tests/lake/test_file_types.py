"""Every contract type comes back from a file as it was decoded, with DuckDB and with Arrow."""

import json
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ingestd.config.options import Column
from ingestd.lake.writing.schema import FileSchema
from tests.decode.records import decoded
from tests.lake.lakes import pipeline, written

UTC = ZoneInfo("UTC")
NAN, INF = float("nan"), float("inf")
UUID = "00010203-0405-0607-0809-0a0b0c0d0eff"
NINES = "9" * 37 + ".9"

TYPES: dict[str, tuple[str, list[Any], list[Any]]] = {
    "text": ("VARCHAR", ["", "a", "\N{PILE OF POO}", "x" * 10_000], ["", "a", "\N{PILE OF POO}", "x" * 10_000]),
    "varchar(3)": ("VARCHAR", ["", "abc"], ["", "abc"]),
    "int2": ("SMALLINT", [-(2**15), 2**15 - 1], [-(2**15), 2**15 - 1]),
    "int4": ("INTEGER", [-(2**31), 2**31 - 1], [-(2**31), 2**31 - 1]),
    "int8": ("BIGINT", [-(2**63), 2**63 - 1], [-(2**63), 2**63 - 1]),
    "float4": ("FLOAT", [1.5, "Infinity", "-Infinity", "NaN"], [1.5, INF, -INF, NAN]),
    "float8": ("DOUBLE", [0.1, "Infinity", "-Infinity", "NaN", 5e-324], [0.1, INF, -INF, NAN, 5e-324]),
    "numeric(38,1)": ("DECIMAL(38,1)", [NINES, "-" + NINES], [Decimal(NINES), Decimal("-" + NINES)]),
    "numeric(38,38)": ("DECIMAL(38,38)", ["0." + "9" * 38], [Decimal("0." + "9" * 38)]),
    "numeric(10,2)": ("DECIMAL(10,2)", ["1.05", "-0.01"], [Decimal("1.05"), Decimal("-0.01")]),
    "bool": ("BOOLEAN", [True, False], [True, False]),
    "uuid": ("VARCHAR", [UUID, UUID.replace("-", "").upper()], [UUID, UUID]),
    "timestamptz": (
        "TIMESTAMP WITH TIME ZONE",
        ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999+02:00"],
        [
            datetime(1, 1, 1, tzinfo=UTC),
            datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
            datetime(1969, 12, 31, 21, 59, 59, 999999, tzinfo=UTC),
        ],
    ),
    "timestamp": (
        "TIMESTAMP",
        ["0001-01-01T00:00:00", "9999-12-31T23:59:59.999999"],
        [datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999999)],
    ),
    "epoch": ("DOUBLE", ["1970-01-01T00:00:01.5Z"], [1.5]),
    "date": ("DATE", ["0001-01-01", "9999-12-31"], [date(1, 1, 1), date(9999, 12, 31)]),
    "time": ("TIME", ["00:00:00", "23:59:59.999999"], [time(0), time(23, 59, 59, 999999)]),
    "jsonb": ("VARCHAR", [{"a": [1, None]}, "text", 1.50], ['{"a":[1,null]}', '"text"', "1.5"]),
    "bytea": ("BLOB", ["AP8=", ""], [b"\x00\xff", b""]),
    "text[]": ("VARCHAR[]", [[], ["a", "", None], ["b"]], [[], ["a", "", None], ["b"]]),
    "int4[]": ("INTEGER[]", [[1, None], []], [[1, None], []]),
    "numeric(38,2)[]": ("DECIMAL(38,2)[]", [["1.05"]], [[Decimal("1.05")]]),
    "uuid[]": ("VARCHAR[]", [[UUID.upper(), None, UUID.replace("-", "")], []], [[UUID, None, UUID], []]),
    "timestamptz[]": (
        "TIMESTAMP WITH TIME ZONE[]",
        [["2026-01-01T02:00:00+02:00", None]],
        [[datetime(2026, 1, 1, tzinfo=UTC), None]],
    ),
    "jsonb[]": ("VARCHAR[]", [[{"a": 1}]], [['{"a":1}']]),
}


@pytest.mark.parametrize("kind", TYPES)
def test_a_type_comes_back_as_it_was(tmp_path: Path, kind: str) -> None:
    duck_type, given, expected = TYPES[kind]
    rows = decoded(
        [json.dumps({"x": value}, separators=(",", ":")).encode() for value in [None, *given]],
        Column(name="x", type=kind),
    )
    assert not rows.dead
    of = pipeline(tmp_path, ("x", kind))
    written(tmp_path, rows.columns, of)
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    scan = f"read_parquet('{tmp_path}/*.parquet')"
    assert connection.sql(f"SELECT x FROM {scan}").types == [duck_type]
    # DuckDB hands timestamps with a zone to Python through pytz; Arrow reads its result without.
    table = connection.sql(f"SELECT x FROM {scan}").to_arrow_table()
    assert repr(table.column(0).to_pylist()) == repr([None, *expected])
    (path,) = tmp_path.glob("*.parquet")
    stored = pq.read_table(path)
    assert repr(stored.column(0).to_pylist()) == repr([None, *expected])
    assert stored.schema.types == FileSchema.of(of).arrow.types


def test_every_type_of_the_contract_is_tried() -> None:
    from ingestd.schema.types import SCALARS, parse_type

    assert {parse_type(kind).scalar for kind in TYPES} == set(SCALARS)


def test_slices_of_batches_are_converted_as_whole_ones() -> None:
    texts = [UUID, None, "ffffffff-0000-0000-0000-000000000000", None, UUID]
    lists: list[list[str | None] | None] = [[UUID], None, [], [None, UUID.upper()], [UUID, UUID]]
    values: list[bytes | None] = [
        json.dumps({"u": text, "l": some}).encode() for text, some in zip(texts, lists, strict=True)
    ]
    rows = decoded(values, Column(name="u", type="uuid"), Column(name="l", type="uuid[]"))
    schema = FileSchema.of(pipeline("r", ("u", "uuid"), ("l", "uuid[]")))
    whole = schema.batch(rows.columns).to_pylist()
    assert [row["u"] for row in whole] == texts
    for start in range(5):
        for count in range(6 - start):
            part = schema.batch(rows.columns.slice(start, count))
            part.validate(full=True)
            assert part.to_pylist() == whole[start : start + count]


def test_columns_are_chosen_and_numbered(tmp_path: Path) -> None:
    of = pipeline(tmp_path, ("a", "int4"), ("b", "text[]"), ("c", "text"), columns=["c", "b"])
    columns = pa.record_batch({"a": pa.array([1], pa.int32()), "b": [["x"]], "c": ["y"]})
    written(tmp_path, columns, of)
    (path,) = tmp_path.glob("*.parquet")
    schema = pq.read_schema(path)
    assert schema.names == ["c", "b"]
    ids = [schema.field("c"), schema.field("b"), schema.field("b").type.value_field]
    assert [field.metadata[b"PARQUET:field_id"] for field in ids] == [b"1", b"2", b"4"]
