"""JSON Schema into columns, as TOML text with a comment for everything that columns cannot say. Knows no files.

Reads what `exporting` writes back exactly; other schemas as far as they go, and says how far that was.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from decimal import Decimal
from itertools import islice
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from ingestd.config.checks.rules import refused_patterns
from ingestd.contract.exporting import EXTENSION, OTHER_COLUMNS
from ingestd.contract.types import INTEGER_BITS, integer_limits
from ingestd.schema.types import parse_type

_FORMAT_TYPES = {"date-time": "timestamptz", "date": "date", "time": "time", "uuid": "uuid"}
_FORMATS = ("email", "uri", "hostname", "ipv4", "ipv6")
_READ = {
    *("type", "enum", "const", "pattern", "minimum", "maximum", "maxLength", "format", "default", "contentEncoding"),
    *("properties", "required", "additionalProperties", "items", "$ref", "$defs", "definitions"),
    *("$schema", "$id", "$comment", "title", "description", "examples", "deprecated", "readOnly", "writeOnly"),
    *(EXTENSION, OTHER_COLUMNS),
}
"""Keywords that are understood, or that ask nothing of a record."""
_KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("type",), (str, list)),
    **dict.fromkeys(("enum", "required"), (list,)),
    **dict.fromkeys(("pattern", "format"), (str,)),
    **dict.fromkeys(("minimum", "maximum"), (int, float)),
    "maxLength": (int,),
}
"""What a keyword must be to mean anything."""
_MAX_FIELDS = 1_600
"""As many columns as a table of PostgreSQL can have."""
_NULL = "null"


class Imported(Struct):
    """A column as TOML options, and what the schema says of it that no option can."""

    options: dict[str, Any]
    remarks: list[str]


class _Field(Struct, frozen=True):
    """A property: its path, its schema with references resolved, whether it and each object around it must be there."""

    path: tuple[str, ...]
    schema: dict[str, Any]
    required: bool


def columns_of(schema: Any) -> tuple[list[Imported], list[str]]:
    """The columns that a schema of an object describes, and remarks on the schema as a whole.

    Raises ValueError for what is no schema of an object.
    """
    if not isinstance(schema, dict) or not isinstance(schema.get("properties"), dict):
        raise ValueError("is no JSON Schema of an object: it has no properties")
    general = [f"{word} of the schema: cannot be expressed" for word in _unread(schema)]
    if schema.get("additionalProperties") is False:
        general.append('additionalProperties is false: write unknown_fields = "dead_letter" for the pipeline')
    fields = list(islice(_fields(schema, schema, (), True, frozenset()), _MAX_FIELDS + 1))
    if len(fields) > _MAX_FIELDS:
        raise ValueError(f"describes more than {_MAX_FIELDS} fields, which no table can hold")
    found = list(map(_column, fields))
    others = schema.get(OTHER_COLUMNS, [])
    if not isinstance(others, list):
        raise ValueError(f"{OTHER_COLUMNS} is not as `ingestd contract export` writes it")
    found += [Imported(_exported(options, OTHER_COLUMNS), []) for options in others]
    _name_apart(found)
    return found, general


def toml_of(columns: list[Imported], remarks: list[str]) -> str:
    """`[[pipeline.column]]` tables with the remarks as comments."""
    lines = [f"# {_one_line(remark)}" for remark in remarks]
    for column in columns:
        lines += ["" if lines else None, *(f"# {_one_line(remark)}" for remark in column.remarks)]  # type: ignore[list-item]
        lines.append("[[pipeline.column]]")
        lines += [f"{name} = {_toml(value)}" for name, value in column.options.items()]
    return "\n".join(line for line in lines if line is not None) + "\n"


def _fields(
    root: dict[str, Any], place: dict[str, Any], path: tuple[str, ...], required: bool, within: frozenset[str]
) -> Iterator[_Field]:
    """`within` has the references that are being followed: a schema that holds itself is not unrolled."""
    needed = _meant(place)[0].get("required", [])
    for name, given in place["properties"].items():
        schema, through = _resolved(root, given, within)
        inner = (*path, name)
        needs = required and name in needed
        objects = EXTENSION not in schema and isinstance(schema.get("properties"), dict)
        if objects and "." not in name and set(_types(schema)) <= {"object", _NULL}:
            yield from _fields(root, schema, inner, needs and _NULL not in _types(schema), through)
        else:
            yield _Field(inner, schema, needs)


def _resolved(root: dict[str, Any], schema: Any, within: frozenset[str]) -> tuple[dict[str, Any], frozenset[str]]:
    """The schema with references into its own document replaced by what they name, siblings winning."""
    while isinstance(schema, dict):
        reference = schema.get("$ref")
        if not isinstance(reference, str) or not reference.startswith("#/"):
            return schema, within
        target: Any = None if reference in within else root
        for step in reference[2:].split("/"):
            target = target.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(target, dict) else None
        if not isinstance(target, dict):
            return schema, within
        within |= {reference}
        schema = target | {key: value for key, value in schema.items() if key != "$ref"}
    return {}, within


def _meant(schema: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The schema without keywords whose values mean nothing, and a remark for each of these."""
    odd = [
        word
        for word, kinds in _KINDS.items()
        if word in schema and (not isinstance(schema[word], kinds) or isinstance(schema[word], bool))
    ]
    kept = {word: value for word, value in schema.items() if word not in odd}
    if isinstance(kept.get("type"), list):
        kept["type"] = [name for name in kept["type"] if isinstance(name, str)]
    return kept, [f"{word} {json.dumps(schema[word])[:60]}: means nothing in a JSON Schema, left out" for word in odd]


