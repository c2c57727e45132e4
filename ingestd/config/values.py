"""TOML values into option structs, with every mistake found. Knows the shapes of options, not their meaning."""

from __future__ import annotations

import difflib
import json
import re
import types
from collections.abc import Iterable
from datetime import date, datetime, time
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Struct

from ingestd.config.options import Bytes, Secs
from ingestd.config.text import Substituted

SECRET_PATHS = ("store.url", "status.token", "kafka.properties", "schema_registry")

_SIZES = {"": 1, "b": 1, "kb": 1000, "mb": 1000**2, "gb": 1000**3, "kib": 1024, "mib": 1024**2, "gib": 1024**3}
_DURATIONS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_QUANTITY = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", re.ASCII)


class Findings:
    """The problems of one configuration, each with the path of its option."""

    def __init__(self) -> None:
        self.found: list[tuple[str, str]] = []

    def add(self, path: str, message: str) -> None:
        """Note that `message` is wrong with the option at `path` ("" is the file itself)."""
        self.found.append((path, message))

    def spoiled(self, path: str) -> bool:
        """Whether something is already known to be wrong at `path` or within it."""
        return any(bad == path or bad.startswith((path + ".", path + "[")) for bad, _ in self.found)


def near(word: str, known: Iterable[str]) -> str:
    """ "; did you mean X?" when a known word resembles `word`, else ""."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f'; did you mean "{close[0]}"?' if close else ""


def read_struct(cls: type[Struct], given: Any, path: str, findings: Findings) -> Any:
    """An instance of `cls`, or None when `given` is no table.

    Wrong or missing options are noted in `findings` and hold their default or None: the instance is for further
    checks of its other options only.
    """
    if not isinstance(given, dict):
        findings.add(path, f"must be a table, is {_shown(given, path)}")
        return None
    hints = get_type_hints(cls, include_extras=True)
    fields = {field.name: field for field in msgspec.structs.fields(cls)}
    for key in given:
        if key not in fields:
            suggestion = near(key, fields)
            known = suggestion or f"; known here: {', '.join(sorted(fields))}"
            findings.add(_join(path, key), f"unknown option{known}")
    values: dict[str, Any] = {}
    for name, field in fields.items():
        if name in given:
            value = _read(hints[name], given[name], _join(path, name), findings)
            if value is not None or not findings.spoiled(_join(path, name)):
                values[name] = value
                continue
        elif field.required:
            findings.add(_join(path, name), f"is missing{_purpose(hints[name])}")
        if field.required:
            values[name] = () if get_origin(_bare(hints[name])) is tuple else None
    return _make(cls, values)


def _make(cls: type[Struct], values: dict[str, Any]) -> Any:
    """`cls(**values)`, also when a required text is None because it is wrong."""
    required = {"url": "", "bootstrap_servers": ""}
    return cls(**{name: required.get(name) if value is None else value for name, value in values.items()})


def _read(hint: Any, given: Any, path: str, findings: Findings) -> Any:
    kind = _present(_bare(hint))
    if isinstance(given, datetime | date | time):
        given = given.isoformat()
    if isinstance(given, str) and findings.spoiled(path):
        return None
    if isinstance(kind, type) and issubclass(kind, Struct):
        return read_struct(kind, given, path, findings)
    if get_origin(kind) is tuple:
        return _read_list(get_args(kind)[0], given, path, findings)
    if kind is Bytes or kind is Secs:
        return _read_quantity(kind, given, path, findings)
    if get_origin(kind) is dict:
        return _read_properties(given, path, findings)
    plain = str(given) if isinstance(given, Substituted) else given
    try:
        return msgspec.convert(plain, hint, strict=not isinstance(given, Substituted))
    except msgspec.ValidationError:
        findings.add(path, f"must be {_expected(hint)}, is {_shown(given, path)}{_near_choice(kind, given)}")
        return None


def _read_list(element: Any, given: Any, path: str, findings: Findings) -> tuple[Any, ...]:
    if not isinstance(given, list):
        findings.add(path, f"must be a list, is {_shown(given, path)}")
        return ()
    if not given and isinstance(element, type) and issubclass(element, Struct):
        findings.add(path, f"is empty; write at least one [[{path}]]")
    read = [_read(element, value, f"{path}[{index}]", findings) for index, value in enumerate(given)]
    return () if None in read else tuple(read)


def _read_quantity(kind: type, given: Any, path: str, findings: Findings) -> Any:
    """A size or a duration. Zero is refused: every one of them is a limit."""
    units, example = (_SIZES, '"16MiB", "512kB" or bytes') if kind is Bytes else (_DURATIONS, '"50ms", "5m" or seconds')
    number: float | None = None
    if isinstance(given, str):
        match = _QUANTITY.fullmatch(given)
        unit = units.get(match[2].lower()) if match else None
        number = float(match[1]) * unit if match and unit is not None else None
    elif isinstance(given, int | float) and not isinstance(given, bool):
        number = float(given)
    whole = kind is Secs or (number is not None and number == int(number))
    if number is None or not 0 < number < 1e15 or not whole:
        noun = "a size above zero" if kind is Bytes else "a duration above zero"
        findings.add(path, f"must be {noun}, such as {example}, is {_shown(given, path)}")
        return None
    return kind(number)


def _read_properties(given: Any, path: str, findings: Findings) -> dict[str, Any]:
    if not isinstance(given, dict):
        findings.add(path, "must be a table of names and values")
        return {}
    read: dict[str, Any] = {}
    for key, value in given.items():
        if isinstance(value, dict):  # security.protocol = ".." without quotes is a table in TOML
            inner = _read_properties(value, _join(path, key), findings)
            read.update({f"{key}.{name}": entry for name, entry in inner.items()})
        elif isinstance(value, str | int | float):
            read[key] = str(value) if isinstance(value, Substituted) else value
        else:
            findings.add(_join(path, key), "must be text, a number, true or false")
    return read


def _bare(hint: Any) -> Any:
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def _present(kind: Any) -> Any:
    """The struct or quantity of "X | None": read like X, so that all of its problems are found."""
    if get_origin(kind) not in (Union, types.UnionType):
        return kind
    inner = [one for one in get_args(kind) if one is not types.NoneType]
    sole = len(inner) == 1 and isinstance(inner[0], type) and issubclass(inner[0], Struct | Secs | Bytes)
    return inner[0] if sole else kind


def _join(path: str, key: str) -> str:
    plain = key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key, ensure_ascii=False)
    return f"{path}.{plain}" if path else plain


def _purpose(hint: Any) -> str:
    notes = [note.description.rstrip(".") for note in getattr(hint, "__metadata__", ()) if note.description]
    return f"; it is required: {notes[0]}" if notes else "; it is required"


def _near_choice(kind: Any, given: Any) -> str:
    choices = [choice for choice in get_args(kind) if isinstance(choice, str)]
    for inner in get_args(kind):
        choices += [choice for choice in get_args(inner) if isinstance(choice, str)]
    return near(given, choices) if isinstance(given, str) else ""


def _shown(given: Any, path: str) -> str:
    """A value as an error may show it: never a secret, never what a variable held."""
    if isinstance(given, dict):
        return "a table"
    if isinstance(given, list):
        return "a list"
    if path.startswith(SECRET_PATHS):
        return "something else (not shown: it may be secret)"
    text = given.template if isinstance(given, Substituted) else given
    written = json.dumps(text, ensure_ascii=False)
    return written if len(written) <= 80 else written[:77] + "..."


def _expected(hint: Any) -> str:
    """What an option takes, in words: "an integer of at least 1"."""
    kind = _bare(hint)
    if get_origin(kind) in (Union, types.UnionType):
        return " or ".join(_expected(inner) for inner in get_args(kind) if inner is not types.NoneType)
    limits = msgspec.inspect.type_info(hint)
    limits = limits.type if isinstance(limits, msgspec.inspect.Metadata) else limits
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(f'"{choice}"' for choice in get_args(kind))
    if isinstance(limits, msgspec.inspect.IntType | msgspec.inspect.FloatType):
        noun = "an integer" if kind is int else "a number"
        low = "" if limits.ge is None else f" of at least {limits.ge:,}"
        high = "" if limits.le is None else f"{' and' if low else ' of'} at most {limits.le:,}"
        return noun + low + high
    if isinstance(limits, msgspec.inspect.StrType):
        if limits.pattern:
            return f"text that matches {limits.pattern}"
        return "text that is not empty" if limits.min_length else "text"
    return "true or false" if kind is bool else str(kind)
