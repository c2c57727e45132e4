"""Nothing of a hostile payload reaches the terminal as it is, and nothing of it is hidden."""

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from ingestd.redrive.display import as_csv, as_json, as_table, line_of, page_of, whole
from ingestd.stores.dead_letters import Letter

LETTER = Letter(
    id=7,
    topic="t",
    topic_id="",
    partition=0,
    offset=3,
    key=None,
    payload=None,
    headers=None,
    record_time_ms=0,
    stage="decode",
    column=None,
    reason="r",
    sqlstate=None,
    dead_at=datetime(2026, 1, 2, tzinfo=UTC),
)
HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202egnirts\u2028\r"


def letter(**more: Any) -> Letter:
    return msgspec.structs.replace(LETTER, **more)


@pytest.mark.parametrize(
    "payload",
    [
        HOSTILE.encode(),
        b'{"a": "' + "\x9b31m\u202e\x7f".encode() + b'"}',
        b"\xff\x1b[2J",
        b'{"a":"\\u001b[2J"}',
        b"\x00\x1b" * 99,
    ],
)
@pytest.mark.parametrize("field", ["payload", "key", "reason", "header"])
def test_no_control_character_reaches_the_terminal(payload: bytes, field: str) -> None:
    text = payload.decode("utf-8", "replace")
    one = {
        "payload": letter(payload=payload),
        "key": letter(key=payload),
        "reason": letter(reason=text),
        "header": letter(headers=[(text, payload)]),
    }[field]
    for shown in (page_of(one), as_table([line_of(one)]), as_json([whole(one)]), as_csv([line_of(one)])):
        assert all(c.isprintable() or c == "\n" for c in shown), repr(shown)


def test_json_payload_is_shown_line_by_line() -> None:
    assert page_of(letter(payload=b'{"a":{"b":1.10}}')).endswith('{\n  "a": {\n    "b": 1.10\n  }\n}')


def test_binary_payload_is_dumped_in_hexadecimal() -> None:
    assert page_of(letter(payload=bytes(range(20)))).splitlines()[-2:] == [
        "00000000  00 01 02 03 04 05 06 07  08 09 0a 0b 0c 0d 0e 0f  ................",
        "00000010  10 11 12 13                                       ....",
    ]


def test_tombstone_and_empty_payload_are_told_apart() -> None:
    assert "none (a tombstone)" in page_of(letter(payload=None))
    assert "0 bytes" in page_of(letter(payload=b""))


def test_json_holds_every_byte() -> None:
    shown = json.loads(as_json([whole(letter(payload=b"\xff", key=b"k", headers=[("h", None)]))]))
    assert (shown["payload_base64"], shown["key"], shown["headers"]) == ("/w==", "k", [{"name": "h", "value": None}])


def test_a_payload_of_megabytes_is_cut_where_it_is_dumped() -> None:
    assert len(page_of(letter(payload=b"\xff" * 10_000_000)).splitlines()) < 5000
