"""The one table of types: contract <-> PostgreSQL <-> Arrow <-> msgspec. Knows no records, files, connections.

`decode/` adds the rules by which JSON becomes each Arrow type; what a column may be called and become stands only here.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from msgspec import Struct

if TYPE_CHECKING:
    import pyarrow as pa

MAX_PRECISION = 38
MAX_VARCHAR = 10_485_760


class Scalar(Struct, frozen=True):
    """One row of the table of types."""

    pg_type: str
    """As PostgreSQL's format_type prints it, without arguments."""
    arrow: Callable[[ModuleType, tuple[int, ...]], Any]
    """The Arrow type that holds it and that the encoder writes: (pyarrow, arguments) -> DataType."""
    python: type
    """What msgspec reads for it first; `decode` narrows it (ranges, lengths)."""
    array_stage: str | None = None
    """Row of this table under which array elements are staged; None: the encoder writes the element type itself."""


SCALARS: dict[str, Scalar] = {
    "text": Scalar("text", lambda pa, _: pa.string(), str),
    "varchar": Scalar("character varying", lambda pa, _: pa.string(), str, array_stage="text"),
    "int2": Scalar("smallint", lambda pa, _: pa.int16(), int),
    "int4": Scalar("integer", lambda pa, _: pa.int32(), int),
    "int8": Scalar("bigint", lambda pa, _: pa.int64(), int),
    "float4": Scalar("real", lambda pa, _: pa.float32(), float),
    "float8": Scalar("double precision", lambda pa, _: pa.float64(), float),
    "numeric": Scalar("numeric", lambda pa, args: pa.decimal128(*args), str),
    "bool": Scalar("boolean", lambda pa, _: pa.bool_(), bool),
    "uuid": Scalar("uuid", lambda pa, _: pa.binary(16), str, array_stage="text"),
    "timestamptz": Scalar(
        "timestamp with time zone", lambda pa, _: pa.timestamp("us", "UTC"), str, array_stage="timestamp"
    ),
    "timestamp": Scalar("timestamp without time zone", lambda pa, _: pa.timestamp("us"), str),
    "epoch": Scalar("double precision", lambda pa, _: pa.float64(), str),
    "date": Scalar("date", lambda pa, _: pa.date32(), str),
    "time": Scalar("time without time zone", lambda pa, _: pa.time64("us"), str),
    "jsonb": Scalar("jsonb", lambda pa, _: pa.string(), bytes, array_stage="text"),
    "bytea": Scalar("bytea", lambda pa, _: pa.binary(), bytes),
}

ALIASES = {
    "string": "text",
    "character varying": "varchar",
    "smallint": "int2",
    "int": "int4",
    "integer": "int4",
    "bigint": "int8",
    "real": "float4",
    "double precision": "float8",
    "decimal": "numeric",
    "boolean": "bool",
    "timestamp with time zone": "timestamptz",
    "timestamp without time zone": "timestamp",
    "time without time zone": "time",
}

KNOWN = (
    "text, varchar(n), int2, int4, int8, float4, float8, numeric(p,s), bool, uuid, timestamptz, timestamp, epoch, "
    "date, time, jsonb, bytea, and arrays of them such as int4[]"
)

_SHAPE = re.compile(r"([a-z][a-z0-9 ]*?) *(?:\( *([0-9]+) *(?:, *([0-9]+) *)?\))? *(\[\])?", re.ASCII)


class ColumnType(Struct, frozen=True):
    """A parsed column type; `name` is its canonical spelling."""

    scalar: str
    """Key of the scalar (or element) type in `SCALARS`."""
    args: tuple[int, ...] = ()
    """(n,) of varchar(n), (p, s) of numeric(p,s)."""
    is_array: bool = False

    @property
    def name(self) -> str:
        """As a contract writes it: "numeric(10,2)", "int4[]"."""
        return self.scalar + self._suffix()

    @property
    def pg_type(self) -> str:
        """As format_type(atttypid, atttypmod) prints it: "character varying(3)", "timestamp with time zone"."""
        return SCALARS[self.scalar].pg_type + self._suffix()

    @property
    def stage_type(self) -> str:
        """Type of a column that takes the encoder's binary form; `pg_type` unless not `direct`."""
        element = SCALARS[self.scalar].array_stage
        return f"{SCALARS[element].pg_type}[]" if self.is_array and element else self.pg_type

    @property
    def stage_cast(self) -> str | None:
        """What to append to the staging column to get the table's type: "::uuid[]"; None when they are the same.

        timestamptz[] comes from timestamp[] in UTC: the session's TimeZone must be UTC.
        """
        return None if self.direct else f"::{self.pg_type}"

    @property
    def direct(self) -> bool:
        """Whether the encoder's bytes can be copied straight into a column of `pg_type`."""
        return self.stage_type == self.pg_type

    def arrow_type(self) -> pa.DataType:
        """The Arrow type of the column in a batch (of its staged form when not `direct`)."""
        import pyarrow as pa

        if not self.is_array:
            return self.scalar_arrow_type()
        staged = SCALARS[self.scalar].array_stage
        return pa.list_(SCALARS[staged].arrow(pa, ()) if staged else self.scalar_arrow_type())

    def scalar_arrow_type(self) -> pa.DataType:
        """The Arrow type of one value or element."""
        import pyarrow as pa

        return SCALARS[self.scalar].arrow(pa, self.args)

    def _suffix(self) -> str:
        args = "(" + ",".join(map(str, self.args)) + ")" if self.args else ""
        return args + ("[]" if self.is_array else "")


def parse_type(text: str) -> ColumnType:
    """The type that `text` names; PostgreSQL's own spellings are understood as well.

    Raises ValueError saying what would be right: the configuration is wrong.
    """
    match = _SHAPE.fullmatch(" ".join(text.lower().split()))
    word = match[1] if match else text.split("(")[0].split("[")[0].strip().lower()
    scalar = ALIASES.get(word, word)
    if scalar not in SCALARS:
        near = difflib.get_close_matches(word, [*SCALARS, *ALIASES], n=1)
        hint = f", did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"unknown type {text!r}{hint} (known: {KNOWN})")
    if not match:
        raise ValueError(f"cannot read type {text!r} (known: {KNOWN})")
    given = tuple(int(number) for number in match.group(2, 3) if number is not None)
    return ColumnType(scalar, _checked_args(text, scalar, given), match[4] is not None)


def _checked_args(text: str, scalar: str, args: tuple[int, ...]) -> tuple[int, ...]:
    if scalar == "varchar":
        if len(args) > 1 or (args and not 1 <= args[0] <= MAX_VARCHAR):
            raise ValueError(f"{text!r}: varchar takes one length between 1 and {MAX_VARCHAR}, as in varchar(255)")
        return args
    if scalar == "numeric":
        precision, scale = (*args, 0)[:2] if args else (0, 0)
        if not 1 <= precision <= MAX_PRECISION or scale > precision:
            raise ValueError(
                f"{text!r}: numeric needs a precision of 1 to {MAX_PRECISION} and a scale not above it, "
                "as in numeric(10,2)"
            )
        return (precision, scale)
    if args:
        raise ValueError(f"{text!r}: {scalar} takes no arguments")
    return ()
