"""The rules of a contract: what each lets pass, what it refuses, and that nothing else is touched."""

import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.config.options import Column
from ingestd.decode.builders import builder_for
from ingestd.decode.decoder import make_decoder
from ingestd.decode.rules import rule_of
from ingestd.errors import ConfigError
from tests.decode.records import contract, decoded, one_column


def column(kind: str, **options: object) -> Column:
    return msgspec.convert({"name": "x", "type": kind, **options}, Column)


@pytest.mark.parametrize(
    ("kind", "options", "good", "bad"),
    [
        ("text", {"enum": ["a", "ü"]}, ['"a"', '"ü"', "null"], ['"A"', '"a "', '""']),
        ("int4", {"enum": [1, 2]}, ["1", "2", "null"], ["3", "-1"]),
        ("float8", {"enum": [0.1]}, ["0.1", "1e-1"], ["0.10000001", '"NaN"']),
        ("float4", {"enum": [0.1]}, ["0.1"], ["0.2"]),
        ("numeric(10,2)", {"enum": ["1.10", 2]}, ["1.1", '"1.10"', "2.00"], ["1.11"]),
        ("date", {"enum": ["2026-01-31"]}, ['"2026-01-31"'], ['"2026-02-01"']),
        ("uuid", {"enum": ["AB" * 16]}, ['"' + "ab" * 16 + '"'], ['"' + "ac" * 16 + '"']),
        ("int2", {"min": -1, "max": 3}, ["-1", "0", "3", "null"], ["-2", "4"]),
        ("int8", {"min": 2**62}, [str(2**62)], [str(2**62 - 1)]),
        ("float8", {"min": 0}, ["0", "0.0", "1e300", '"Infinity"'], ["-0.1", '"NaN"', '"-Infinity"']),
        ("float8", {"max": 1.5}, ["1.5", '"-Infinity"'], ["1.6", '"NaN"', '"Infinity"']),
        ("numeric(10,2)", {"min": 0.005, "max": 9.999}, ["0.01", "9.99"], ["0.00", "0", "-1", "10"]),
        ("numeric(38,0)", {"max": str(10**37)}, [str(10**37)], [str(10**37 + 1)]),
        ("date", {"min": "2026-01-31"}, ['"2026-01-31"', '"9999-12-31"'], ['"2026-01-30"', '"0001-01-01"']),
        ("time", {"max": "12:00:00"}, ['"12:00"', '"00:00:00"'], ['"12:00:00.000001"']),
        (
            "timestamptz",
            {"min": "2026-01-01", "max": "2026-12-31T23:59:59+01:00"},
            ['"2026-01-01T00:00:00Z"', '"2026-12-31T22:59:59Z"'],
            ['"2026-01-01T00:59:59+01:00"', '"2026-12-31T23:00:00Z"'],
        ),
        ("timestamp", {"min": "2026-01-01T00:00:00"}, ['"2026-01-01T00:00:00"'], ['"2025-12-31T23:59:59"']),
        ("text", {"max_length": 3}, ['"äöü"', '"😀😀😀"', '""', "null"], ['"abcd"', '"😀😀😀😀"']),
        ("varchar(9)", {"max_length": 2}, ['"ab"'], ['"abc"']),
        ("text", {"pattern": "b+"}, ['"abc"', '"b"'], ['"ac"', '""']),
        ("text", {"pattern": "^b+$"}, ['"bb"'], ['"abb"', '"bb\\n"', '"bb\\nx"']),
        ("text", {"format": "email"}, ['"a.b+c@example.org"'], ['"a@"', '"a..b@c.de"', '"a@b@c"', '"a b@c.de"']),
        ("text", {"format": "email"}, [f'"{"a" * 64}@b.c"'], [f'"{"a" * 65}@b.c"', '"a@-b.c"', '"a@b.c\\n"']),
        ("text", {"format": "uri"}, ['"https://a.b/c?d#e"', '"urn:x:y"'], ['"//a"', '"a b:c"', '"x:%zz"', '"a:#b#c"']),
        ("text", {"format": "hostname"}, ['"a-b.c"', '"x"'], ['"-a"', '"a_b"', '"a..b"', f'"{"a" * 64}.b"', '"a."']),
        ("text", {"format": "ipv4"}, ['"1.2.3.255"'], ['"1.2.3"', '"1.2.3.256"', '"01.2.3.4"', '"1.2.3.4 "']),
        ("text", {"format": "ipv6"}, ['"::"', '"::1"', '"1::"', '"1:2:3:4:5:6:7:8"', '"::ffff:1.2.3.4"'], []),
        ("text", {"format": "ipv6"}, [], ['":::"', '"1:2:3:4:5:6:7"', '"1::2::3"', '"1:2:3:4:5:6:7:8:9"', '"12345::"']),
        ("int4[]", {"min": 1}, ["[1,2]", "[]", "[null,3]", "null"], ["[1,0]"]),
        ("text[]", {"pattern": "^x"}, ['["x"]'], ['["x","y"]']),
        ("timestamptz[]", {"min": "2026-01-01"}, ['["2026-01-01T00:00:00Z"]'], ['["2025-01-01T00:00:00Z"]']),
    ],
)
def test_a_rule_refuses_exactly_what_breaks_it(
    kind: str, options: dict[str, object], good: list[str], bad: list[str]
) -> None:
    texts = [text for pair in zip(good, bad, strict=False) for text in pair] + good + bad
    _, faults = one_column(kind, *texts, **options)
    assert {texts[position] for position in faults} == set(bad)


