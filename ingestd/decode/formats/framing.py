"""The five bytes in front of a value that name its schema: the framing of schema registries. Knows no registry."""

from __future__ import annotations

HEADER_BYTES = 5
_MAGIC = 0
_GUID_MAGIC = 1
_LONGEST_VARINT_BYTES = 5
_MOST_INDEXES = 100


class Unreadable(ValueError):
    """The value is not what the pipeline's format says: the record is a dead letter, `str()` is the reason."""


def schema_id_of(value: bytes) -> int:
    """The id of the schema that wrote `value`. Raises Unreadable when the value is not framed."""
    if len(value) < HEADER_BYTES:
        raise Unreadable(f"{len(value)} bytes are too short for a schema id: not written by a registry's serializer")
    if value[0] != _MAGIC:
        if value[0] == _GUID_MAGIC:
            raise Unreadable("names its schema by GUID (magic byte 1), which is not supported: write schema ids")
        raise Unreadable(f"begins with byte {value[0]} instead of 0: not written by a registry's serializer")
    return int.from_bytes(value[1:HEADER_BYTES], "big")


def message_path_of(value: bytes) -> tuple[tuple[int, ...], int]:
    """Which message of its .proto file a Protobuf value is, from outside to inside, and where the message begins.

    Raises Unreadable when the path is cut short or absurd.
    """
    count, at = _zigzag(value, HEADER_BYTES)
    if count == 0:
        return (0,), at
    if not 0 < count <= _MOST_INDEXES:
        raise Unreadable("has no valid path to its Protobuf message behind the schema id")
    path = []
    for _ in range(count):
        step, at = _zigzag(value, at)
        if step < 0:
            raise Unreadable("has no valid path to its Protobuf message behind the schema id")
        path.append(step)
    return tuple(path), at


def _zigzag(value: bytes, at: int) -> tuple[int, int]:
    number = 0
    for place, byte in enumerate(value[at : at + _LONGEST_VARINT_BYTES]):
        number |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return (number >> 1) ^ -(number & 1), at + place + 1
    raise Unreadable("has no valid path to its Protobuf message behind the schema id")
