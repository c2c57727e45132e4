"""Each type's rules: what it takes, exactly, and what it refuses."""

import itertools
from datetime import UTC, date, datetime, time
from decimal import Context, Decimal, localcontext

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from ingestd.config.options import Column
from ingestd.decode import times
from ingestd.decode.numbers import numerics
from ingestd.schema.postgres import Schema
from ingestd.schema.types import parse_type
from tests.decode.records import decoded, one_column

TOO_MANY = "too many digits for numeric(10,2)"


class TestParseType:
    @pytest.mark.parametrize(
        ("text", "name", "pg_type"),
        [
            ("varchar(3)", "varchar(3)", "character varying(3)"),
            ("VARCHAR", "varchar", "character varying"),
            ("decimal( 10 , 2 )", "numeric(10,2)", "numeric(10,2)"),
            ("numeric(5)", "numeric(5,0)", "numeric(5,0)"),
            ("double  precision", "float8", "double precision"),
            ("timestamp with time zone", "timestamptz", "timestamp with time zone"),
            ("int[]", "int4[]", "integer[]"),
        ],
    )
    def test_spellings(self, text: str, name: str, pg_type: str) -> None:
        parsed = parse_type(text)
        assert (parsed.name, parsed.pg_type) == (name, pg_type)
        assert parse_type(parsed.name) == parse_type(parsed.pg_type) == parsed

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("strng", "did you mean 'string'"),
            ("money", "unknown type 'money'.*known: text"),
            ("numeric", "needs a precision"),
            ("numeric(39,0)", "1 to 38"),
            ("numeric(3,4)", "scale not above"),
            ("varchar(0)", "varchar takes one length"),
            ("int4(3)", "takes no arguments"),
            ("int4[][]", "cannot read type"),
            ("", "unknown type"),
        ],
    )
    def test_problems_say_what_is_right(self, text: str, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            parse_type(text)

    def test_only_arrays_whose_element_type_the_encoder_mistakes_are_staged(self) -> None:
        staged = {kind: parse_type(kind).stage_type for kind in ("uuid[]", "timestamptz[]", "varchar(3)[]", "jsonb[]")}
        assert staged == {
            "uuid[]": "text[]",
            "timestamptz[]": "timestamp without time zone[]",
            "varchar(3)[]": "text[]",
            "jsonb[]": "text[]",
        }
        assert parse_type("uuid[]").stage_cast == "::uuid[]"
        assert all(
            parse_type(kind).direct for kind in ("uuid", "timestamptz", "varchar(3)", "jsonb", "int4[]", "date[]")
        )
        assert not Schema.of([Column(name="a", type="int4"), Column(name="u", type="uuid[]")]).direct


class TestNumeric:
    @pytest.mark.parametrize("text", ["1.005", '"1.005"', "123456789.00", "1e8", "1e-3", "1e-400", "1e400", "-0.001"])
    def test_too_many_digits_are_refused_not_rounded(self, text: str) -> None:
        assert one_column("numeric(10,2)", "1.5", text) == ([Decimal("1.50")], {1: TOO_MANY})

    @pytest.mark.parametrize(
        "text", ['"NaN"', '"Infinity"', '"1_0"', '" 1"', '""', '"null"', "true", "{}", "[1]", '"0x1"']
    )
    def test_only_numbers_are_taken(self, text: str) -> None:
        assert one_column("numeric(10,2)", "1.5", text) == ([Decimal("1.50")], {1: "not a number"})

    def test_values_are_exact_in_every_form(self) -> None:
        texts = [
            "0.1",
            "1.500",
            '"12.5"',
            "1e2",
            "1.00e1",
            "-0",
            "99999999.99",
            '"1\\u0032"',
            "0e5",
            "1" + ".0" * 1 + "0" * 60,
        ]
        wanted = ["0.10", "1.50", "12.50", "100.00", "10.00", "0.00", "99999999.99", "12.00", "0.00", "1.00"]
        assert one_column("numeric(10,2)", *texts) == ([Decimal(value) for value in wanted], {})

    @pytest.mark.parametrize(
        ("kind", "text"),
        [
            ("numeric(38,38)", "-7"),
            ("numeric(38,35)", "40948658509921.32071550577"),
            ("numeric(38,12)", "-377438594559835524436957711067798754"),
            ("numeric(38,36)", "55429280671013463375"),
            ("numeric(5,0)", "1e-40"),
            ("numeric(9,7)", "80541.17248499366666e-32"),
        ],
    )
    def test_values_that_arrow_alone_would_take_and_change_are_refused(self, kind: str, text: str) -> None:
        assert one_column(kind, text) == ([], {0: f"too many digits for {kind}"})

    @given(
        st.integers(1, 38).flatmap(lambda p: st.tuples(st.just(p), st.integers(0, p))),
        st.lists(
            st.tuples(st.decimals(-(10**40), 10**40, allow_nan=False), st.integers(-45, 45)), min_size=1, max_size=8
        ),
    )
    def test_against_pythons_decimal(self, size: tuple[int, int], numbers: list[tuple[Decimal, int]]) -> None:
        precision, scale = size
        texts = [f"{number:f}" + (f"e{exponent}" if exponent % 3 == 0 else "") for number, exponent in numbers]
        built = numerics(parse_type(f"numeric({precision},{scale})"))([Raw(text.encode()) for text in texts])
        with localcontext(Context(prec=2000)):
            for row, text in enumerate(texts):
                scaled = Decimal(text).scaleb(scale)
                fits = scaled == scaled.to_integral_value() and abs(scaled) < 10**precision
                assert (row not in built.faults) == fits, text
                assert not fits or built.array[row].as_py() == Decimal(text)


class TestNumbers:
    def test_float_words_and_range(self) -> None:
        good, refused = one_column(
            "float8", '"Infinity"', '"-Infinity"', "1", "-0.0", "5e-324", "1e400", '"inf"', "NaN"
        )
        assert list(map(str, good)) == ["inf", "-inf", "1.0", "-0.0", "5e-324"]
        assert refused[5] == "Number out of range"
        assert refused[6] == "expected a number, NaN, Infinity or -Infinity"
        assert 7 in refused

    def test_float4_is_refused_where_it_would_become_infinite_or_zero(self) -> None:
        good, refused = one_column("float4", "3.4028235e38", "1e39", "1e-60", '"Infinity"', "0", "1e-45", "null")
        assert good[1:3] == [float("inf"), 0.0] and good[-1] is None
        assert refused == dict.fromkeys((1, 2), "out of range of float4")

    @pytest.mark.parametrize(("kind", "bits"), [("int2", 16), ("int4", 32), ("int8", 64)])
    def test_integers_end_where_postgresql_ends(self, kind: str, bits: int) -> None:
        limit = 1 << (bits - 1)
        good, refused = one_column(
            kind, str(-limit), str(limit - 1), str(-limit - 1), str(limit), "9" * 60, "1.0", "true", '"1"'
        )
        assert good == [-limit, limit - 1]
        assert sorted(refused) == [2, 3, 4, 5, 6, 7]

    def test_bool_is_strict(self) -> None:
        assert one_column("bool", "true", "false", "1", '"true"')[0] == [True, False]


class TestText:
    def test_varchar_counts_characters(self) -> None:
        good, refused = one_column("varchar(2)", '"😀😀"', '"abc"', '""')
        assert (good, refused) == (["😀😀", ""], {1: "expected str of length <= 2"})

    def test_jsonb_keeps_its_text_and_refuses_nul(self) -> None:
        texts = [
            '{"a": [1, 2]}',
            '"\\\\u0000"',
            '"\\u0000"',
            '{"k\\u0000":1}',
            "null",
            '"null"',
            '"\\\\\\u0000"',
            '"null😀"',
        ]
        good, refused = one_column("jsonb", *texts)
        assert good == ['{"a": [1, 2]}', '"\\\\u0000"', None, '"null"', '"null😀"']
        assert sorted(refused) == [2, 3, 6]

    def test_jsonb_of_invalid_utf8_is_refused_alone(self) -> None:
        rows = decoded(
            [b'{"x":"a"}', b'{"x":"\xff"}', b'{"x":{"\xff":1}}', b'{"x":[]}'], Column(name="x", type="jsonb")
        )
        assert rows.columns.column(0).to_pylist() == ['"a"', "[]"]
        assert [letter.reason for letter in rows.dead] == ["invalid UTF-8"] * 2

    def test_bytea_is_strict_base64(self) -> None:
        good, refused = one_column("bytea", '"aGk="', '""', '"aGk"', '"a Gk="', '"_-8="', '"\\/\\/8="')
        assert (good, sorted(refused)) == ([b"hi", b"", b"\xff\xff"], [2, 3, 4])

    @pytest.mark.parametrize("companion", ['"12345678-1234-1234-1234-123456789abc"', '"' + "0" * 32 + '"', "null"])
    def test_uuid_forms(self, companion: str) -> None:
        value = "F47AC10B-58cc-4372-a567-0e02b2c3d479"
        texts = [f'"{value}"', companion]
        good, refused = one_column("uuid", *texts)
        assert (good[0], len(good), refused) == (bytes.fromhex(value.replace("-", "")), 2, {})

    @pytest.mark.parametrize(
        "text",
        [
            "f47ac10b58cc-4372-a567-0e02b2c3d479",
            "f47ac10b-58cc-4372-a5670e02b2c3-d479",
            "{f47ac10b-58cc-4372-a567-0e02b2c3d479}",
            "f47ac10b-58cc-4372-a567-0e02b2c3d47g",
            "f47ac10b-58cc-4372-a567- 0e02b2c3d47",
            "f47ac10b-58cc-4372-a567-0e02b2c3d47é",
            "-" * 36,
            "",
        ],
    )
    def test_other_uuid_forms_are_refused(self, text: str) -> None:
        zero = '"00000000-0000-0000-0000-000000000000"'
        assert one_column("uuid", zero, f'"{text}"', zero) == ([bytes(16)] * 2, {1: "not a uuid"})


class TestTimes:
    AT = datetime(2025, 8, 15, 10, 30, tzinfo=UTC)

    @pytest.mark.parametrize(
        "text",
        ["2025-08-15T10:30:00Z", "2025-08-15 10:30Z", "2025-08-15T12:30:00+02:00", "2025-08-15T12:30:00.000000+0200"],
    )
    def test_offsets_are_read(self, text: str) -> None:
        assert one_column("timestamptz", f'"{text}"') == ([self.AT], {})
        assert one_column("timestamp", f'"{text}"') == ([self.AT.replace(tzinfo=None)], {})

    @pytest.mark.parametrize(
        "text",
        [
            "2025-02-29T00:00:00Z",
            "2025-08-15T10:30:00.1234567Z",
            "2016-12-31T23:59:60Z",
            "2025-08-15T24:00:00Z",
            "2025-08-15t10:30:00z",
            "0000-01-01T00:00:00Z",
            "0001-01-01T00:00:00+01:00",
            "9999-12-31T23:59:59.999999-01:00",
            " 2025-08-15T10:30:00Z",
            "20250815T103000Z",
            "1755253800",
            "infinity",
            "",
        ],
    )
    def test_what_is_no_timestamp_is_refused_alone(self, text: str) -> None:
        for kind in ("timestamptz", "timestamp"):
            good, refused = one_column(kind, '"2025-08-15T10:30:00Z"', f'"{text}"', '"2024-02-29T10:30:00Z"', "null")
            assert (len(good), list(refused)) == (3, [1]), kind

    def test_text_without_an_offset_needs_assume_utc(self) -> None:
        mixed = ['"2025-08-15T10:30:00"', '"2025-08-15T10:30:00Z"', '"2025-08-15 10:30"', '"x"']
        good, refused = one_column("timestamptz", *mixed)
        assert (good, refused) == ([self.AT], dict.fromkeys((0, 2, 3), "not a timestamp with an offset"))
        assert one_column("timestamptz", *mixed, assume_utc=True) == ([self.AT] * 3, {3: "not a timestamp"})
        assert one_column("timestamp", *mixed) == ([self.AT.replace(tzinfo=None)] * 3, {3: "not a timestamp"})

    @pytest.mark.parametrize(("epoch", "factor"), [("s", 1), ("ms", 1000), ("us", 1_000_000)])
    def test_epochs(self, epoch: str, factor: int) -> None:
        seconds = int(self.AT.timestamp())
        whole = seconds * factor
        texts = [
            str(whole),
            f"{whole}.0",
            f'"{whole}"',
            '"2025-08-15T12:30:00+02:00"',
            "null",
            "1e300",
            str(10**30),
            '"1e99"',
        ]
        good, refused = one_column("timestamptz", *texts, epoch=epoch)
        assert good == [self.AT] * 4 + [None]
        assert refused == dict.fromkeys((5, 6, 7), times.YEARS)

    def test_epoch_fractions_are_kept_to_the_microsecond(self) -> None:
        good, _ = one_column("timestamptz", "1755253800.123456", '"1755253800.123456"', "-0.000001", epoch="s")
        assert good == [self.AT.replace(microsecond=123456)] * 2 + [datetime(1969, 12, 31, 23, 59, 59, 999999, UTC)]

    def test_numbers_need_epoch(self) -> None:
        assert one_column("timestamptz", "1755253800") == ([], {0: "expected str, got int"})

    def test_dates_and_times(self) -> None:
        bad_dates = ['"2025-02-30"', '"0000-01-01"', '"10000-01-01"', '"2025-08-15T00:00:00"', '"20250815"', '""']
        good, refused = one_column("date", '"0001-01-01"', '"9999-12-31"', '"2024-02-29"', *bad_dates)
        assert good == [date(1, 1, 1), date(9999, 12, 31), date(2024, 2, 29)]
        assert sorted(refused) == [3, 4, 5, 6, 7, 8]
        bad_times = ['"24:00"', '"10"', '"10:30Z"', '"10:30+02:00"', '"1:30"', '"10:30:60"', '"10:30:00.1234567"', '""']
        good, refused = one_column("time", '"10:30"', '"23:59:59.999999"', "null", *bad_times)
        assert good == [time(10, 30), time(23, 59, 59, 999999), None]
        assert len(refused) == len(bad_times)

    def test_the_sure_patterns_hold_nothing_that_the_cast_refuses(self) -> None:
        days = [f"{year}-{month:02}-{day:02}" for year in (1, 1900, 9999) for month in range(14) for day in range(33)]
        days = [day.zfill(10) for day in days]
        clocks = [
            f"{h:02}:{m:02}{s}"
            for h in range(26)
            for m in (0, 59, 60)
            for s in ("", ":00", ":59", ":60", ":59.9", ":59.1234567")
        ]
        offsets = [f"{sign}{h:02}{m}" for sign in "+-" for h in range(26) for m in ("", ":00", "59", ":60")] + [
            "Z",
            "z",
        ]
        stamps = [f"{day}T10:00:00" for day in days] + [f"2025-01-31 {clock}" for clock in clocks]
        zoned = [f"{stamp}Z" for stamp in stamps] + [f"2025-01-31T10:00{offset}" for offset in offsets]
        for texts, cast, pattern in (
            (zoned, times._zoned, times.SURELY_ZONED),
            (stamps, times._naive, times.SURELY_NAIVE),
            (days, times._date, times.SURELY_DATE),
            (clocks, times._time_of_day, times.SURELY_TIME),
        ):
            array, refused = times.cast_or_null(pa.array(texts), cast, pattern)
            assert 0 < len(refused) < len(texts)
            assert array.null_count == len(refused)


class TestArrays:
    def test_elements_follow_the_rules_of_their_type(self) -> None:
        good, refused = one_column(
            "numeric(5,2)[]", "[1, null, 2.5]", "[]", "null", "[1.001]", '[1, ["x"]]', "5", "[[1]]"
        )
        assert good == [[Decimal("1.00"), None, Decimal("2.50")], [], None]
        assert sorted(refused) == [3, 4, 5, 6]
        assert refused[3] == "element: too many digits for numeric(5,2)"

    def test_nested_arrays_are_refused(self) -> None:
        assert one_column("int4[]", "[[1]]", "[1, null]") == ([[1, None]], {0: "expected int, got array"})

    def test_elements_that_are_staged(self) -> None:
        value = "f47ac10b-58cc-4372-a567-0e02b2c3d479"
        assert one_column("uuid[]", f'["{value}", null]', '["x"]') == ([[value, None]], {1: "element: not a uuid"})
        good, refused = one_column("timestamptz[]", '["2025-08-15T12:30:00+02:00", null]', '["2025-08-15T12:30:00"]')
        assert good == [[datetime(2025, 8, 15, 10, 30), None]]
        assert refused == {1: "element: not a timestamp with an offset"}

    def test_a_default_of_an_array_is_json(self) -> None:
        rows = decoded([b"{}"], Column(name="x", type="int4[]", default="[1, 2]"))
        assert rows.columns.column(0).to_pylist() == [[1, 2]]


def test_a_huge_value_is_read_in_no_time() -> None:
    big = msgspec.json.encode({"x": "x" * 50_000_000})
    rows = decoded([big, b'{"x":"small"}'], Column(name="x", type="text"))
    assert [len(value) for value in rows.columns.column(0).to_pylist()] == [50_000_000, 5]


def test_reasons_never_hold_the_payload() -> None:
    kinds = [
        "varchar(3)",
        "int4",
        "float8",
        "numeric(3,1)",
        "bool",
        "uuid",
        "timestamptz",
        "date",
        "time",
        "bytea",
        "int4[]",
        "uuid[]",
    ]
    texts = ['"SECRET"', '["SECRET"]', '{"SECRET":1}', '"a - at `$.SECRET`"']
    for kind, text in itertools.product(kinds, texts):
        good, refused = one_column(kind, text)
        assert good == [] and "SECRET" not in refused[0], (kind, text, refused)
