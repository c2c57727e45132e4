"""The msgspec struct that a contract's columns make, and the way from its instances back to columns. Knows no records.

Only declared fields are in the struct, so all others are skipped without being built.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, structs

from ingestd.config.options import Column
from ingestd.errors import ConfigError
from ingestd.schema.types import ColumnType, parse_type

NULL = Raw(b"null")
ABSENT = UNSET
"""Value of an optional column's field that the record does not have."""
_INTEGER_BITS = {"int2": 16, "int4": 32, "int8": 64}
_RAW = {"numeric", "jsonb"}
_AT = " - at `$"
_MISSING = re.compile(r"Object missing required field `(.*)`", re.DOTALL)
_UNKNOWN = "Object contains unknown field `"
_SHOWN_CHARACTERS = 80
_HALF_PAIR = re.compile(
    rb"(?<!\\)(?:\\\\)*(?:\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F])"
)
HALF_PAIR = "holds half of a surrogate pair, which is no character"
_ELEMENT = re.compile(r"(\[[0-9.]*\])+$")


class Shape(Struct, frozen=True):
    """How records of one contract are read."""

    read: Callable[[bytes], Any]
    """One JSON document -> an instance; raises what msgspec raises."""
    split: Callable[[list[Any]], list[list[Any]]]
    """Instances -> one list of values per column, in table order."""
    explain: Callable[[Exception, bytes | None], tuple[str | None, str]]
    """What `read` raised -> (column, reason), without a word of the payload."""


class _Place(Struct, frozen=True):
    """A node of the tree of paths: a column, or an object with columns in it."""

    column: int | None
    inner: dict[str, _Place]

    def columns(self) -> Iterable[int]:
        if self.column is not None:
            yield self.column
        for place in self.inner.values():
            yield from place.columns()


def shape_of(
    columns: Sequence[Column],
    optional: Collection[int] = (),
    known: Sequence[str] = (),
    strict: bool = False,
    types: Mapping[int, Any] | None = None,
) -> Shape:
    """The shape that reads `columns`; those at the positions `optional` may be missing or null, and are then ABSENT or
    null whatever else they declare. `strict` refuses every field that neither a column nor `known` (paths) names.
    `types` are what msgspec reads for the columns at these positions instead of their type's own; such a field has no
    default: it is there, or it is optional and ABSENT.

    Raises ConfigError when two of them cannot be read side by side.
    """
    root = _tree(columns)
    for path in known:
        _let_pass(root, path.split("."))
    given = types or {}
    fields = [
        _field(column, position in optional)
        if position not in given
        else (given[position], ABSENT)[: 1 + (position in optional)]
        for position, column in enumerate(columns)
    ]
    struct, split = _object(root, columns, fields, strict)

    def split_all(rows: list[Any]) -> list[list[Any]]:
        found: dict[int, list[Any]] = {}
        split(rows, found)
        return [found[position] for position in range(len(columns))]

    return Shape(msgspec.json.Decoder(struct).decode, split_all, _explainer(root, columns))


def field_type(column: Column) -> Any:
    """What msgspec is asked to read for `column`; `Raw` where the text itself is wanted."""
    kind = parse_type(column.type)
    one = _element_type(kind, column.epoch is not None)
    if kind.is_array:
        one = list[one] if kind.scalar in _RAW else list[one | None]  # type: ignore[valid-type]
    elif kind.scalar in _RAW:
        return one
    return one if column.required else one | None


def is_raw(column: Column) -> bool:
    """Whether the values of `column` are JSON texts."""
    kind = parse_type(column.type)
    return kind.scalar in _RAW and not kind.is_array


def default_of(column: Column) -> Any:
    """The value of an absent field. Raises ConfigError when the declared default is not of the column's type."""
    kind = parse_type(column.type)
    if column.default is None:
        return NULL if kind.scalar in _RAW and not kind.is_array else None
    as_json = isinstance(column.default, str) and (kind.is_array or kind.scalar == "jsonb")
    text = str(column.default).encode() if as_json else msgspec.json.encode(column.default)
    try:
        return msgspec.json.decode(text, type=field_type(column))
    except msgspec.MsgspecError as error:
        raise ConfigError([f"column {column.name!r}: default is not a {kind.name}: {error}"]) from None


def _element_type(kind: ColumnType, numbers_too: bool) -> Any:
    match kind.scalar:
        case "varchar" if kind.args:
            return Annotated[str, Meta(max_length=kind.args[0])]
        case "int2" | "int4" | "int8":
            limit = 1 << (_INTEGER_BITS[kind.scalar] - 1)
            return Annotated[int, Meta(ge=-limit, le=limit - 1)]
        case "float4" | "float8":
            return float | Literal["NaN", "Infinity", "-Infinity"]
        case "numeric" | "jsonb":
            return Raw
        case "bool":
            return bool
        case "bytea":
            return bytes
        case "timestamptz" | "timestamp" if numbers_too:
            return str | int | float
        case "epoch":
            return str | int | float
        case _:
            return str


def _field(column: Column, optional: bool) -> tuple[Any, ...]:
    if optional:
        return (field_type(structs.replace(column, required=False)), ABSENT)
    if column.required and column.default is None:
        return (field_type(column),)
    default = default_of(column)
    if isinstance(default, list):
        return (field_type(column), msgspec.field(default_factory=default.copy))
    return (field_type(column), default)