def _exported(options: Any, keyword: str) -> dict[str, Any]:
    """Options of a column as `exporting` wrote them. Raises ValueError for what it cannot have written."""
    plain = (str, int, float)
    if (
        not isinstance(options, dict)
        or not isinstance(options.get("name", ""), str)
        or not all(isinstance(one, plain) for value in options.values() for one in _listed(value))
    ):
        raise ValueError(f"{keyword} {json.dumps(options)[:60]} is not as `ingestd contract export` writes it")
    return dict(options)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _column(field: _Field) -> Imported:
    schema, remarks = _meant(field.schema)
    if isinstance(schema.get("items"), dict):
        schema["items"], more = _meant(schema["items"])
        remarks += [f"{remark} (items)" for remark in more]
    field = replace(field, schema=schema)
    own = schema.get(EXTENSION)
    if isinstance(own, dict) and "type" in own:
        options, type_name = _exported(own, EXTENSION), str(own["type"])
    else:
        type_name = _type_of(field.schema, remarks)
        options = {}
        remarks += [f"{word}: cannot be expressed" for word in _unread(field.schema) if word != "$ref"]
        if "$ref" in field.schema:
            remarks.append("$ref into another document or to nothing: read as any JSON")
    *outer, last = field.path
    head: dict[str, Any] = {"name": options.pop("name", last), "type": type_name}
    options.pop("type", None)
    if outer or head["name"] != last:
        head["path"] = ".".join(field.path)
    if "." in last or any("." in step for step in outer):
        remarks.append(f"the field {json.dumps(field.path[-1])} has a dot in its name, which no path can name")
    if field.required and _accepts_null(field.schema):
        remarks.append("must be there but may be null: not required here")
    elif field.required:
        head["required"] = True
    return Imported(head | _rules(field.schema, type_name, remarks) | options, remarks)


def _accepts_null(schema: dict[str, Any]) -> bool:
    if "type" in schema:
        return _NULL in _types(schema)
    return schema.get("not") != {"type": _NULL} if EXTENSION in schema else False


def _types(schema: dict[str, Any]) -> list[str]:
    return _listed(_meant(schema)[0].get("type", []))


def _type_of(schema: dict[str, Any], remarks: list[str]) -> str:
    types = [one for one in _types(schema) if one != _NULL]
    values = [value for value in _allowed(schema) if value is not None]
    if not types and values:
        types = sorted({_TYPE_NAMES.get(type(value), "object") for value in values})
    match types:
        case ["string"]:
            if schema.get("contentEncoding") == "base64":
                return "bytea"
            return _FORMAT_TYPES.get(str(schema.get("format")), "text")
        case ["integer"]:
            return _integer_type(schema)
        case ["number"]:
            return "float8"
        case ["boolean"]:
            return "bool"
        case ["array"] if isinstance(schema.get("items"), dict) and _types(schema["items"]):
            element = _type_of(schema["items"], [])
            return f"{element}[]" if element != "jsonb" and not element.endswith("[]") else "jsonb"
    if types != ["object"]:
        remarks.append(f"type {json.dumps(types)}: read as any JSON" if types else "no type: read as any JSON")
    return "jsonb"


