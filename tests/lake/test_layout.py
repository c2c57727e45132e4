"""What records hold decides about directories' names, never about where the directories are."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestd.lake.layout import (
    NO_VALUE,
    Layout,
    decode,
    encode,
    final_name,
    hive_values,
    staged_epoch,
    staged_key,
    staging_directory,
)
from tests.lake.lakes import pipeline, written

HOSTILE = [
    *("../../etc/passwd", "..", ".", "...", "/", "//", "a/b", "a\\b", "a\0b", "a\nb", " ", "=", "a=b", "%2E", "%", "~"),
    *("\N{PILE OF POO}", "é", "é", "x" * 10_000, "\N{PILE OF POO}" * 3_000, "CON", "-rf", "*", "?", "[a]", "'", '"'),
    *(NO_VALUE, NO_VALUE.lower(), "null", "NULL", "_staging", "_ingestd.json", "\x7f", "‮", "٣"),
]


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_an_encoded_value_is_one_short_name_that_gives_the_value_back(value: bytes) -> None:
    name = encode(value)
    assert len(name) <= 200
    assert name not in (".", "..", NO_VALUE)
    assert name.isascii() and all(character.isalnum() or character in "_.-%~" for character in name)
    if "~" in name:
        with pytest.raises(ValueError):
            decode(name)
    else:
        assert decode(name) == value


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(st.none(), st.text(max_size=40), st.sampled_from(HOSTILE)), min_size=1, max_size=20))
def test_no_value_leaves_the_root_and_every_value_is_in_its_directorys_name(values: list[str | None]) -> None:
    columns = pa.record_batch({"a": pa.array(values, pa.string()), "b": pa.array(values[::-1], pa.string())})
    codes, directories = Layout(pipeline("r", ("a", "text"), ("b", "text"), partition_by=["a", "b"])).directories(
        columns
    )
    assert len(set(directories)) == len(directories)
    for row, (a, b) in enumerate(zip(values, values[::-1], strict=True)):
        directory = PurePosixPath("root", directories[codes[row]])
        assert len(directory.parts) == 3 and ".." not in directory.parts
        for part, value, column in zip(directory.parts[1:], (a, b), "ab", strict=True):
            assert part.startswith(f"{column}=") and len(part) <= 255
            if "~" not in part:
                assert hive_values(part) == {column: value.encode() if value else None}


def test_long_values_that_begin_alike_do_not_share_a_directory() -> None:
    first, second = encode(b"x" * 10_000), encode(b"x" * 9_999 + b"y")
    assert first != second and len(first) == len(second) == 200
    cut = encode("\N{PILE OF POO}".encode() * 100).split("~")[0]
    assert len(cut) % 3 == 0, "no percent sign is cut from its digits"


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(st.none(), st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999999)))))
def test_the_parts_of_a_time_are_those_of_utc(times: list[datetime | None]) -> None:
    columns = pa.record_batch({"t": pa.array([t and t.replace(tzinfo=UTC) for t in times], pa.timestamp("us", "UTC"))})
    parts = ["year", "month", "day", "hour", "date"]
    layout = Layout(pipeline("r", ("t", "timestamptz"), partition_by=[f"{part}(t)" for part in parts]))
    codes, directories = layout.directories(columns)
    for row, time in enumerate(times):
        found = hive_values(directories[codes[row]])
        if time is None:
            assert set(found.values()) == {None}
        else:
            wanted = [f"{time.year:04d}", f"{time.month:02d}", f"{time.day:02d}", f"{time.hour:02d}"]
            assert [found[part] for part in parts] == [w.encode() for w in [*wanted, time.date().isoformat()]]


VALUES: dict[str, tuple[pa.DataType, list[Any], list[str]]] = {
    "int8": (pa.int64(), [-(2**63), 0, 1], ["-9223372036854775808", "0", "1"]),
    "bool": (pa.bool_(), [True, False], ["true", "false"]),
    "numeric(38,2)": (pa.decimal128(38, 2), [Decimal("1.50"), Decimal("-1e20")], ["1.50", "-100000000000000000000.00"]),
    "float8": (pa.float64(), [0.1, float("nan"), float("inf"), -0.0], ["0.1", "nan", "inf", "-0"]),
    "uuid": (pa.binary(16), [bytes(range(16))], ["00010203-0405-0607-0809-0a0b0c0d0e0f"]),
    "date": (pa.date32(), [date(1, 1, 1), date(9999, 12, 31)], ["0001-01-01", "9999-12-31"]),
    "timestamp": (pa.timestamp("us"), [datetime(1, 1, 1, 2, 3, 4, 5)], ["0001-01-01 02:03:04.000005"]),
    "time": (pa.time64("us"), [timedelta(hours=1) // timedelta(microseconds=1)], ["01:00:00"]),
    "bytea": (pa.binary(), [b"\xff\0"], ["\xff\0"]),
    "int4[]": (pa.list_(pa.int32()), [[1, 2], []], ["[1,2]", "[]"]),
}  # fmt: skip


@pytest.mark.parametrize("kind", VALUES)
def test_a_value_of_any_type_has_the_text_that_readers_cast_back(kind: str) -> None:
    arrow, values, texts = VALUES[kind]
    layout = Layout(pipeline("r", ("x", kind), partition_by=["x"]))
    codes, directories = layout.directories(pa.record_batch({"x": pa.array([*values, None], arrow)}))
    expected = [f"x={encode(text.encode('latin-1'))}" for text in texts] + [f"x={NO_VALUE}"]
    assert [directories[code] for code in codes] == expected


def test_many_distinct_values_in_many_columns_do_not_overflow() -> None:
    count, names = 3_000, [f"c{n}" for n in range(8)]
    rng = np.random.default_rng(1)
    values = {name: [f"{n}" for n in rng.permutation(count)] for name in names}
    columns = pa.record_batch({name: pa.array(column) for name, column in values.items()})
    layout = Layout(pipeline("r", *((name, "text") for name in names), partition_by=names))
    codes, directories = layout.directories(columns)
    for row in range(0, count, 97):
        expected = "/".join(f"{name}={values[name][row]}" for name in names)
        assert directories[codes[row]] == expected


def test_duckdb_and_arrow_read_hostile_hive_values(tmp_path: Path) -> None:
    values = [value for value in HOSTILE if len(value) < 60 and "\0" not in value]
    columns = pa.record_batch({"a": pa.array([*values, None, ""]), "n": pa.array(range(len(values) + 2), pa.int64())})
    written(tmp_path, columns, pipeline(tmp_path, ("a", "text"), ("n", "int8"), partition_by=["a"]))
    files = f"read_parquet('{tmp_path}/**/*.parquet', hive_partitioning = {{}})"
    hive = duckdb.sql(f"SELECT a, n FROM {files.format('true')} ORDER BY n").fetchall()
    assert hive == [(value, n) for n, value in enumerate([*values, None, None])]
    plain = duckdb.sql(f"SELECT a, n FROM {files.format('false')} ORDER BY n").fetchall()
    assert plain == [(value, n) for n, value in enumerate([*values, None, ""])], "the file tells empty from null"
    partitioning = ds.partitioning(pa.schema([("a", pa.string())]), flavor="hive")
    found = ds.dataset(tmp_path, partitioning=partitioning).to_table().sort_by("n").column("a").to_pylist()
    assert found == [None if value in ("", NO_VALUE) else value for value in [*values, None, ""]]


def test_staged_keys_tell_their_epoch_and_stay_below_their_pipelines_room() -> None:
    key = staged_key("p", "a-1", 7, 100, 12, 3)
    assert key == "_staging/p/a-1-7/a-1-7-100-e12-3.parquet.staged"
    assert staged_epoch(key) == 12
    assert staged_epoch("_staging/p/a-1-7/notes.txt") is None
    for name in (".", "..", "compact"):
        assert PurePosixPath(staging_directory(name, "t", 0)).parts[1] not in (".", "..", "compact")


def test_the_longest_topic_makes_names_that_a_file_system_takes() -> None:
    last = 2**63 - 1
    name = final_name("t" * 249, 2**31 - 1, last - 1, last, last, 2**48)
    assert len(name) <= 255
    assert final_name("t" * 248 + "u", 2**31 - 1, last - 1, last, last, 2**48) != name
    assert len(PurePosixPath(staged_key("p", "t" * 249, 2**31 - 1, last, last, 2**48)).name) <= 255
