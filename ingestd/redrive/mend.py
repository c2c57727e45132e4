"""A dead letter as the record that the decoder reads again, mended on the way. Knows no database."""

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import msgspec
from msgspec import Struct

from ingestd.batch import Headers
from ingestd.decode.formats.framing import Unreadable
from ingestd.redrive.expressions import Expression, Fix, FixFailed
from ingestd.stores.dead_letters import Letter

_READER = msgspec.json.Decoder(float_hook=Decimal)
_WRITER = msgspec.json.Encoder(decimal_format="number")


class LetterRecord(Struct, frozen=True):
    """A dead letter where the decoder expects a record of the Kafka client."""

    letter: Letter
    payload: bytes | None

    def value(self) -> bytes | None:
        return self.payload

    def key(self) -> bytes | None:
        return self.letter.key

    def headers(self) -> Headers:
        return self.letter.headers

    def partition(self) -> int:
        return self.letter.partition

    def offset(self) -> int:
        return self.letter.offset

    def timestamp(self) -> tuple[int, int]:
        ms = self.letter.record_time_ms
        return (0, -1) if ms is None else (1, ms)


class Mending:
    """What is changed in every letter before it is read again."""

    def __init__(self, fixes: Sequence[str], text: str | None, json_of: Callable[[LetterRecord], bytes | None] | None):
        """`fixes` are `field=expression`, in order; `text` an expression over `payload`, which comes first.

        `json_of` reads a payload of another format as JSON; None: it is JSON.
        Raises: ConfigError for what is no expression.
        """
        self._fixes = [Fix(fix) for fix in fixes]
        self._text = Expression(text, f"--fix-text {text!r}") if text is not None else None
        self._json_of = json_of

    def __bool__(self) -> bool:
        return bool(self._fixes) or self._text is not None

    def record(self, letter: Letter) -> LetterRecord:
        """The record of `letter`, mended. Raises: FixFailed, and the letter stays as it is."""
        record = LetterRecord(letter, letter.payload)
        if not self:
            return record
        payload = letter.payload if self._json_of is None else self._as_json(record)
        if self._text is not None:
            payload = self._mended_text(payload or b"")
        if self._fixes:
            payload = self._mended_fields(payload, letter)
        return LetterRecord(letter, payload)

    def _as_json(self, record: LetterRecord) -> bytes | None:
        assert self._json_of is not None
        try:
            return self._json_of(record)
        except Unreadable as error:
            raise FixFailed(f"--fix: the payload cannot be read: {error}") from error

    def _mended_text(self, payload: bytes) -> bytes:
        assert self._text is not None
        value = self._text.value({}, {"payload": payload.decode("utf-8", "replace")})
        if not isinstance(value, str):
            raise FixFailed("--fix-text: the result is no text")
        return value.encode("utf-8", "replace")

    def _mended_fields(self, payload: bytes | None, letter: Letter) -> bytes:
        try:
            record = _READER.decode(payload) if payload is not None else {}
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise FixFailed(
                f"--fix: the payload is not readable as JSON ({error}); mend its text with --fix-text"
            ) from error
        if not isinstance(record, dict):
            raise FixFailed("--fix: the payload is no JSON object")
        for fix in self._fixes:
            fix.apply(record, _kafka(letter))
        try:
            return _WRITER.encode(record)
        except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:
            raise FixFailed(f"--fix: the result cannot be written as JSON: {error}") from error


def _kafka(letter: Letter) -> dict[str, Any]:
    """What the name `kafka` stands for in an expression."""
    return {
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "timestamp_ms": letter.record_time_ms,
        "key": None if letter.key is None else letter.key.decode("utf-8", "replace"),
        "headers": {
            name: None if value is None else value.decode("utf-8", "replace") for name, value in letter.headers or ()
        },
    }
