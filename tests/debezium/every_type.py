"""Columns of every PostgreSQL type that Debezium sends, with values at their edges. Knows no server."""

from typing import NamedTuple


class Sample(NamedTuple):
    """A column of a source's table."""

    declared: str
    """Its type in PostgreSQL."""
    values: tuple[str, ...]
    """SQL literals; every row has one, the later rows the last one again."""
    contract: str
    """The contract type that must come out."""
    copied: str | None = None
    """The SQL of what the copy must hold, where it is not the value itself, or its text for text, json and money."""


POINT = """CASE WHEN {} IS NOT NULL THEN '{{"x":1.5,"y":-2.0,"wkb":"AQEAAAAAAAAAAAD4PwAAAAAAAADA","srid":null}}' END"""
SAMPLES: dict[str, Sample] = {
    "i2": Sample("smallint", ("-32768", "32767"), "int2"),
    "i4": Sample("integer", ("-2147483648", "2147483647"), "int4"),
    "i8": Sample("bigint", ("-9223372036854775808", "9223372036854775807"), "int8"),
    "object_id": Sample("oid", ("0", "4294967295"), "int8"),
    "r": Sample("real", ("'NaN'", "'-Infinity'", "3.4028235e38", "1e-45", "-0.1"), "float4"),
    "d": Sample("double precision", ("'NaN'", "'Infinity'", "1.7976931348623157e308", "5e-324", "0.1"), "float8"),
    "n": Sample("numeric(10,2)", ("-99999999.99", "99999999.99", "0", "0.01", "-0.01"), "numeric(10,2)"),
    "n0": Sample("numeric(19)", ("-9999999999999999999", "9223372036854775808"), "numeric(19,0)"),
    "n38": Sample("numeric(38,10)", ("-" + "9" * 28 + "." + "9" * 10, "0.0000000001"), "numeric(38,10)"),
    "n50": Sample("numeric(50,5)", ("1" * 45 + ".00001", "-0.50000"), "text"),
    "n_wide": Sample("numeric(5,-2)", ("9999900", "-100"), "numeric(7,0)"),
    "n_fine": Sample("numeric(3,5)", ("0.00999", "-0.00001"), "numeric(5,5)"),
    "free": Sample(
        "numeric",
        ("1.50", "-12345678901234567890123456789012345678901234567890.1", "1e30", "0"),
        "text",
        "trim_scale({})::text",
    ),
    "price": Sample("money", ("-92233720368547758.08", "0.1"), "numeric(38,2)", "{}::numeric"),
    "yes": Sample("boolean", ("true", "false"), "bool"),
    "t": Sample("text", ("''", "'\u00fc \U0001f600 \"q\" \\ \n\t'", "'null'"), "text"),
    "vc": Sample("varchar(5)", ("'abcde'", "''"), "text"),
    "c": Sample("char(3)", ("'a'", "'abc'"), "text", "rpad({}::text, 3)"),
    "by": Sample("bytea", ("'\\x'", "'\\x00ff'", "'\\x6e756c6c'"), "bytea"),
    "dt": Sample("date", ("'0001-01-01'", "'9999-12-31'", "'1969-12-31'"), "date"),
    "tm": Sample("time", ("'00:00'", "'23:59:59.999999'"), "time"),
    "tm3": Sample("time(3)", ("'00:00'", "'23:59:59.999'"), "time"),
    "tmz": Sample(
        "timetz", ("'12:00:00.5+02'", "'00:00-11:30'"), "text", "replace(({} AT TIME ZONE 'UTC')::text, '+00', 'Z')"
    ),
    "ts": Sample(
        "timestamp", ("'0001-01-01'", "'9999-12-31 23:59:59.999999'", "'1969-12-31 23:59:59.999999'"), "timestamp"
    ),
    "ts0": Sample("timestamp(0)", ("'2026-01-05 10:30:01'", "'1883-11-18 12:00'"), "timestamp"),
    "ts3": Sample("timestamp(3)", ("'2026-01-05 10:30:00.123'", "'1969-12-31 23:59:59.999'"), "timestamp"),
    "tz": Sample(
        "timestamptz",
        ("'0001-01-02 00:00+00'", "'9999-12-31 23:59:59.999999+00'", "'2026-07-01 12:00+05:30'"),
        "timestamptz",
    ),
    "span": Sample(
        "interval", ("'1 day 02:03:04.000005'", "'-1 hour'"), "int8", "(extract(epoch FROM {}) * 1000000)::int8"
    ),
    "u": Sample("uuid", ("'00000000-0000-0000-0000-000000000000'", "'FFFFFFFF-ffff-4fff-8fff-ffffffffffff'"), "uuid"),
    "j": Sample("json", ("'{\"a\": [1, 2.50, null]}'", "'null'", "'\"text\"'", "'1e400'"), "jsonb"),
    "jb": Sample("jsonb", ("'{\"a\": [1, 2.50, null]}'", "'null'", "'\"123\"'"), "jsonb"),
    "bit1": Sample("bit(1)", ("B'0'", "B'1'"), "bool", "{} = B'1'"),
    "bit10": Sample("bit(10)", ("B'0000000001'", "B'1000000000'", "B'0000000000'"), "text"),
    "bit40": Sample("bit(40)", ("B'0'::bit(40)", "(B'1' || B'0'::bit(39))"), "text"),
    "ip": Sample("inet", ("'192.168.0.1/24'", "'::1'"), "text", "regexp_replace({}::text, '/128$', '')"),
    "net": Sample("cidr", ("'10.0.0.0/8'",), "text"),
    "mac": Sample("macaddr", ("'08:00:2b:01:02:03'",), "text"),
    "mac8": Sample("macaddr8", ("'08:00:2b:01:02:03:04:05'",), "text"),
    "ints": Sample("int4range", ("'[1,5)'", "'empty'"), "text"),
    "stamps": Sample("tsrange", ("'[2026-01-01,2026-01-02)'",), "text"),
    "mood": Sample("mood", ("'sad'", "'it''s ok'"), "text"),
    "words": Sample("tsvector", ("'a:1 b:2'",), "text"),
    "spot": Sample("point", ("'(1.5,-2)'",), "jsonb", POINT),
    "i2s": Sample("smallint[]", ("'{1,NULL,-3}'", "'{}'"), "int2[]"),
    "i4s": Sample("integer[]", ("'{1,NULL,-3}'", "'{}'"), "int4[]"),
    "i8s": Sample("bigint[]", ("'{9223372036854775807,NULL}'",), "int8[]"),
    "ts_s": Sample("text[]", ("'{a,NULL,\"b,c\"}'", "'{}'"), "text[]"),
    "bools": Sample("boolean[]", ("'{t,f,NULL}'",), "bool[]"),
    "ds": Sample("double precision[]", ("'{0.1,NULL}'",), "float8[]"),
    "ns": Sample("numeric(10,2)[]", ("'{1.10,NULL,-5}'",), "numeric(10,2)[]"),
    "dts": Sample("date[]", ("'{2026-01-05,NULL}'",), "date[]"),
    "tss": Sample("timestamp[]", ("'{2026-01-05 10:30:00.123456,NULL}'",), "timestamp[]"),
    "tzs": Sample("timestamptz[]", ("'{2026-01-05 10:30:00.123456+02,NULL}'",), "timestamptz[]"),
    "us": Sample("uuid[]", ("'{00000000-0000-0000-0000-000000000001,NULL}'",), "uuid[]"),
    "jbs": Sample("jsonb[]", ("ARRAY['{\"a\": 1}'::jsonb, NULL]",), "jsonb[]"),
}