def _tree(columns: Sequence[Column]) -> _Place:
    root = _Place(None, {})
    for position, column in enumerate(columns):
        *outer, last = column.path.split(".") if column.path else [column.name]
        place = root
        for key in outer:
            place = place.inner.setdefault(key, _Place(None, {}))
            if place.column is not None:
                raise _clash(column, columns[place.column])
        if "" in (*outer, last):
            raise ConfigError([f"column {column.name!r}: path {column.path!r} has an empty part"])
        if last in place.inner:
            raise _clash(column, columns[next(iter(place.inner[last].columns()))])
        place.inner[last] = _Place(position, {})
    return root


def _let_pass(root: _Place, steps: list[str]) -> None:
    """Make the field at `steps` known, unless it is read already, or lies in one that is read as a whole."""
    place = root
    for key in steps:
        if place.column is not None:
            return
        place = place.inner.setdefault(key, _Place(None, {}))


def _clash(one: Column, other: Column) -> ConfigError:
    return ConfigError([f"columns {other.name!r} and {one.name!r} read the same field: give each its own path"])


_ReadAll = Callable[[list[Any]], list[Any]]
Split = Callable[[list[Any], dict[int, list[Any]]], None]


def _object(
    place: _Place, columns: Sequence[Column], fields: list[tuple[Any, ...]], strict: bool
) -> tuple[type[Struct], Split]:
    """The struct for one object and the function that fills in the columns found in it."""
    declared: list[Any] = []
    keys: dict[str, str] = {}
    leaves: list[tuple[int, _ReadAll]] = []
    objects: list[tuple[_ReadAll, Any, Split]] = []
    for number, (key, inner) in enumerate(place.inner.items()):
        name = f"f{number}"
        keys[name] = key
        if inner.column is not None:
            declared.append((name, *fields[inner.column]))
            leaves.append((inner.column, _reader_of(name)))
            continue
        if not inner.inner:
            declared.append((name, Raw, NULL))
            continue
        struct, split = _object(inner, columns, fields, strict)
        if any(len(fields[position]) == 1 for position in inner.columns()):
            declared.append((name, struct))
            objects.append((_reader_of(name), None, split))
        else:
            declared.append((name, struct | None, msgspec.field(default_factory=struct)))
            objects.append((_reader_of(name), struct(), split))

    def split_object(rows: list[Any], found: dict[int, list[Any]]) -> None:
        for position, values_of in leaves:
            found[position] = values_of(rows)
        for objects_of, empty, split in objects:
            inner_rows = objects_of(rows)
            if empty is not None and None in inner_rows:
                inner_rows = [empty if row is None else row for row in inner_rows]
            split(inner_rows, found)

    # Required fields after optional ones: keyword only. gc=False: a chunk's structs hold no cycles.
    struct = msgspec.defstruct(
        "Record", declared, rename=keys, kw_only=True, gc=False, eq=False, forbid_unknown_fields=strict
    )
    return struct, split_object


def _reader_of(field: str) -> _ReadAll:
    """Reads one field of all rows. Compiled with the name in it: half the time of map(attrgetter(field), rows)."""
    reader: _ReadAll = eval(f"lambda rows: [row.{field} for row in rows]")
    return reader


def _explainer(root: _Place, columns: Sequence[Column]) -> Callable[[Exception, bytes | None], tuple[str | None, str]]:
    names: dict[str, str] = {}

    def note(place: _Place, path: str) -> None:
        for key, inner in place.inner.items():
            if (column := next(iter(inner.columns()), None)) is not None:
                names[f"{path}.{key}"] = columns[column].name
            note(inner, f"{path}.{key}")

    note(root, "")

    def explain(error: Exception, value: bytes | None) -> tuple[str | None, str]:
        if value is None:
            return None, "no value (a tombstone)"
        if not value:
            return None, "empty value"
        if value.startswith(b"\xef\xbb\xbf"):
            return None, "starts with a byte order mark"
        if isinstance(error, RecursionError):
            return None, "nested too deeply"
        if isinstance(error, UnicodeError):
            return None, "invalid UTF-8 in a text"
        if isinstance(error, msgspec.ValidationError):
            return _explain_validation(str(error), names)
        if isinstance(error, msgspec.DecodeError):
            return None, HALF_PAIR if _HALF_PAIR.search(value) else str(error)
        return None, f"cannot be read ({type(error).__name__})"

    return explain


def shown(text: str) -> str:
    """A text of a record as a reason may show it: short, quoted, without control characters."""
    cut = text[:_SHOWN_CHARACTERS]
    return '"' + "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in cut) + '"'


def _explain_validation(message: str, names: dict[str, str]) -> tuple[str | None, str]:
    """Column and reason of "<rule> - at `$.path`"; the path is last, so nothing in the payload can imitate it."""
    if message.startswith(_UNKNOWN):
        # The name may imitate a path: so no column is named.
        name, at, place = message.removeprefix(_UNKNOWN).removesuffix("`").rpartition("`" + _AT)
        return (
            None,
            f"unknown field {shown(name)} in {shown(place.removeprefix('.'))}"
            if at
            else f"unknown field {shown(place)}",
        )
    rule, at, path = message.rpartition(_AT)
    if not at:
        rule, path = message, "`"
    path = path.removesuffix("`")
    missing = _MISSING.fullmatch(rule)
    if missing:
        return names.get(f"{path}.{missing[1]}"), "missing"
    column = names.get(path) or names.get(_ELEMENT.sub("", path))
    if rule.startswith("Invalid enum value"):
        return column, "expected a number, NaN, Infinity or -Infinity"
    return column, rule.replace("`", "").replace("Expected", "expected").replace(" | null", "")
