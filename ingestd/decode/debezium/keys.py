"""The keys of change events: which columns they name, and their values as JSON. Knows no envelopes."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from ingestd.decode.debezium.avro_schema import avro_key_columns
from ingestd.decode.debezium.schema import NoSourceSchema, key_columns
from ingestd.decode.formats.framing import Unreadable, schema_id_of
from ingestd.decode.parts import REFUSALS


class _Key(Struct, gc=False):
    schema: Raw | UnsetType = UNSET
    payload: Raw | UnsetType = UNSET


class Keys:
    """Reads the keys of one topic: JSON with or without a schema, or framed Avro."""

    def __init__(
        self, unframe: Callable[[bytes], bytes] | None = None, schema_text: Callable[[int], str] | None = None
    ):
        self._unframe = unframe
        self._schema_text = schema_text
        self._known: dict[bytes | int, tuple[str, ...] | None] = {}

    def columns(self, key: bytes | None) -> tuple[str, ...] | None:
        """The names of the key's columns; () when there is no key, None when it does not tell them.

        Raises what asking the registry raises, but Unreadable.
        """
        if key is None:
            return ()
        if self._schema_text is not None and key[:1] == b"\0":
            try:
                schema_id = schema_id_of(key)
                if schema_id not in self._known:
                    self._known[schema_id] = avro_key_columns(self._schema_text(schema_id))
                return self._known[schema_id]
            except (Unreadable, NoSourceSchema):
                return None
        found = _opened(key)
        try:
            if found is not None and not isinstance(found.schema, UnsetType):
                return key_columns(bytes(found.schema))
            return tuple(msgspec.json.decode(key, type=dict[str, Raw]))
        except (NoSourceSchema, *REFUSALS):
            return None

    def document(self, key: bytes | None) -> bytes | None:
        """The JSON object of the key's columns; None when there is none. Raises as `columns` does."""
        if key is None:
            return None
        if self._unframe is not None and key[:1] == b"\0":
            try:
                return self._unframe(key)
            except Unreadable:
                return None
        found = _opened(key)
        return key if found is None or isinstance(found.payload, UnsetType) else bytes(found.payload)


def _opened(key: bytes) -> _Key | None:
    """Schema and payload; None when the key is the object itself, even one with columns of these names."""
    try:
        found = msgspec.json.decode(key, type=_Key)
    except REFUSALS:
        return None
    if isinstance(found.schema, UnsetType) or isinstance(found.payload, UnsetType):
        return None
    schema = bytes(found.schema)
    if schema == b"null":
        return _Key(UNSET, found.payload)
    return found if schema[:1] == b"{" else None
