"""Values in Debezium's forms: exact, or refused with a reason; nothing rounds, wraps or passes for something else."""

import base64
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestd.config.options import Column
from tests.debezium.changes import copy_of, decimal, decoded, event, field, one_value, reasons

VARIABLE = "io.debezium.data.VariableScaleDecimal"
EPOCH = datetime(1970, 1, 1)


def unscaled(number: int) -> str:
    """Big-endian two's complement, as short as Java writes it, in base64."""
    length = (number if number >= 0 else ~number).bit_length() // 8 + 1
    return base64.b64encode(number.to_bytes(length, "big", signed=True)).decode()


@st.composite
def decimals(draw: st.DrawFn) -> tuple[int, int, int]:
    """Precision, scale and an unscaled number that fits; integers() alone would rarely need more than 64 bits."""
    precision = draw(st.integers(1, 38))
    scale = draw(st.integers(0, precision))
    digits = draw(st.text("0123456789", min_size=1, max_size=precision) | st.just("9" * precision))
    return precision, scale, int(digits) * draw(st.sampled_from([1, -1]))


@settings(deadline=None)
@given(st.lists(decimals(), min_size=1, max_size=4), st.booleans())
def test_every_decimal_that_fits_comes_back_exactly(samples: list[tuple[int, int, int]], with_schema: bool) -> None:
    for precision, scale, number in samples:
        column = Column(name="x", type=f"numeric({precision},{scale})")
        source = decimal("x", precision, scale) if with_schema else None
        wanted = Decimal((int(number < 0), tuple(map(int, str(abs(number)))), -scale))
        assert one_value(column, unscaled(number), source) == wanted


@settings(deadline=None)
@given(st.lists(st.integers(-(10**9) + 1, 10**9 - 1) | st.none(), min_size=1))
def test_columns_of_decimals_keep_their_rows_apart(numbers: list[int | None]) -> None:
    column = Column(name="x", type="numeric(9,2)")
    values = [{"id": n, "x": None if number is None else unscaled(number)} for n, number in enumerate(numbers)]
    rows = decoded(copy_of(Column(name="id", type="int4"), column), *(event("c", value) for value in values))
    wanted = [None if number is None else Decimal(number) / 100 for number in numbers]
    assert rows.columns.column("x").to_pylist() == wanted


@settings(deadline=None)
@given(st.integers(-(10**60), 10**60), st.integers(-20, 80))
def test_decimals_with_a_scale_of_their_own_keep_all_digits_in_text(number: int, scale: int) -> None:
    value = {"scale": scale, "value": unscaled(number)}
    text = one_value(Column(name="x", type="text"), value, field("x", "struct", VARIABLE))
    assert "E" not in text
    assert Decimal(text) == Decimal((int(number < 0), tuple(map(int, str(abs(number)))), -scale))


@pytest.mark.parametrize(
    ("kind", "scale", "number", "wanted"),
    [
        ("numeric(10,2)", 2, 10**10, "too many digits"),
        ("numeric(10,2)", 2, -(10**10), "too many digits"),
        ("numeric(10,2)", 3, 1005, "too many digits"),
        ("numeric(10,2)", 3, 1010, Decimal("1.01")),
        ("numeric(10,2)", 0, 5, Decimal("5.00")),
        ("numeric(10,2)", 0, 10**8, "too many digits"),
        ("numeric(10,2)", -2, 5, Decimal("500.00")),
        ("numeric(10,2)", 2046, 5 * 10**2046, Decimal("5.00")),
        ("int8", 0, 2**63 - 1, 2**63 - 1),
        ("int8", 0, 2**63, "not a int8"),
        ("int8", 2, 150, "not a int8"),
        ("int4", 2, 1500, 15),
        ("float8", 2, 150, 1.5),
        ("float8", 0, 10**400, "not a float8"),
        ("float4", 0, 10**39, "not a float4"),
        ("text", 2, -5, "-0.05"),
        ("text", -2, -5, "-500"),
        ("jsonb", 2, 150, "not an exact one"),
    ],
)
def test_a_decimal_in_a_column_of_another_shape_is_exact_or_refused(
    kind: str, scale: int, number: int, wanted: Any
) -> None:
    found = one_value(Column(name="x", type=kind), unscaled(number), decimal("x", 38, scale))
    if isinstance(wanted, str) and kind not in ("text", "jsonb"):
        assert found[0] == "dead" and wanted in found[1]
    elif kind == "jsonb":
        assert found == f'"{unscaled(number)}"'
    else:
        assert found == wanted


