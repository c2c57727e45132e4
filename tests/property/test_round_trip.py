"""JSON -> decoder -> encoder -> binary COPY: PostgreSQL holds the same bytes as when it reads the literal itself."""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta, timezone
from decimal import Context, Decimal
from typing import Any

import msgspec
import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg import sql

from ingestd.config.options import Column
from ingestd.embedded.postgres import PostgresServer
from ingestd.schema.postgres import Schema
from ingestd.schema.types import parse_type
from tests.decode.records import decoded

Pair = tuple[str, str | None]
"""A value as JSON, and as the literal that PostgreSQL would be given by hand."""


@pytest.fixture(scope="module")
def connection(postgres: PostgresServer) -> Iterator[psycopg.Connection]:
    """One session for all: only temporary tables are made. ingestd's own sessions have their time zone set as well."""
    with psycopg.connect(postgres.url(), autocommit=True, options="-c TimeZone=UTC") as opened:
        yield opened


def stored(connection: psycopg.Connection, kind: str, texts: Sequence[str]) -> list[tuple[str | None, str | None]]:
    """(text, binary form) of each value after the whole way; goes through staging and cast where the type needs it."""
    columns = Column(name="n", type="int4", required=True), Column(name="x", type=kind)
    rows = decoded([b'{"n":%d,"x":%s}' % (n, text.encode()) for n, text in enumerate(texts)], *columns)
    assert rows.dead == []
    encode = Schema.of(columns).encoder()
    assert encode(rows.columns) == encode(rows.columns)
    staged = parse_type(kind)
    connection.execute("DROP TABLE IF EXISTS stage, target")
    connection.execute(sql.SQL(f"CREATE TEMP TABLE stage (n integer, x {staged.stage_type})"))
    with connection.cursor().copy("COPY stage FROM STDIN (FORMAT BINARY)") as copy:
        for piece in encode(rows.columns):
            copy.write(piece)
    connection.execute(sql.SQL(f"CREATE TEMP TABLE target (n integer, x {staged.pg_type})"))
    connection.execute(sql.SQL(f"INSERT INTO target SELECT n, x{staged.stage_cast or ''} FROM stage"))
    return shown(connection, "target", "x", kind)


def meant(connection: psycopg.Connection, kind: str, literals: Sequence[str | None]) -> list[Any]:
    """(text, binary form) of what PostgreSQL itself makes of the literals."""
    connection.execute("DROP TABLE IF EXISTS literals")
    connection.execute("CREATE TEMP TABLE literals (n integer, x text)")
    with connection.cursor() as cursor:
        cursor.executemany("INSERT INTO literals VALUES (%s, %s)", list(enumerate(literals)))
    return shown(connection, "literals", f"x::{parse_type(kind).pg_type}", kind)


def shown(connection: psycopg.Connection, table: str, value: str, kind: str) -> list[Any]:
    pg_type = parse_type(kind).pg_type
    row = connection.execute("SELECT typsend::regproc::text FROM pg_type WHERE oid = %s::regtype", [pg_type]).fetchone()
    assert row is not None
    query = f"SELECT ({value})::text, encode({row[0]}({value}), 'hex') FROM {table} ORDER BY n"
    return connection.execute(sql.SQL(query)).fetchall()


def agree(connection: psycopg.Connection, kind: str, pairs: Sequence[Pair]) -> None:
    assert stored(connection, kind, [text for text, _ in pairs]) == meant(connection, kind, [lit for _, lit in pairs])


def same(*texts: str) -> list[Pair]:
    """Values that are written the same in JSON and in PostgreSQL."""
    return [(text, text) for text in texts]


def quoted(*texts: str) -> list[Pair]:
    return [(json.dumps(text), text) for text in texts]


