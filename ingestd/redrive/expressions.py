"""Small expressions over the fields of one record: `amount=round(decimal(price) * 100, 2)`. Knows no payload format.

Evaluated by simpleeval over a parsed tree: no imports, no attributes of Python objects, no builtins. Numbers are int
and Decimal, never float, so that 1.005 stays 1.005.
"""

import ast
from collections.abc import Callable, Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import msgspec
import simpleeval  # type: ignore[import-untyped]

from ingestd.errors import ConfigError, IngestdError


class _Absent:
    """The value that a field takes to go away."""


ABSENT = _Absent()
_FAULTS = (
    simpleeval.InvalidExpression,
    TypeError,
    ValueError,
    ArithmeticError,
    LookupError,
    AttributeError,
    RecursionError,
    msgspec.MsgspecError,
)


class FixFailed(IngestdError):
    """An expression does not work on this record; the letter stays as it is."""


class Fix:
    """`field=expression`: the field, with dots into nested objects, takes the value of the expression."""

    def __init__(self, text: str):
        """Raises: ConfigError when it cannot be read, or names a function that is not there."""
        field, equals, source = text.partition("=")
        self.path = tuple(part.strip() for part in field.split("."))
        if not equals or "" in self.path or not source.strip():
            raise ConfigError([f"--fix {text!r}: write field=expression, such as --fix 'currency=upper(currency)'"])
        self._expression = Expression(source, f"--fix {text!r}")
        self.text = text

    def apply(self, record: dict[str, Any], kafka: Mapping[str, Any]) -> None:
        """Change `record` in place. `kafka`: what the name `kafka` stands for. Raises: FixFailed."""
        value = self._expression.value(record, {"kafka": kafka})
        inner = record
        for step in self.path[:-1]:
            if value is ABSENT and step not in inner:
                return
            inner = inner.setdefault(step, {})
            if not isinstance(inner, dict):
                raise FixFailed(f"{self.text}: {step} is no object")
        if value is ABSENT:
            inner.pop(self.path[-1], None)
        else:
            inner[self.path[-1]] = value


class Expression:
    """A parsed expression, to be evaluated on many records."""

    def __init__(self, source: str, place: str):
        """`place` begins the messages. Raises: ConfigError when it is no expression or calls an unknown function."""
        self._source = source.strip()
        self._place = place
        try:
            self._tree = simpleeval.SimpleEval.parse(self._source)
        except (simpleeval.InvalidExpression, SyntaxError, ValueError) as error:
            raise ConfigError([f"{place}: {' '.join(str(error).split())}"]) from error
        for node in ast.walk(self._tree):
            if isinstance(node, ast.Call) and not (isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS):
                raise ConfigError(
                    [f"{place}: {ast.unparse(node.func)} is none of the functions: {', '.join(FUNCTIONS)}"]
                )

    def value(self, record: Any, more: Mapping[str, Any]) -> Any:
        """The value of the expression with the fields of `record` as names, and `more` where it has no such field.

        Raises: FixFailed in one line.
        """
        names = {**_CONSTANTS, **more, **record}
        evaluator = simpleeval.EvalWithCompoundTypes(functions=_bound(record), names=names)
        evaluator.nodes[ast.Attribute] = lambda node: _member(evaluator._eval(node.value), node.attr)
        evaluator.nodes[ast.Constant] = lambda node: _exact(node.value)
        try:
            return evaluator.eval(self._source, previously_parsed=self._tree)
        except _FAULTS as error:
            said = " ".join(str(error).split()) or type(error).__name__
            raise FixFailed(f"{self._place}: {said}") from error


def _member(value: Any, name: str) -> Any:
    if not isinstance(value, Mapping):
        raise ValueError(f"what should have the field {name} is no object")
    if name not in value:
        raise ValueError(f"there is no field {name}")
    return value[name]


def _exact(value: Any) -> Any:
    return Decimal(repr(value)) if isinstance(value, float) else value


def _number(value: Any) -> Any:
    """Text or number as Decimal; raises ValueError for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        raise ValueError("not a number")
    try:
        number = Decimal(value.strip() if isinstance(value, str) else value)
    except ArithmeticError as error:
        raise ValueError("not a number") from error
    if not number.is_finite():
        raise ValueError("not a finite number")
    return number


def _int(value: Any) -> int:
    number = _number(value)
    if number != number.to_integral_value():
        raise ValueError("not a whole number; use round(x)")
    if number.adjusted() > 100:
        raise ValueError("more than 100 digits")
    return int(number)


def _round(value: Any, digits: int = 0) -> Any:
    """Half up, exactly, as amounts are rounded."""
    rounded = _number(value).quantize(Decimal(1).scaleb(-digits), rounding=ROUND_HALF_UP)
    return int(rounded) if digits <= 0 else rounded


def _str(value: Any) -> str:
    if isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode() if not isinstance(value, Decimal) else format(value, "f")


def _text(function: Callable[..., Any]) -> Callable[..., Any]:
    def on_text(value: Any, *more: Any) -> Any:
        if not isinstance(value, str):
            raise ValueError("not a text; use str(x)")
        return function(value, *more)

    return on_text


def _coalesce(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


_CONSTANTS = {"true": True, "false": False, "null": None, "True": True, "False": False, "None": None, "absent": ABSENT}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "lower": _text(str.lower),
    "upper": _text(str.upper),
    "strip": _text(str.strip),
    "replace": _text(str.replace),
    "split": _text(str.split),
    "startswith": _text(str.startswith),
    "endswith": _text(str.endswith),
    "str": _str,
    "int": _int,
    "float": _number,
    "decimal": _number,
    "round": _round,
    "abs": lambda value: abs(_number(value)),
    "min": min,
    "max": max,
    "len": len,
    "coalesce": _coalesce,
    "json": lambda text: msgspec.json.decode(text, type=Any),
    "get": None,  # type: ignore[dict-item]  # these two look at the record, see _bound
    "has": None,  # type: ignore[dict-item]
}
FUNCTIONS = tuple(sorted(_FUNCTIONS))
"""What an expression may call."""


def _bound(record: Any) -> dict[str, Callable[..., Any]]:
    def get(path: str, otherwise: Any = None) -> Any:
        inner = record
        for step in path.split("."):
            if not isinstance(inner, Mapping) or step not in inner:
                return otherwise
            inner = inner[step]
        return inner

    def has(path: str) -> bool:
        return get(path, ABSENT) is not ABSENT

    return {**_FUNCTIONS, "get": get, "has": has}
