"""Mended records beside unknown fields, new fields and versions of a contract."""

from typing import Any

import msgspec

from ingestd.batch import Rows
from ingestd.config.options import Pipeline
from ingestd.decode.decoder import make_decoder
from tests.decode.records import chunk_of

ID = {"name": "id", "type": "text", "required": True}
TEXT = {"name": "t", "type": "text"}


def rows_of(values: list[bytes | None], *columns: dict[str, Any], **options: Any) -> Rows:
    tree = {"name": "p", "topic": "t", "on_bad": "strip", "column": columns, "table": {"name": "t"}, **options}
    return make_decoder(msgspec.convert(tree, Pipeline))(chunk_of(values))


def test_unknown_fields_are_kept_as_they_were_mended() -> None:
    rest = {"name": "rest", "type": "jsonb"}
    values: list[bytes | None] = [
        b'{"id":"a","t":"x\xff","other":"\xffz"}',
        rb'{"id":"b","other":"\ud800"}',
        rb'{"id":"c","other":"\u0000q"}',
        b'{"id":"d","other":{"k":1.10e400}}',
    ]
    rows = rows_of(values, ID, TEXT, rest, unknown_fields="keep", unknown_column="rest")
    kept = ['{"other":"z"}', '{"other":""}', '{"other":"q"}', '{"other":{"k":1.10e400}}']
    assert rows.dead == [] and rows.columns.column("rest").to_pylist() == kept
    assert rows.columns.column("t").to_pylist() == ["x", None, None, None]


def test_payload_bytes_are_counted_as_they_were_delivered() -> None:
    values: list[bytes | None] = [b'{"id":"a\xff\xff\xff"}', b'{"id":"b"}']
    assert rows_of(values, ID).nbytes == sum(len(value or b"") for value in values)


def test_a_mended_record_is_passed_on_with_its_own_payload() -> None:
    (record,) = rows_of([b'{"id":"a\xff"}'], ID).records
    assert record.value() == b'{"id":"a\xff"}'


def test_a_record_of_a_version_is_mended_by_the_columns_of_that_version() -> None:
    moved = [{**ID, "path": "key"}, {**TEXT, "path": "text", "on_bad": "replace"}]
    rows = rows_of(
        [b'{"v":2,"key":"a\xff","text":"b\xff"}', b'{"id":"c\xff","t":"d\xff"}'],
        *(ID, TEXT),
        version_field="v",
        contract=[{"version": 2, "column": moved}],
    )
    assert rows.columns.to_pylist() == [{"id": "a", "t": "b\ufffd"}, {"id": "c", "t": "d"}]


def test_new_fields_of_mended_records_are_told() -> None:
    rows = rows_of([b'{"id":"a\xff","more":7}'], ID, on_new_field="evolve")
    assert rows.new_fields == {"more": "int8"} and rows.dead == []