NULL: list[Pair] = [("null", None)]
NINES = "9" * 38
FLOATS = same("0", "-0.0", "1", "-1.5", "0.1", "1e10", "123456.789", "9007199254740993")
FLOAT_WORDS = quoted("NaN", "Infinity", "-Infinity")
STAMPS = quoted(
    *(
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999999Z",
        "1969-12-31T23:59:59.999999Z",
        "1999-12-31T23:59:59.999999Z",
    ),
    *("2000-01-01T00:00:00Z", "2024-02-29T12:30:00+02:00", "2025-08-15 10:30:00.1Z", "2025-08-15T10:30Z"),
    *("2025-08-15T10:30:00.000001-0130", "1900-01-01T00:00:00+13:59"),
)
NAIVE = quoted("0001-01-01T00:00:00", "9999-12-31T23:59:59.999999", "2025-08-15", "2025-08-15 10:30:00.000001")
U = "f47ac10b-58cc-4372-a567-0e02b2c3d479"
UUIDS = quoted(U, U.upper(), U.replace("-", ""), "0" * 32, "f" * 32)
JSONB = same(
    '{"a": [1, 2.50, 1e3], "a": null}', '"😀"', "[]", "{}", "0.1e-5", "true", '"null"', '{"\\u00e9": "\\ud83d\\ude00"}'
)

EDGES: dict[str, list[Pair]] = {
    "text": quoted("", " ", "é", "😀", "a\tb\n", "\\N", '"', "x" * 100_000, "\u2028", "NULL") + NULL,
    "varchar(3)": quoted("", "abc", "😀😀😀", "a  ") + NULL,
    "varchar": quoted("", "abc") + NULL,
    "int2": same("-32768", "32767", "0", "-1") + NULL,
    "int4": same("-2147483648", "2147483647", "0") + NULL,
    "int8": same("-9223372036854775808", "9223372036854775807", "0") + NULL,
    "float4": FLOATS
    + FLOAT_WORDS
    + same("3.4028235e38", "-3.4028235e38", "1.4e-45", "1.17549435e-38", "16777217")
    + NULL,
    "float8": FLOATS + FLOAT_WORDS + same("5e-324", "1.7976931348623157e308", "2.2250738585072014e-308") + NULL,
    "numeric(10,2)": same("0", "0.01", "-0.01", "99999999.99", "-99999999.99", "1.500", "1e2", "10000", "100.10")
    + NULL,
    "numeric(38,0)": same(NINES, f"-{NINES}", "10000", "1", "0") + quoted(NINES),
    "numeric(38,38)": same("0." + NINES, "-0." + NINES, "0." + "0" * 37 + "1", "0", "1e-38"),
    "numeric(38,10)": same("1234567890123456789012345678.0123456789", "0.0000000001", "-12340000.00005") + NULL,
    "bool": same("true", "false") + NULL,
    "uuid": UUIDS + NULL,
    "timestamptz": STAMPS + NULL,
    "timestamp": NAIVE
    + [(text, literal.rstrip("Z")) for text, literal in STAMPS if literal and literal[-1] == "Z"]
    + NULL,
    "date": quoted("0001-01-01", "9999-12-31", "1969-12-31", "2000-01-01", "2024-02-29") + NULL,
    "time": quoted("00:00", "23:59:59.999999", "10:30:00.5", "00:00:00.000001") + NULL,
    "jsonb": JSONB + NULL,
    "bytea": [('""', ""), ('"AP8="', "\\x00ff"), ('"XA=="', "\\x5c"), *NULL],
}
ARRAYS: dict[str, list[Pair]] = {
    "text[]": [('["a", null, "", "NULL", "\\"", "😀"]', '{a,NULL,"","NULL","\\"",😀}')],
    "varchar(3)[]": [('["abc", null]', "{abc,NULL}")],
    "int2[]": [("[1, null, -32768]", "{1,NULL,-32768}")],
    "int4[]": [("[1, null, -3]", "{1,NULL,-3}")],
    "int8[]": [("[9223372036854775807]", "{9223372036854775807}")],
    "float4[]": [('[0.1, null, "NaN"]', "{0.1,NULL,NaN}")],
    "float8[]": [('[5e-324, null, "-Infinity", -0.0]', "{5e-324,NULL,-Infinity,-0.0}")],
    "numeric(10,2)[]": [('[1.1, null, "99999999.99"]', "{1.1,NULL,99999999.99}")],
    "bool[]": [("[true, null, false]", "{t,NULL,f}")],
    "uuid[]": [(f'["{U}", null, "{"F" * 32}"]', f"{{{U},NULL,{'f' * 32}}}")],
    "timestamptz[]": [
        (
            '["0001-01-01T00:00:00Z", null, "2025-08-15T10:30:00.5+02:00"]',
            "{0001-01-01T00:00:00Z,NULL,2025-08-15T08:30:00.5Z}",
        )
    ],
    "timestamp[]": [('["9999-12-31T23:59:59.999999", null]', "{9999-12-31T23:59:59.999999,NULL}")],
    "date[]": [('["0001-01-01", null]', "{0001-01-01,NULL}")],
    "time[]": [('["23:59:59.999999", null]', "{23:59:59.999999,NULL}")],
    "jsonb[]": [('[{"a": "b,c"}, null, [1]]', '{"{\\"a\\": \\"b,c\\"}",NULL,[1]}')],
    "bytea[]": [('["AP8=", null, ""]', '{"\\\\x00ff",NULL,""}')],
}


