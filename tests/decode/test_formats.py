"""MessagePack, raw bytes, and the parts of the registry's formats that need no registry."""

import json
import struct
import subprocess
import sys
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import msgspec
import pytest

from ingestd.batch import Rows
from ingestd.config.options import Column, Delete, Pipeline, Table
from ingestd.decode.decoder import make_decoder
from ingestd.decode.formats.avro import avro_reader
from ingestd.decode.formats.framing import Unreadable, message_path_of, schema_id_of
from ingestd.decode.formats.json_schema import json_schema_reader
from ingestd.decode.formats.registry import Registered
from ingestd.decode.formats.to_json import json_of
from ingestd.decode.formats.values import values_reader
from ingestd.errors import ConfigError
from tests.decode.records import chunk_of
from tests.decode.registered import Answers, answering

HEADER = b"\0\0\0\0\1"


def pipeline(form: str, *columns: dict[str, Any], **more: Any) -> Pipeline:
    given = {"name": "p", "topic": "t", "format": form, "column": list(columns), "table": {"name": "t"}, **more}
    return msgspec.convert(given, Pipeline)


def decoded(form: str, values: list[bytes | None], *columns: dict[str, Any], **more: Any) -> Rows:
    return make_decoder(pipeline(form, *columns, **more))(chunk_of(values))


def reasons(rows: Rows) -> dict[int, str]:
    return {letter.offset - 100: letter.reason for letter in rows.dead}


def avro(schema: Any, *parts: Any) -> Any:
    texts = {part["name"]: msgspec.json.encode(part).decode() for part in parts}
    return avro_reader(Registered("AVRO", msgspec.json.encode(schema).decode(), texts))


def written(schema: Any, value: Any) -> bytes:
    stream = BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schema), value)
    return HEADER + stream.getvalue()


def test_floats_that_json_has_no_number_for_are_words_and_nulls_stay_nulls() -> None:
    value = {"a": float("nan"), "b": [float("inf"), None, {"c": float("-inf")}], "d": 1.5}
    assert json_of(value) == b'{"a":"NaN","b":["Infinity",null,{"c":"-Infinity"}],"d":1.5}'


def test_msgpack_values_keep_integers_floats_bytes_and_times() -> None:
    at = msgspec.msgpack.decode(b"\xd6\xff\x65\x53\xf1\x00")
    value = {"i": 2**63 - 1, "f": float("nan"), "b": b"\0\xff", "at": at, "j": {"deep": [1, None]}}
    columns = [
        {"name": "i", "type": "int8"},
        {"name": "f", "type": "float8"},
        {"name": "b", "type": "bytea"},
        {"name": "at", "type": "timestamptz"},
        {"name": "j", "type": "jsonb"},
    ]
    rows = decoded("msgpack", [msgspec.msgpack.encode(value)], *columns)
    assert not rows.dead
    [row] = rows.columns.to_pylist()
    assert (row["i"], row["b"], row["at"].isoformat()) == (2**63 - 1, b"\0\xff", "2023-11-14T22:13:20+00:00")
    assert row["f"] != row["f"]
    assert msgspec.json.decode(row["j"]) == {"deep": [1, None]}


def test_msgpack_that_cannot_be_read_is_a_dead_letter_and_its_neighbours_are_rows() -> None:
    good = msgspec.msgpack.encode({"i": 1})
    bad = {
        "truncated": good[:-1],
        "trailing": good + b"\1",
        "extension": msgspec.msgpack.encode({"i": 1, "x": msgspec.msgpack.Ext(5, b"abc")}),
        "key of nothing": b"\x82\xa1i\1\xc0\1",
        "text that is not UTF-8": b"\x82\xa1i\1\xa1k\xa1\xff",
        "deep": b"\x82\xa1i\1\xa1k" + b"\x91" * 100_000 + b"\0",
        "no object": b"\x05",
        "beyond int8": msgspec.msgpack.encode({"i": 2**64 - 1}),
        "empty": b"",
        "a tombstone": None,
    }
    rows = decoded("msgpack", [good, *bad.values(), good], {"name": "i", "type": "int8"})
    assert rows.columns.column(0).to_pylist() == [1, 1]
    assert [letter.payload for letter in rows.dead] == list(bad.values()), "dead letters keep the original bytes"
    assert all(reasons(rows).values())


def test_raw_value_is_one_column_whatever_its_bytes() -> None:
    values: list[bytes | None] = [b"\0\xff{", b"", None]
    rows = decoded("raw", values, {"name": "v", "type": "bytea"})
    assert rows.columns.column(0).to_pylist() == values
    texts = [b'say "hi"\\ \n\x01', "\u00e9\u2603".encode(), b"", None]
    rows = decoded("raw", texts, {"name": "v", "type": "text"})
    assert rows.columns.column(0).to_pylist() == ['say "hi"\\ \n\x01', "\u00e9\u2603", "", None]


