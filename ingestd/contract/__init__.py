"""Contracts in a producer's hands: records are judged before Kafka by the code that judges them behind it.

Knows no Kafka client and no database.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, structs

from ingestd.batch import Chunk, Decode, Headers, Tile
from ingestd.config.file import load
from ingestd.config.options import Column, Pipeline
from ingestd.decode.decoder import make_decoder
from ingestd.decode.shape import HALF_PAIR
from ingestd.errors import ConfigError, IngestdError

Value = bytes | Mapping[str, Any] | None
"""A record's value: JSON as bytes, what is to become JSON, or None for a tombstone."""

_ENCODER = msgspec.json.Encoder(decimal_format="number")
_KEPT_DECODERS = 64


class Problem(Struct, frozen=True):
    """Why the consumer would refuse a record."""

    field: str | None
    """Where in the record, with dots into objects; None for the record as a whole."""
    reason: str
    """The rule that is broken; never the value."""


class InvalidRecord(IngestdError):
    """The record breaks the contract; `problems` has all that was found, `field` and `reason` are the first of it."""

    def __init__(self, problems: Sequence[Problem]):
        self.problems = tuple(problems)
        self.field, self.reason = problems[0].field, problems[0].reason
        super().__init__("; ".join(f"{one.field or 'record'}: {one.reason}" for one in problems))


class _Record(Struct):
    """A record that has not been sent yet."""

    payload: bytes | None
    key_bytes: bytes | None
    pairs: Headers
    at: int

    def value(self) -> bytes | None:
        return self.payload

    def key(self) -> bytes | None:
        return self.key_bytes

    def headers(self) -> Headers:
        return self.pairs

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self.at

    def timestamp(self) -> tuple[int, int]:
        return (1, 0)


class Contract:
    """The columns of a pipeline as a judge of records.

    Stricter than the consumer in one point: what a policy (`on_bad`) would mend is a problem here.
    """

    def __init__(self, pipeline: Pipeline):
        """Raises ConfigError when the columns cannot be read side by side."""
        self._pipeline = _strict(pipeline)
        self._decoders: dict[frozenset[str], Decode | None] = {}
        self._decode = make_decoder(self._pipeline)
        self._fields = _fields(self._pipeline)

    @classmethod
    def load(cls, path: str | Path, pipeline: str | None = None) -> Contract:
        """The contract of a pipeline in a configuration file; `pipeline` may be left out when there is only one.

        Raises ConfigError when the file is wrong or has no such pipeline.
        """
        found = [one for one in load(path).pipeline if pipeline in (None, one.name)]
        if len(found) != 1:
            names = ", ".join(one.name for one in load(path).pipeline)
            raise ConfigError([f"{path}: choose one of the pipelines: {names}"])
        return cls(found[0])

    def check(self, value: Value, key: bytes | None = None, headers: Headers = None) -> list[Problem]:
        """Everything that is wrong with a record; [] when the consumer will take it.

        One problem a field: the first rule that it breaks. `key` and `headers` matter only to columns that read them.
        """
        try:
            payload = _as_json(value)
        except InvalidRecord as refused:
            return list(refused.problems)
        return self._problems(_Record(payload, key, headers, 0))

    def check_many(self, values: Sequence[Value], keys: Sequence[bytes | None] | None = None) -> dict[int, Problem]:
        """Position -> the first problem of each invalid record; {} when all are valid.

        A record costs a hundredth of what it costs `check`: give it a thousand or two at a time.
        """
        found: dict[int, Problem] = {}
        records = []
        for at, (value, key) in enumerate(zip(values, keys or [None] * len(values), strict=True)):
            try:
                records.append(_Record(value if isinstance(value, bytes) else _as_json(value), key, None, at))
            except InvalidRecord as refused:
                found[at] = refused.problems[0]
        for letter in self._decode(Chunk([Tile(0, 0, len(values))], records)).dead:
            found[letter.offset] = Problem(self._field(letter.column), letter.reason)
        return found

    def encode(self, record: Mapping[str, Any], key: bytes | None = None, headers: Headers = None) -> bytes:
        """The record as JSON, ready to be sent; dates, times, UUIDs, decimals and bytes as columns want them.

        Raises InvalidRecord with field and reason; ConfigError when the pipeline reads another format than JSON.
        """
        if self._pipeline.format not in ("json", "raw"):
            raise ConfigError([f"pipeline {self._pipeline.name}: reads {self._pipeline.format}; encode writes JSON"])
        payload = _as_json(record)
        problems = self._problems(_Record(payload, key, headers, 0))
        if problems:
            raise InvalidRecord(problems)
        return payload or b""

    def _problems(self, record: _Record) -> list[Problem]:
        chunk = Chunk([Tile(0, 0, 1)], [record])
        found: dict[str, Problem] = {}
        decode: Decode | None = self._decode
        while decode is not None:
            dead = decode(chunk).dead
            column = dead[0].column if dead else None
            if dead and (column is None or column in found):
                return [*found.values()] or [Problem(self._field(column), dead[0].reason)]
            if not dead or column is None:
                break
            found[column] = Problem(self._field(column), dead[0].reason)
            decode = self._decoder_that_forgives(frozenset(found))
        return [*found.values()]

    def _decoder_that_forgives(self, names: frozenset[str]) -> Decode | None:
        """The decoder in which these columns take everything; None when the contract cannot do without them."""
        if names not in self._decoders:
            if len(self._decoders) >= _KEPT_DECODERS:
                self._decoders.clear()
            try:
                self._decoders[names] = make_decoder(_forgiving(self._pipeline, names))
            except ConfigError:
                self._decoders[names] = None
        return self._decoders[names]

    def _field(self, column: str | None) -> str | None:
        return None if column is None else self._fields.get(column, column)