@pytest.mark.parametrize(
    "value",
    [
        "",
        "not base64!",
        7,
        {"scale": 10**9, "value": "AQ=="},
        {"scale": -(10**9), "value": "AQ=="},
        {"scale": 1, "value": ""},
        {"scale": 1},
        {"scale": "1", "value": "AQ=="},
        {"scale": 0, "value": base64.b64encode(b"\1" * 100_000).decode()},
        ["AQ=="],
    ],
)
@pytest.mark.parametrize("kind", ["numeric(10,2)", "text"])
def test_what_is_no_decimal_is_refused_quickly(kind: str, value: Any) -> None:
    source = field("x", "struct", VARIABLE) if isinstance(value, dict) else decimal("x", 10, 2)
    assert one_value(Column(name="x", type=kind), value, source)[0] == "dead"


@pytest.mark.parametrize(
    ("mode", "value", "wanted"),
    [
        ("string", "12.30", Decimal("12.30")),
        ("string", "NaN", "not a number"),
        ("double", 12.3, Decimal("12.30")),
        ("precise", {"scale": 1, "value": "ew=="}, Decimal("12.30")),
    ],
)
def test_decimals_without_a_schema_come_as_the_pipeline_says(mode: str, value: Any, wanted: Any) -> None:
    pipeline = copy_of(Column(name="id", type="int4"), Column(name="x", type="numeric(10,2)"), decimals=mode)
    rows = decoded(pipeline, event("c", {"id": 1, "x": value}))
    if isinstance(wanted, str):
        assert reasons(rows)[0] == ("x", wanted)
    else:
        assert rows.columns.column("x").to_pylist() == [wanted]


@settings(deadline=None)
@given(st.dates())
def test_dates_come_back(day: date) -> None:
    days = (day - EPOCH.date()).days
    for source in (field("x", "int32", "io.debezium.time.Date"), None):
        assert one_value(Column(name="x", type="date"), days, source) == day
    assert one_value(Column(name="x", type="text"), days, field("x", "int32", "io.debezium.time.Date")) == str(day)


@settings(deadline=None)
@given(st.datetimes())
def test_timestamps_come_back(at: datetime) -> None:
    micros = (at - EPOCH) // timedelta(microseconds=1)
    fine = field("x", "int64", "io.debezium.time.MicroTimestamp")
    nano = field("x", "int64", "io.debezium.time.NanoTimestamp")
    assert one_value(Column(name="x", type="timestamp"), micros, fine) == at
    assert one_value(Column(name="x", type="timestamp"), micros) == at
    assert one_value(Column(name="x", type="timestamptz"), micros, fine) == at.replace(tzinfo=UTC)
    if abs(micros) < 9 * 10**15:
        assert one_value(Column(name="x", type="timestamp"), micros * 1000, nano) == at
    text = one_value(Column(name="x", type="text"), micros, fine)
    assert text == str(at).rstrip("0").rstrip(".") if at.microsecond else text == str(at)


@settings(deadline=None)
@given(st.times(), st.sampled_from(["io.debezium.time.MicroTime", "io.debezium.time.NanoTime"]))
def test_times_come_back(at: time, logical: str) -> None:
    micros = ((at.hour * 60 + at.minute) * 60 + at.second) * 1_000_000 + at.microsecond
    value = micros * 1000 if "Nano" in logical else micros
    assert one_value(Column(name="x", type="time"), value, field("x", "int64", logical)) == at


DATE, MICROS = "io.debezium.time.Date", "io.debezium.time.MicroTimestamp"
MILLIS, NANOS = "io.debezium.time.Timestamp", "io.debezium.time.NanoTimestamp"


@pytest.mark.parametrize(
    ("kind", "logical", "value", "reason"),
    [
        ("date", DATE, 2_932_897, "years"),
        ("date", DATE, -719_163, "years"),
        ("date", DATE, -2_147_472_692, "infinity"),
        ("date", DATE, -622_191_234, "infinity"),
        ("date", DATE, 2**70, "expected int"),
        ("timestamp", MICROS, 253_402_300_800_000_000, "years"),
        ("timestamp", MICROS, 9_223_372_036_825_200_000, "infinity"),
        ("timestamp", MICROS, -9_223_372_036_832_400_000, "infinity"),
        ("timestamp", MILLIS, 9_223_372_036_825_200, "infinity"),
        ("timestamp", MILLIS, 2**63 - 1, "years"),
        ("timestamp", NANOS, 2**63 - 1, "infinity"),
        ("timestamp", NANOS, 1, "finer"),
        ("timestamptz", "io.debezium.time.ZonedTimestamp", "infinity", "infinity"),
        ("timestamptz", "io.debezium.time.ZonedTimestamp", "-infinity", "infinity"),
        ("timestamptz", "io.debezium.time.ZonedTimestamp", "-0043-03-15T00:00:00.000000Z", "years"),
        ("timestamptz", "io.debezium.time.ZonedTimestamp", "+12026-01-01T00:00:00.000000Z", "years"),
        ("timestamptz", "io.debezium.time.ZonedTimestamp", "yesterday", "not a timestamp"),
        ("timestamptz[]", "io.debezium.time.ZonedTimestamp", ["infinity"], "element: infinity"),
        ("time", "io.debezium.time.MicroTime", 86_400_000_000, "24:00"),
        ("time", "io.debezium.time.MicroTime", -1, "24:00"),
        ("date", MICROS, 0, "cannot hold"),
        ("timestamp", DATE, 0, "cannot hold"),
        ("bool", DATE, 1, "cannot hold"),
        ("date", DATE, "2026-01-05", "expected int"),
        ("date", DATE, 1.5, "expected int"),
    ],
)
def test_what_no_date_or_time_of_the_contract_is_gets_refused(kind: str, logical: str, value: Any, reason: str) -> None:
    element = {"type": "string" if isinstance(value, str | list) else "int64", "name": logical}
    source = field("x", "array", items=element) if kind.endswith("[]") else field("x", element["type"], logical)
    found = one_value(Column(name="x", type=kind), value, source)
    assert found[0] == "dead" and reason in found[1]