def test_raw_json_must_be_one_value_and_cannot_forge_fields() -> None:
    values: list[bytes | None] = [b'{"a":1}', b'1,"w":2', b'1}{"v":2', b"[1", b"", b'"\\u0000"', b" [1] "]
    rows = decoded("raw", values, {"name": "v", "type": "jsonb"})
    assert rows.columns.column(0).to_pylist() == ['{"a":1}', "[1]"]
    assert sorted(reasons(rows)) == [1, 2, 3, 4, 5]


def test_raw_null_is_refused_where_the_column_is_required() -> None:
    rows = decoded("raw", [None, b"x"], {"name": "v", "type": "text", "required": True})
    assert rows.columns.column(0).to_pylist() == ["x"]
    assert list(reasons(rows)) == [0]


def test_raw_invalid_utf8_follows_the_policy_of_the_column() -> None:
    [refused] = decoded("raw", [b"a\xff"], {"name": "v", "type": "text"}).dead
    assert "UTF-8" in refused.reason
    mended = decoded("raw", [b"a\xffb"], {"name": "v", "type": "text", "on_bad": "strip"})
    assert mended.columns.column(0).to_pylist() == ["ab"]


def test_raw_tombstone_stays_one_where_tombstones_delete() -> None:
    delete = Delete(tombstone=True, how="soft")
    table = Table(name="t", mode="upsert", key=("k",), delete=delete)
    columns = (Column(name="k", type="text", source="key"), Column(name="v", type="text"))
    read = values_reader(Pipeline(name="p", topic="t", format="raw", column=columns, table=table))
    assert read(chunk_of([None, b"x"]).records) == ([None, b'{"v":"x"}'], {})


def test_format_without_its_registry_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="needs"):
        make_decoder(pipeline("avro", {"name": "v", "type": "text"}))


@pytest.mark.parametrize("value", [b"", b"\0\0\0\1", b'{"id":1}', b"\1" + b"g" * 20])
def test_value_without_a_schema_id_is_unreadable(value: bytes) -> None:
    with pytest.raises(Unreadable):
        schema_id_of(value)


def test_path_to_a_nested_message_is_read_and_an_absurd_one_refused() -> None:
    assert message_path_of(HEADER + b"\0rest") == ((0,), 6)
    assert message_path_of(HEADER + b"\4\2\0rest") == ((1, 0), 8)
    for absurd in (b"", b"\4\2", b"\1", b"\xff\xff\xff\xff\xff\xff", b"\2\1", b"\xfe\xff\xff\xff\x0f"):
        with pytest.raises(Unreadable):
            message_path_of(HEADER + absurd)


def test_avro_schema_in_parts_that_share_a_part_is_read() -> None:
    shared = {"type": "record", "name": "Money", "fields": [{"name": "cents", "type": "long"}]}
    left = {"type": "record", "name": "Left", "fields": [{"name": "m", "type": "Money"}]}
    right = {"type": "record", "name": "Right", "fields": [{"name": "m", "type": "Money"}]}
    whole = {"type": "record", "name": "W", "fields": [{"name": "l", "type": "Left"}, {"name": "r", "type": "Right"}]}
    read = avro(whole, shared, left, right)
    assert read(HEADER + b"\2\4") == b'{"l":{"m":{"cents":1}},"r":{"m":{"cents":2}}}'


@pytest.mark.parametrize(
    "body",
    [b"", b"\2", b"\2\6ab", b"\2\4ab\0", b"\xff" * 20, b"\2\1abc", b"\2\4\xff\xff"],
    ids=["nothing", "half", "cut text", "left over", "endless varint", "negative length", "no UTF-8"],
)
def test_avro_value_that_its_schema_did_not_write_is_unreadable(body: bytes) -> None:
    schema = {"type": "record", "name": "R", "fields": [{"name": "a", "type": "long"}, {"name": "b", "type": "string"}]}
    with pytest.raises(Unreadable):
        avro(schema)(HEADER + body)