def _fields(pipeline: Pipeline) -> dict[str, str]:
    """Column -> the field that it reads, when it is the same in all versions of the contract."""
    found: dict[str, set[str]] = {}
    for column in [*pipeline.column, *(column for contract in pipeline.contract for column in contract.column)]:
        if column.source == "value":
            found.setdefault(column.name, set()).add(column.path or column.name)
    return {name: next(iter(paths)) for name, paths in found.items() if len(paths) == 1}


def _strict(pipeline: Pipeline) -> Pipeline:
    changed = _with_columns(pipeline, lambda column: structs.replace(column, on_bad=None))
    return structs.replace(changed, on_bad="dead_letter")


def _forgiving(pipeline: Pipeline, names: frozenset[str]) -> Pipeline:
    def forgive(column: Column) -> Column:
        if column.name not in names:
            return column
        kept = {"name": column.name, "path": column.path, "source": column.source, "stored": column.stored}
        return Column(**kept, type="jsonb", on_bad="null")  # type: ignore[arg-type]

    return _with_columns(pipeline, forgive)


def _with_columns(pipeline: Pipeline, change: Any) -> Pipeline:
    contracts = tuple(
        structs.replace(contract, column=tuple(map(change, contract.column))) for contract in pipeline.contract
    )
    return structs.replace(pipeline, column=tuple(map(change, pipeline.column)), contract=contracts)


def _as_json(value: Value) -> bytes | None:
    """Raises InvalidRecord for what no JSON can hold."""
    if value is None or isinstance(value, bytes):
        return value
    try:
        written = _ENCODER.encode(value)
        # NaN and infinity would be written as null, in silence; columns of floats take them as words.
        return _ENCODER.encode(_spelt(value)) if b"null" in written else written
    except UnicodeEncodeError:
        raise InvalidRecord([Problem(_unwritable(value), HALF_PAIR)]) from None
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidRecord([Problem(_unwritable(value), f"cannot be written as JSON ({error})")]) from None


def _spelt(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {key: _spelt(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_spelt(inner) for inner in value]
    return value


def _unwritable(value: Mapping[str, Any]) -> str | None:
    return next(_bad_fields(value), None)


def _bad_fields(value: Mapping[str, Any]) -> Iterator[str]:
    for key, inner in value.items():
        try:
            _ENCODER.encode(inner)
        except (UnicodeEncodeError, TypeError, ValueError, OverflowError, RecursionError):
            yield key if isinstance(key, str) and key.isprintable() else repr(key)