@pytest.mark.parametrize("kind", EDGES)
def test_edges_are_stored_as_postgresql_reads_them(connection: psycopg.Connection, kind: str) -> None:
    agree(connection, kind, EDGES[kind])


@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays_are_stored_as_postgresql_reads_them(connection: psycopg.Connection, kind: str) -> None:
    agree(connection, kind, [*ARRAYS[kind], ("[]", "{}"), *NULL])


STORABLE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
OFFSETS = st.integers(-16 * 60 + 1, 16 * 60 - 1).map(lambda minutes: timezone(timedelta(minutes=minutes)))
MOMENTS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=OFFSETS)
DOCUMENTS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | STORABLE,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(STORABLE, inner, max_size=3),
    max_leaves=6,
)


def integers(bits: int) -> st.SearchStrategy[Pair]:
    return st.integers(-(1 << (bits - 1)), (1 << (bits - 1)) - 1).map(lambda number: (str(number), str(number)))


def as_float(number: float) -> Pair:
    if number != number or number in (float("inf"), float("-inf")):
        word = "NaN" if number != number else "Infinity" if number > 0 else "-Infinity"
        return f'"{word}"', word
    return repr(number), repr(number)


LONG = Context(prec=60)


def numerics(precision: int, scale: int) -> st.SearchStrategy[Pair]:
    limit = 10**precision - 1
    exact = st.integers(-limit, limit).map(lambda units: f"{Decimal(units).scaleb(-scale, LONG):f}")
    return st.tuples(exact, st.booleans()).map(lambda drawn: (f'"{drawn[0]}"' if drawn[1] else drawn[0], drawn[0]))


DRAWN: dict[str, st.SearchStrategy[Pair]] = {
    "text": STORABLE.map(lambda text: (json.dumps(text), text)),
    "varchar(3)": STORABLE.map(lambda text: (json.dumps(text[:3], ensure_ascii=False), text[:3])),
    "int2": integers(16),
    "int4": integers(32),
    "int8": integers(64),
    "float4": st.floats(width=32).map(as_float),
    "float8": st.floats().map(as_float),
    "numeric(10,2)": numerics(10, 2),
    "numeric(38,0)": numerics(38, 0),
    "numeric(38,20)": numerics(38, 20),
    "numeric(38,38)": numerics(38, 38),
    "uuid": st.uuids().map(lambda drawn: (f'"{drawn}"', str(drawn))),
    "timestamptz": MOMENTS.map(lambda at: (f'"{at.isoformat()}"', at.isoformat())),
    "timestamp": MOMENTS.map(lambda at: (f'"{at.isoformat()}"', at.astimezone(UTC).replace(tzinfo=None).isoformat())),
    "date": st.dates().map(lambda day: (f'"{day}"', str(day))),
    "time": st.times().map(lambda at: (f'"{at}"', str(at))),
    "jsonb": DOCUMENTS.filter(lambda document: document is not None).map(
        lambda drawn: (json.dumps(drawn), json.dumps(drawn))
    ),
    "bytea": st.binary(max_size=20).map(lambda drawn: (msgspec.json.encode(drawn).decode(), "\\x" + drawn.hex())),
}


@pytest.mark.parametrize("kind", DRAWN)
@settings(max_examples=15, deadline=None)
@given(drawn=st.data())
def test_any_value_is_stored_as_postgresql_reads_it(
    connection: psycopg.Connection, kind: str, drawn: st.DataObject
) -> None:
    pair = DRAWN[kind] | st.just(("null", None))
    agree(connection, kind, drawn.draw(st.lists(pair, min_size=1, max_size=20)))
