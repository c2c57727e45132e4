"""Envelopes of change events: what was done to which row, and what is no change at all."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from ingestd.batch import DELETES, presence_of
from ingestd.config.options import Column
from ingestd.decode.decoder import make_decoder
from ingestd.errors import Halt
from ingestd.worker.truncates import TruncateOrder
from tests.debezium.changes import chunk_of, compact, copy_of, decoded, event, field, key_of, reasons

WORDS = [
    "op",
    "before",
    "after",
    "source",
    "schema",
    "payload",
    "id",
    "name",
    "type",
    "fields",
    "field",
    "lsn",
    "ts_ms",
]
ID = Column(name="id", type="int4")
NAME = Column(name="name", type="text")
FIELDS = [field("id", "int32", optional=False), field("name", "string")]
COPY = copy_of(ID, NAME)


@pytest.mark.parametrize("fields", [None, FIELDS])
def test_each_op_becomes_a_row_or_a_delete_of_its_key(fields: Any) -> None:
    rows = decoded(
        COPY,
        event("r", {"id": 1, "name": "Ada"}, fields=fields),
        event("c", {"id": 2, "name": None}, fields=fields),
        event("u", {"id": 2, "name": "Bo"}, {"id": 2, "name": None}, fields=fields),
        event("d", None, {"id": 1, "name": "kept by no one"}, fields=fields),
        event("c", {"id": 3, "name": "Cy"}, fields=fields),
    )
    assert not rows.dead and not rows.ignored
    assert rows.columns.column("id").to_pylist() == [1, 2, 2, 1, 3]
    assert rows.columns.column("name").to_pylist() == ["Ada", None, "Bo", None, "Cy"]
    assert rows.columns.column(DELETES).to_pylist() == [False, False, False, True, False]
    assert rows.columns.column(presence_of("name")).to_pylist() == [True, True, True, False, True]
    assert [record.offset() for record in rows.records] == [100, 101, 102, 103, 104]


@pytest.mark.parametrize("fields", [None, FIELDS])
@pytest.mark.parametrize("before", [None, {"id": None, "name": None}, {}])
def test_a_delete_without_the_key_in_before_takes_it_from_the_record(fields: Any, before: Any) -> None:
    keys = [key_of({"id": 7}, fields and FIELDS[:1])]
    rows = decoded(COPY, event("d", None, before, fields=fields), keys=keys)
    assert rows.columns.column("id").to_pylist() == [7]
    assert rows.columns.column(DELETES).to_pylist() == [True]


@pytest.mark.parametrize(
    "key", [{"schema": "a", "payload": 2}, {"schema": None, "payload": {"schema": "a", "payload": 2}}]
)
def test_a_key_may_have_columns_of_the_names_that_connect_uses(key: Any) -> None:
    columns = [Column(name="schema", type="text"), Column(name="payload", type="int4")]
    rows = decoded(copy_of(*columns, key=("schema", "payload")), event("d"), keys=[compact(key)])
    assert rows.columns.select(["schema", "payload"]).to_pylist() == [{"schema": "a", "payload": 2}]


def test_a_delete_whose_key_is_nowhere_is_refused() -> None:
    rows = decoded(COPY, event("d", None, None), event("d", None, {"id": 4}), keys=[None, None])
    assert rows.columns.column("id").to_pylist() == [4]
    assert set(reasons(rows)) == {0}


def test_events_that_tell_nothing_of_rows_are_passed_over_and_counted() -> None:
    begin = {"status": "BEGIN", "id": "571:1", "event_count": None, "data_collections": None, "ts_ms": 1}
    ended = begin | {"status": "END", "event_count": 2, "data_collections": []}
    silent = [
        None,
        compact({"ts_ms": 1_700_000_000_000}),
        compact({"schema": {"type": "struct"}, "payload": {"ts_ms": 1}}),
        compact(begin),
        compact({"schema": {"type": "struct"}, "payload": ended}),
        compact({"source": {}, "databaseName": "x", "schemaName": "y", "ddl": "ALTER", "tableChanges": []}),
        compact({"op": "m", "ts_ms": 1, "source": {}, "message": {"prefix": "p", "content": "eA=="}}),
        compact({"schema": None, "payload": None}),
    ]
    rows = decoded(COPY, *silent, event("c", {"id": 1, "name": "Ada"}))
    assert not rows.dead
    assert rows.ignored == [(3, 100 + n) for n in range(len(silent))]
    assert rows.columns.num_rows == len(rows.records) == 1


def test_a_truncate_is_carried_and_never_passed_over() -> None:
    rows = decoded(COPY, event("c", {"id": 1, "name": "Ada"}), event("t"), event("t", fields=FIELDS))
    assert rows.truncates == [(3, 101), (3, 102)]
    assert (rows.columns.num_rows, rows.dead, rows.ignored) == (1, [], [])


def test_a_worker_halts_at_a_truncate_in_one_of_several_partitions_only() -> None:
    order = TruncateOrder(COPY)
    decode = order.watching(make_decoder(COPY))
    order.topic_partitions = 2
    good = event("c", {"id": 1, "name": "Ada"})
    assert decode(chunk_of([good])).columns.num_rows == 1
    with pytest.raises(Halt, match=r"offset 101: .*truncated") as halted:
        decode(chunk_of([good, event("t"), good]))
    assert halted.value.partitions == (3,)
    order.topic_partitions = 1
    assert decode(chunk_of([good, event("t"), good])).truncates == [(3, 101)]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "empty value"),
        (b"{", "truncated"),
        (b"[1]", "no change event"),
        (b"null", "no change event"),
        (b'{"id":1,"name":"flat"}', "no op"),
        (b'{"id":1,"__deleted":"false","__op":"c"}', "ExtractNewRecordState"),
        (event("c"), "without a row"),
        (event("u", None, {"id": 1}), "without a row"),
        (event("x", {"id": 1}), "none that Debezium writes"),
        (b'{"op":1,"after":{"id":1}}', "expected str"),
        (b'{"op":"c","after":[1]}', "expected object"),
        (b'{"op":"c","after":"x"}', "expected object"),
        (b'{"op":"c","after":{"id":"1","name":"x"}}', "expected int"),
        (b'{"op":"c","after":{"name":"x"}}', "missing"),
        (b'{"op":"c","after":{"id":null,"name":"x"}}', "expected int"),
        (b'{"op":"c","after":{"id":1},"source":{"lsn":"x"}}', "expected int"),
        (b'{"op":"c","after":{"id":1},"source":3}', "expected object"),
        (b'{"op":"c","after":{"id":1,"name":"\xff"}}', "UTF-8"),
        (b'{"op":"c","after":{"id":1,"name":"x"}}}', "trailing"),
        (b'{"schema":{},"payload":{"op":"c","after":{"id":1,"name":"x"}}}', "schema"),
        (b'{"schema":{"type":"struct","fields":[]},"payload":{"op":"c","after":{"id":1}}}', "schema"),
        (b'{"schema":7,"payload":{"op":"c","after":{"id":1}}}', "schema"),
        (b"[" * 100_000, "no change event"),
        (b'{"op":"c","after":' + b"[" * 100_000, "nested"),
    ],
)
def test_a_hostile_envelope_is_a_dead_letter_and_leaves_its_neighbours_alone(value: bytes, reason: str) -> None:
    rows = decoded(COPY, event("c", {"id": 1, "name": "a"}), value, event("c", {"id": 2, "name": "b"}, fields=FIELDS))
    assert rows.columns.column("id").to_pylist() == [1, 2]
    assert list(reasons(rows)) == [1]
    assert reason in reasons(rows)[1][1]


def test_a_payload_that_closes_its_wrapping_early_cannot_forge_a_row() -> None:
    """Records with the schema of the one before are read from their payload on."""
    good = event("c", {"id": 1, "name": "a"}, fields=FIELDS)
    forged = good[:-1] + b',"payload":{"op":"d","before":{"id":1}}}'
    rows = decoded(COPY, good, good + b" ", good + b"}", good[:-1] + b"]", forged, good)
    assert set(reasons(rows)) == {2, 3}
    assert rows.columns.column(DELETES).to_pylist() == [False, False, True, False]


def test_the_lsn_is_kept_where_a_column_asks_for_it() -> None:
    pipeline = copy_of(ID, NAME, lsn_column="lsn")
    after = {"id": 1, "name": "a"}
    rows = decoded(pipeline, event("c", after, lsn=5), event("d", None, {"id": 1}, lsn=2**62), b'{"op":"c","after":{}}')
    assert rows.columns.column("lsn").to_pylist() == [5, 2**62]
    assert set(reasons(rows)) == {2}


def test_columns_from_elsewhere_in_the_record_work_beside() -> None:
    more = [
        Column(name="topic", type="text", source="topic"),
        Column(name="partition", type="int4", source="partition"),
        Column(name="offset", type="int8", source="offset"),
        Column(name="timestamp", type="int8", source="timestamp"),
        Column(name="key_id", type="int4", source="key", path="id"),
    ]
    rows = decoded(copy_of(ID, *more), event("c", {"id": 1}), event("d", None, {"id": 1}))
    assert rows.columns.select([column.name for column in more]).to_pylist() == [
        {"topic": "shop.public.orders", "partition": 3, "offset": n, "timestamp": 1_700_000_000_000 + n, "key_id": n}
        for n in (100, 101)
    ]


UNAVAILABLE = "__debezium_unavailable_value"


@pytest.mark.parametrize(
    ("column", "source", "placeholder"),
    [
        (Column(name="x", type="text"), field("x", "string"), UNAVAILABLE),
        (Column(name="x", type="jsonb"), field("x", "string", "io.debezium.data.Json"), UNAVAILABLE),
        (Column(name="x", type="bytea"), field("x", "bytes"), "X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="),
        (Column(name="x", type="text[]"), field("x", "array", items={"type": "string"}), [UNAVAILABLE]),
        (Column(name="x", type="int4[]"), field("x", "array", items={"type": "int32"}), list(UNAVAILABLE.encode())),
        (Column(name="x", type="jsonb"), field("x", "map"), {UNAVAILABLE: UNAVAILABLE}),
        (
            Column(name="x", type="jsonb"),
            field("x", "string", "io.debezium.data.Json"),
            json.dumps({UNAVAILABLE: UNAVAILABLE}, separators=(",", ":")),
        ),
        (Column(name="x", type="timestamptz[]"), field("x", "array", items={"type": "string"}), UNAVAILABLE),
    ],
)
@pytest.mark.parametrize("with_schema", [False, True])
def test_a_value_that_an_update_does_not_bring_is_absent_and_not_null(
    column: Column, source: Any, placeholder: Any, with_schema: bool
) -> None:
    fields = [FIELDS[0], source] if with_schema else None
    update = event("u", {"id": 1, "x": placeholder}, fields=fields)
    rows = decoded(copy_of(ID, column), update, event("u", {"id": 2, "x": None}, fields=fields))
    assert not rows.dead
    assert rows.columns.column("x").to_pylist() == [None, None]
    assert rows.columns.column(presence_of("x")).to_pylist() == [False, True]


@pytest.mark.parametrize("required", [False, True])
@pytest.mark.parametrize("op", ["c", "r"])
def test_a_new_row_without_a_toasted_value_is_refused_and_says_what_to_do(op: str, required: bool) -> None:
    name = Column(name="name", type="text", required=required)
    after = {"id": 1, "name": UNAVAILABLE}
    rows = decoded(copy_of(ID, name), event(op, after), event("u", after), event(op, {"id": 2, "name": "b"}))
    assert rows.columns.column("id").to_pylist() == [1, 2]
    assert reasons(rows)[0][0] == "name"
    assert "REPLICA IDENTITY FULL" in reasons(rows)[0][1]


def test_a_required_column_may_be_absent_and_never_null() -> None:
    name = Column(name="name", type="text", required=True)
    rows = decoded(
        copy_of(ID, name),
        event("u", {"id": 1, "name": UNAVAILABLE}),
        event("u", {"id": 2, "name": None}),
        event("u", {"id": 3}),
    )
    assert rows.columns.column("id").to_pylist() == [1, 3]
    assert reasons(rows) == {1: ("name", "expected str, got null")}


def test_a_text_that_contains_the_placeholder_is_a_text() -> None:
    value = f"see {UNAVAILABLE}"
    rows = decoded(COPY, event("c", {"id": 1, "name": value}), event("u", {"id": 1, "name": UNAVAILABLE + UNAVAILABLE}))
    assert rows.columns.column("name").to_pylist() == [value, UNAVAILABLE + UNAVAILABLE]


def test_the_placeholder_may_be_another_one() -> None:
    rows = decoded(
        copy_of(ID, NAME, unavailable='"?"'),
        event("u", {"id": 1, "name": '"?"'}),
        event("c", {"id": 2, "name": UNAVAILABLE}),
    )
    assert rows.columns.column("name").to_pylist() == [None, UNAVAILABLE]
    assert rows.columns.column(presence_of("name")).to_pylist() == [False, True]


def test_a_column_that_the_source_dropped_keeps_its_stored_value() -> None:
    rows = decoded(COPY, event("u", {"id": 1, "name": "a"}, fields=FIELDS), event("u", {"id": 1}, fields=FIELDS[:1]))
    assert rows.columns.column(presence_of("name")).to_pylist() == [True, False]


def test_fields_that_no_column_reads_are_kept_or_refused_where_asked_for() -> None:
    pipeline = structs.replace(copy_of(ID, Column(name="rest", type="jsonb")), unknown_column="rest")
    values = [event("c", {"id": 1, "name": "a"}), event("c", {"id": 2}), event("d", None, {"id": 1, "name": "a"})]
    kept = decoded(structs.replace(pipeline, unknown_fields="keep"), *values)
    assert kept.columns.column("rest").to_pylist() == ['{"name":"a"}', None, None]
    strict = structs.replace(copy_of(ID), unknown_fields="dead_letter")
    refused = decoded(strict, *values)
    assert refused.columns.column("id").to_pylist() == [2, 1]
    assert "unknown field" in reasons(refused)[0][1]


def test_schemas_may_change_within_a_chunk_and_the_order_stays() -> None:
    wider = [FIELDS[0] | {"type": "int64"}, field("name", "int32", "io.debezium.time.Date")]
    rows = decoded(
        COPY,
        event("c", {"id": 1, "name": "a"}, fields=FIELDS),
        event("c", {"id": 2, "name": 0}, fields=wider),
        event("d", None, {"id": 1}, fields=wider),
        event("c", {"id": 3, "name": "c"}, fields=FIELDS),
        event("c", {"id": 4, "name": "d"}),
    )
    assert rows.columns.column("id").to_pylist() == [1, 2, 1, 3, 4]
    assert rows.columns.column("name").to_pylist() == ["a", "1970-01-01", None, "c", "d"]


def test_columns_from_events_are_told_until_the_pipeline_has_them() -> None:
    keys = [key_of({"id": 1}, FIELDS[:1])]
    bare = copy_of(key=(), columns="from_events")
    rows = decoded(bare, event("c", {"id": 1, "name": "a"}, fields=FIELDS), keys=keys)
    assert rows.source_schema is not None
    assert [column.name for column in rows.source_schema.columns] == ["id", "name"]
    assert (rows.source_schema.key, rows.source_schema.name) == (("id",), "shop.public.orders")
    assert len(rows.records) == rows.columns.num_rows == 0

    partly = copy_of(ID, columns="from_events")
    assert decoded(partly, event("c", {"id": 1, "name": "a"}, fields=FIELDS), keys=keys).source_schema is not None
    full = copy_of(ID, NAME, columns="from_events")
    assert decoded(full, event("c", {"id": 1, "name": "a"}, fields=FIELDS), keys=keys).source_schema is None
    # An older version of the table is no news: a replay must not take columns away.
    assert decoded(full, event("c", {"id": 1}, fields=FIELDS[:1]), keys=keys).source_schema is None


def test_events_without_a_schema_cannot_make_columns() -> None:
    rows = decoded(copy_of(key=(), columns="from_events"), event("c", {"id": 1}), None)
    assert "schemas.enable=true" in reasons(rows)[0][1]
    assert rows.ignored == [(3, 101)]
    assert rows.source_schema is None


WHOLE = event("u", {"id": 1, "name": "a"}, {"id": 1, "name": "b"}, fields=[*FIELDS, field("x", "bytes")])
JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS) | st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(WHOLE)), st.integers(0, 3), st.binary(max_size=3)), max_size=4), JSONS, JSONS
)
def test_no_bytes_whatever_break_the_decoder_or_their_neighbours(
    cuts: list[tuple[int, int, bytes]], document: Any, row: Any
) -> None:
    broken = WHOLE
    for at, length, inserted in cuts:
        broken = broken[:at] + inserted + broken[at + length :]
    wild = [compact(document), compact({"op": "c", "after": row}), compact({"schema": document, "payload": row})]
    neighbour = event("c", {"id": 9, "name": "x"}, fields=FIELDS)
    values = [neighbour, broken, *wild, compact({"op": "d", "before": row}), neighbour]
    for pipeline in (COPY, copy_of(ID, Column(name="x", type="text"), lsn_column="lsn", columns="from_events")):
        rows = decoded(pipeline, *values, keys=[None, b"{}", *([compact(row)] * 4), None])
        places = [record.offset() for record in rows.records] + [letter.offset for letter in rows.dead]
        places += [offset for _, offset in rows.ignored + rows.truncates]
        assert sorted(places) == list(range(100, 107))
        ids = rows.columns.column("id").to_pylist()
        assert (ids[0], ids[-1]) == (9, 9)


def test_every_record_is_in_exactly_one_place() -> None:
    values = [event("c", {"id": 1, "name": "a"}), None, b"bad", event("t"), event("d", None, {"id": 1})]
    rows = decoded(COPY, *values)
    places = [(r.partition(), r.offset()) for r in rows.records] + [(d.partition, d.offset) for d in rows.dead]
    assert sorted(places + rows.ignored + rows.truncates) == [
        (3, record.offset()) for record in chunk_of(values).records
    ]