def test_a_broken_rule_is_a_dead_letter_with_column_and_rule_but_without_the_value() -> None:
    rows = decoded([b'{"x":"secret"}', b'{"x":"ok"}'], column("text", pattern="^ok$"))
    (letter,) = rows.dead
    assert (letter.offset, letter.stage, letter.column, letter.reason) == (
        100,
        "decode",
        "x",
        "does not match the pattern",
    )
    assert rows.columns.column("x").to_pylist() == ["ok"]


def test_an_element_says_that_it_is_one() -> None:
    _, faults = one_column("int4[]", "[5]", "[5, 11, 12]", max=10)
    assert faults == {1: "element: above the maximum 10"}


def test_the_first_broken_rule_is_told() -> None:
    _, faults = one_column("text", '"abcd"', max_length=3, pattern="^x")
    assert faults == {0: "longer than 3 characters"}


def test_what_is_no_value_of_the_type_keeps_its_reason() -> None:
    _, faults = one_column("numeric(5,2)", "1.234", "9", max=8)
    assert faults == {0: "too many digits for numeric(5,2)", 1: "above the maximum 8"}


def test_a_column_without_rules_is_built_as_before() -> None:
    assert rule_of(column("text")) is None
    assert builder_for(column("text")).__name__ == "text"


@pytest.mark.parametrize(
    "options",
    [{"pattern": "(?=x)"}, {"pattern": r"(a)\1"}, {"pattern": "("}, {"enum": [1]}],
    ids=["look-ahead", "back reference", "open", "type"],
)
def test_a_rule_that_cannot_be_kept_is_refused_before_the_first_record(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="column 'x'"):
        make_decoder(contract(column("text", **options)))


def test_a_pattern_that_ruins_backtracking_is_quick() -> None:
    """Ten times the text in (a+)+$ doubles the time of a backtracking engine ten times over; RE2's grows by ten."""
    _, faults = one_column("text", '"' + "a" * 100_000 + '!"', pattern="^(a+)+$")
    assert faults == {0: "does not match the pattern"}


@given(st.ip_addresses(v=6))
def test_every_ipv6_address_passes_in_every_spelling(address: object) -> None:
    spelt = [str(address), address.exploded, str(address).upper()]  # type: ignore[attr-defined]
    assert one_column("text", *[f'"{text}"' for text in spelt], format="ipv6")[1] == {}


@given(st.text(alphabet="0123456789abcdef:.", max_size=20))
def test_nothing_passes_as_an_ip_address_that_is_none(text: str) -> None:
    import ipaddress

    for version, reader in (("ipv4", ipaddress.IPv4Address), ("ipv6", ipaddress.IPv6Address)):
        try:
            reader(text)
            valid = True
        except ValueError:
            valid = False
        assert (one_column("text", f'"{text}"', format=version)[1] == {}) is valid


@given(st.lists(st.text(max_size=5), max_size=20), st.text(alphabet="ab.*", min_size=1, max_size=3))
def test_patterns_agree_with_a_search_one_by_one(texts: list[str], pattern: str) -> None:
    try:
        compiled = re.compile(pattern, re.DOTALL)
        rule = rule_of(column("text", pattern=f"(?s){pattern}"))
    except (re.error, ConfigError):
        return
    values = [text.replace("\0", "") for text in texts]
    built = builder_for(column("text", pattern=f"(?s){pattern}"))(values)
    assert rule is not None
    assert set(built.faults) == {row for row, text in enumerate(values) if not compiled.search(text)}