@pytest.mark.parametrize(
    ("logical", "value", "wanted"),
    [
        (MICROS, 9_223_372_036_825_200_000, "infinity"),
        (MICROS, -9_223_372_036_832_400_000, "-infinity"),
        (DATE, -2_147_472_691, "-infinity"),
        ("io.debezium.time.MicroTime", 45_296_000_000, "12:34:56"),
        ("io.debezium.time.ZonedTime", "10:00:00.5Z", "10:00:00.5Z"),
        ("io.debezium.time.Interval", "P1Y", "P1Y"),
    ],
)
def test_a_text_column_holds_what_no_other_does(logical: str, value: Any, wanted: str) -> None:
    kind = "string" if isinstance(value, str) else "int64"
    assert one_value(Column(name="x", type="text"), value, field("x", kind, logical)) == wanted


@pytest.mark.parametrize(
    ("source", "value", "wanted"),
    [
        (field("x", "int32"), 7, "7"),
        (field("x", "boolean"), True, "true"),
        (field("x", "double"), 0.1, "0.1"),
        (field("x", "struct"), {"a": 1}, '{"a":1}'),
        (field("x", "bytes", "io.debezium.data.Bits", parameters={"length": "10"}), "AQ==", "0000000001"),
        (field("x", "bytes", "io.debezium.data.Bits", parameters={"length": "2147483647"}), "AQ==", "1"),
        (field("x", "bytes", "io.debezium.data.Bits", parameters={"length": "x"}), "", ""),
    ],
)
def test_a_text_column_takes_every_kind_of_value(source: Any, value: Any, wanted: str) -> None:
    assert one_value(Column(name="x", type="text"), value, source) == wanted


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ('{"a": [1, 2.50]}', '{"a": [1, 2.50]}'),
        ("null", "null"),
        ('"null"', '"null"'),
        (None, None),
        ("", ("dead", "not JSON")),
        ("{", ("dead", "not JSON")),
        ("1 2", ("dead", "not JSON")),
        ('"\\u0000"', ("dead", "holds a NUL character, which no text column can store")),
    ],
)
def test_json_inside_of_a_text_is_that_json_and_its_null_is_no_sql_null(value: Any, wanted: Any) -> None:
    found = one_value(Column(name="x", type="jsonb"), value, field("x", "string", "io.debezium.data.Json"))
    assert found == wanted


@pytest.mark.parametrize(
    ("value", "wanted"),
    [('{"a": 1}', '{"a": 1}'), ("plain", '"plain"'), ({"x": 1.5}, '{"x":1.5}'), ("null", "null"), (None, None)],
)
def test_jsonb_without_a_schema_reads_json_texts_and_structs(value: Any, wanted: Any) -> None:
    assert one_value(Column(name="x", type="jsonb"), value) == wanted


def test_iso_strings_are_read_where_the_connector_writes_them() -> None:
    assert one_value(Column(name="x", type="date"), "2026-01-05Z") == date(2026, 1, 5)
    assert one_value(Column(name="x", type="time"), "10:30:00Z") == time(10, 30)
    assert one_value(Column(name="x", type="timestamp"), "2026-01-05T10:30:00Z") == datetime(2026, 1, 5, 10, 30)
    iso = field("x", "string", "io.debezium.time.IsoDate")
    assert one_value(Column(name="x", type="date"), "2026-01-05Z", iso) == date(2026, 1, 5)


def test_on_bad_null_writes_null_for_what_cannot_be() -> None:
    column = Column(name="x", type="timestamp", on_bad="null")
    assert one_value(column, 9_223_372_036_825_200_000, field("x", "int64", MICROS)) is None
    assert one_value(Column(name="x", type="numeric(4,2)", on_bad="null"), unscaled(10**6), decimal("x", 10, 2)) is None


def test_rules_of_the_contract_hold_for_converted_values() -> None:
    column = Column(name="x", type="numeric(10,2)", min=0)
    assert one_value(column, unscaled(-1), decimal("x", 10, 2)) == ("dead", "below the minimum 0")
