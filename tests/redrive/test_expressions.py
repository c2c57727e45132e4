"""An expression mends exactly what it says, exactly, and can do nothing else."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from ingestd.errors import ConfigError
from ingestd.redrive.expressions import Fix, FixFailed


def mended(record: dict[str, Any], *fixes: str) -> dict[str, Any]:
    """`record` after these fixes."""
    for fix in fixes:
        Fix(fix).apply(record, {"offset": 7})
    return record


@pytest.mark.parametrize(
    ("record", "fix", "field", "value"),
    [
        ({"a": " X "}, "a=lower(strip(a))", "a", "x"),
        ({"a": "1,5"}, "a=decimal(replace(a, ',', '.'))", "a", Decimal("1.5")),
        ({"a": Decimal("1.005")}, "a=round(a, 2)", "a", Decimal("1.01")),
        ({"a": 3}, "a=a * 1.1", "a", Decimal("3.3")),
        ({"a": "12"}, "a=int(a)", "a", 12),
        ({"a": 10**400}, "a=str(a)[0:3]", "a", "100"),
        ({"p": {"q": "x"}}, "a=p.q + 'y'", "a", "xy"),
        ({"p": {"items": [1, 2]}}, "a=p.items[1]", "a", 2),
        ({"my-field": 1}, "a=get('my-field')", "a", 1),
        ({}, "a=get('b.c', 'none')", "a", "none"),
        ({"b": None}, "a=coalesce(b, 5)", "a", 5),
        ({"a": 1}, "a=null", "a", None),
        ({"a": 1}, "a=a if has('b') else -a", "a", -1),
        ({}, "a=kafka.offset", "a", 7),
        ({}, "a.b.c=1", "a", {"b": {"c": 1}}),
        ({"a": '{"x": 1}'}, "a=json(a)", "a", {"x": 1}),
    ],
)
def test_field_takes_the_value(record: dict[str, Any], fix: str, field: str, value: Any) -> None:
    assert mended(record, fix)[field] == value


def test_absent_removes_the_field() -> None:
    assert mended({"a": 1, "p": {"b": 2, "c": 3}}, "a=absent", "p.b=absent", "q.r=absent") == {"p": {"c": 3}}


def test_later_fix_sees_the_earlier_one() -> None:
    assert mended({}, "a=2", "b=a*2") == {"a": 2, "b": 4}


@pytest.mark.parametrize(
    "fix",
    [
        "a=b",
        "a=p.q",
        "a=lower(n)",
        "a=int('x')",
        "a=int('1.5')",
        "a=1/0",
        "a=decimal('NaN')",
        "a=9**9**9",
        "a='x'*99999999",
        "a.b.c.d=1",
        "a=n.__class__",
        "a=s.format",
        "a=json(s)",
    ],
)
def test_expression_that_does_not_work_on_a_record_says_so_and_changes_nothing(fix: str) -> None:
    record = {"n": 1, "s": "text", "p": {}, "a": 0}
    with pytest.raises(FixFailed, match=fix.split("=")[0]):
        mended(record, fix)
    assert record["n"] == 1 and record["a"] == 0


@pytest.mark.parametrize(
    "fix", ["a", "=1", "a=", "a..b=1", "a=open('/etc/passwd')", "a=__import__('os')", "a=b.lower()", "a=)", "a=x y"]
)
def test_what_is_no_fix_is_refused_before_anything_is_read(fix: str) -> None:
    with pytest.raises(ConfigError, match="--fix"):
        Fix(fix)


def test_numbers_survive_a_mending_digit_by_digit() -> None:
    from ingestd.redrive.mend import _READER, _WRITER

    text = b'{"a":1.10,"b":12345678901234567890123456789,"c":0.1000000000000000055511151231257827,"d":1e400}'
    record = _READER.decode(text)
    mended(record, "e=1")
    again = msgspec.json.decode(_WRITER.encode(record), type=dict[str, msgspec.Raw])
    kept = {name: Decimal(bytes(raw).decode()) for name, raw in again.items()}
    assert kept == {
        "a": Decimal("1.10"),
        "b": Decimal("12345678901234567890123456789"),
        "c": Decimal("0.1000000000000000055511151231257827"),
        "d": Decimal("1e400"),
        "e": Decimal(1),
    }