def test_avro_time_outside_of_the_years_is_unreadable() -> None:
    at = {"type": "long", "logicalType": "timestamp-millis"}
    read = avro({"type": "record", "name": "R", "fields": [{"name": "at", "type": at}]})
    assert read(HEADER + b"\0") == b'{"at":"1970-01-01T00:00:00Z"}'
    with pytest.raises(Unreadable, match="OverflowError"):
        read(HEADER + b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01")


def test_avro_array_of_nothing_cannot_fill_the_memory() -> None:
    empty = {"type": "record", "name": "E", "fields": [{"name": "n", "type": "null"}]}
    for items in ("null", empty, {"type": "fixed", "name": "F", "size": 0}):
        holder = {"type": "record", "name": "H", "fields": [{"name": "a", "type": {"type": "array", "items": items}}]}
        with pytest.raises(Unreadable, match="without bytes"):
            avro(holder)


def _doubling(leaf: str, levels: int) -> Registered:
    """Records that have two fields of the one before."""
    texts = [
        json.dumps({"type": "record", "name": f"r{n}", "fields": [{"name": name, "type": inner} for name in "ab"]})
        for n, inner in enumerate([leaf, *(f"r{n}" for n in range(levels - 1))])
    ]
    return Registered("AVRO", texts[-1], {f"r{n}": text for n, text in enumerate(texts[:-1])})


def test_avro_schema_of_a_billion_paths_does_not_stop_the_worker() -> None:
    with pytest.raises(Unreadable, match="EOFError"):
        avro_reader(_doubling("long", 40))(HEADER + b"\2")


def test_avro_records_of_nothing_cannot_fill_the_memory() -> None:
    with pytest.raises(Unreadable, match="values without bytes"):
        avro_reader(_doubling("null", 40))
    assert avro_reader(_doubling("null", 2))(HEADER) == b'{"a":{"a":null,"b":null},"b":{"a":null,"b":null}}'


def test_avro_value_nested_without_end_does_not_kill_the_process() -> None:
    """Read by the compiled reader it overflows the stack of C: only another process can be asked whether it lives."""
    program = """
import threading
from tests.decode.test_formats import HEADER, Unreadable, avro
schema = {"type": "record", "name": "N", "fields": [{"name": "n", "type": ["null", "N"]}]}
def read():
    try:
        avro(schema)(HEADER + bytes([2]) * 300_000)
    except Unreadable as error:
        print("unreadable")
thread = threading.Thread(target=read)
thread.start()
thread.join()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, "unreadable\n"), done.stderr


def test_avro_value_that_nests_a_little_is_read_also_when_it_is_long() -> None:
    schema = {
        "type": "record",
        "name": "N",
        "fields": [{"name": "t", "type": "string"}, {"name": "n", "type": ["null", "N"]}],
    }
    value = {"t": "x" * 5000, "n": {"t": "y", "n": None}}
    assert msgspec.json.decode(avro(schema)(written(schema, value))) == value


def json_schema(schema: Any, **parts: Any) -> Any:
    texts = {name: msgspec.json.encode(part).decode() for name, part in parts.items()}
    return json_schema_reader(Registered("JSON", msgspec.json.encode(schema).decode(), texts))


def test_json_is_refused_where_its_schema_does_not_allow_it_without_quoting_it() -> None:
    read = json_schema({"type": "object", "properties": {"n": {"type": "integer", "maximum": 5}}, "required": ["n"]})
    assert read(HEADER + b'{"n":5}') == b'{"n":5}'
    for value, said in ((b'{"n":4711}', "maximum at n"), (b"{}", "required at the whole value")):
        with pytest.raises(Unreadable, match=said) as caught:
            read(HEADER + value)
        assert "4711" not in str(caught.value)


def test_json_schema_fetches_nothing_from_the_addresses_it_names(tmp_path: Path) -> None:
    """Not even where something usable is: who registers a schema must not make us read files or ask other hosts."""
    (tmp_path / "x.json").write_text("{}")
    with answering(Answers()) as url:
        for address in (f"{url}/x.json", (tmp_path / "x.json").as_uri(), "other.json"):
            for parts in ({}, {"known.json": {"type": "integer"}}):
                with pytest.raises(Unreadable, match="cannot be used"):
                    json_schema({"properties": {"a": {"$ref": address}}}, **parts)


def test_json_schema_that_refers_to_another_is_used() -> None:
    read = json_schema({"properties": {"a": {"$ref": "known.json"}}}, **{"known.json": {"type": "integer"}})
    assert read(HEADER + b'{"a":1}') == b'{"a":1}'
    with pytest.raises(Unreadable, match="type at a"):
        read(HEADER + b'{"a":"x"}')


def test_json_number_in_the_payload_keeps_its_digits() -> None:
    value = HEADER + b'{"n":0.10000000000000000000000000001}'
    assert json_schema({"type": "object"})(value) == value[5:]


def test_float_of_four_bytes_is_what_it_was() -> None:
    read = avro({"type": "record", "name": "R", "fields": [{"name": "f", "type": "float"}]})
    [given] = struct.unpack("<f", struct.pack("<f", 0.1))
    assert msgspec.json.decode(read(HEADER + struct.pack("<f", 0.1))) == {"f": given}


@pytest.mark.parametrize("on_bad", ["dead_letter", "strip", "null"])
@pytest.mark.parametrize("column", [{"source": "key"}, {"path": "a.b"}, {"path": "k"}])
def test_unreadable_value_is_refused_whatever_columns_read(on_bad: str, column: dict[str, str]) -> None:
    """Nothing of it may be a row, also where no column reads the value or all may be null."""
    rows = decoded("msgpack", [b"\x80", b"\xc1", b"\x80"], {"name": "k", "type": "text", **column}, on_bad=on_bad)
    assert (rows.columns.num_rows, [record.offset() for record in rows.records]) == (2, [100, 102])
    assert list(reasons(rows)) == [1]


def test_avro_decimal_is_a_number_with_all_its_digits() -> None:
    amount = {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 3}
    schema = {"type": "record", "name": "R", "fields": [{"name": "d", "type": amount}]}
    value = written(schema, {"d": Decimal("-12345678901234567890123456789.100")})
    assert avro(schema)(value) == b'{"d":-12345678901234567890123456789.100}'