_TYPE_NAMES = {str: "string", int: "integer", float: "number", bool: "boolean"}


def _integer_type(schema: dict[str, Any]) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if isinstance(low, int) and isinstance(high, int):
        for name, bits in INTEGER_BITS.items():
            if -(1 << (bits - 1)) <= low and high < 1 << (bits - 1):
                return name
    return "int8"


def _allowed(schema: dict[str, Any]) -> list[Any]:
    return [schema["const"]] if "const" in schema else list(schema.get("enum", []))


def _rules(schema: dict[str, Any], type_name: str, remarks: list[str]) -> dict[str, Any]:
    """Options out of the keywords; of an array, those of its items."""
    kind = parse_type(type_name)
    rules: dict[str, Any] = {}
    of_items = kind.is_array and isinstance(schema.get("items"), dict)
    one = schema["items"] if of_items else schema
    own = EXTENSION in schema
    if of_items and not own:
        remarks += [f"{word} of the items: cannot be expressed" for word in _unread(one)]
    values = [value for value in _allowed(one) if value is not None]
    if values and (kind.scalar in ("bool", "jsonb", "bytea") or any(isinstance(v, dict | list) for v in values)):
        remarks.append(f"enum: not for {kind.name}")
    elif values:
        rules["enum"] = values
    limits = integer_limits(kind) or (None, None)
    for keyword, option, limit in (("minimum", "min", limits[0]), ("maximum", "max", limits[1])):
        if one.get(keyword) is not None and one[keyword] != limit:
            rules[option] = one[keyword]
    _text_rules(one, kind.scalar, own, rules, remarks)
    if "default" in schema and schema["default"] is not None:
        if isinstance(schema["default"], dict | list):
            remarks.append("default: not for objects and arrays")
        else:
            rules["default"] = schema["default"]
    return rules


def _text_rules(one: dict[str, Any], scalar: str, own: bool, rules: dict[str, Any], remarks: list[str]) -> None:
    texts = scalar in ("text", "varchar")
    if "maxLength" in one and texts:
        rules["max_length"] = one["maxLength"]
    if "pattern" in one and texts and not (refused := refused_patterns([one["pattern"]])):
        rules["pattern"] = one["pattern"]
    elif "pattern" in one:
        remarks.append(
            f"pattern {json.dumps(one['pattern'])}: {next(iter(refused.values())) if texts else f'not for {scalar}'}"
        )
    form = one.get("format")
    if form in _FORMATS and texts:
        rules["format"] = form
    elif form is not None and not own and form not in _FORMAT_TYPES:
        remarks.append(f"format {json.dumps(form)}: not checked")


def _unread(schema: dict[str, Any]) -> list[str]:
    words = [word for word in schema if word not in _READ]
    if isinstance(schema.get("additionalProperties"), dict):
        words.append("additionalProperties")
    return sorted(words) if EXTENSION not in schema else []


def _name_apart(columns: list[Imported]) -> None:
    """Fields of the same name in different objects become columns named after their path."""
    taken: set[str] = set()
    for column in columns:
        options = column.options
        name = options["name"]
        if name in taken:
            name = options.get("path", name).replace(".", "_")
            number = 2
            while name in taken:
                name, number = f"{name}_{number}", number + 1
            options.setdefault("path", options["name"])
            options["name"] = name
        taken.add(name)


def _one_line(text: str) -> str:
    """The text as a comment can hold it: no line break, no control character."""
    return "".join(character if character.isprintable() else " " for character in text)


def _toml(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, Decimal):
        return json.dumps(str(value))
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, float) and math.isinf(value):  # 1e400
        return "inf" if value > 0 else "-inf"
    return json.dumps(value)
