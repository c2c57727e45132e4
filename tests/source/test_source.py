"""Reading from exact offsets on the real broker: holes, gaps, re-created topics, first offsets."""

import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from ingestd.batch import Tile
from ingestd.embedded.kafka import KafkaServer
from ingestd.errors import Halt, Retryable
from ingestd.source.kafka import KafkaSource, OffsetGone, check_position
from tests.fix_servers import MakeTopic, Produce
from tests.source.conftest import MakeSource, read_until


def _raised(source: KafkaSource, kind: type[Exception], secs: float = 15) -> Exception:
    deadline = time.monotonic() + secs
    while time.monotonic() < deadline:
        try:
            source.next_chunk(0.2)
        except kind as error:
            return error
    raise AssertionError(f"no {kind.__name__}")


def _tiling(tiles: list[Tile], partition: int = 0) -> list[tuple[int, int]]:
    mine = [tile for tile in tiles if tile.partition == partition]
    assert all(one.end == other.start for one, other in pairwise(mine))
    return [(mine[0].start, mine[-1].end)]


def _transaction(producer: Producer, topic: str, values: list[bytes], commit: bool) -> None:
    producer.begin_transaction()
    for value in values:
        producer.produce(topic, value)
    if commit:
        producer.commit_transaction()
    else:
        producer.flush()
        producer.abort_transaction()


def test_position_passes_aborted_transactions_and_control_records(
    kafka: KafkaServer, topic: MakeTopic, source: MakeSource
) -> None:
    name = topic()
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "transactional.id": name})
    producer.init_transactions()
    _transaction(producer, name, [b"c"] * 5, commit=True)  # 0-4, marker 5
    _transaction(producer, name, [b"a"] * 5, commit=False)  # 6-10, marker 11
    _transaction(producer, name, [b"d"] * 3, commit=True)  # 12-14, marker 15
    _transaction(producer, name, [b"a"] * 4, commit=False)  # 16-19, marker 20
    one = source(name)
    one.seek({0: 0})
    records, tiles = read_until(one, {0: 21})
    assert [record.offset() for record in records] == [0, 1, 2, 3, 4, 12, 13, 14]
    assert _tiling(tiles) == [(0, 21)]
    check_position(one, name, 0, 21, ("", ""))


def test_chunk_of_aborted_records_only_is_an_empty_tile(
    kafka: KafkaServer, topic: MakeTopic, source: MakeSource
) -> None:
    name = topic()
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "transactional.id": name})
    producer.init_transactions()
    _transaction(producer, name, [b"a"] * 4, commit=False)
    one = source(name)
    one.seek({0: 0})
    assert read_until(one, {0: 5}) == ([], [Tile(0, 0, 5)])


def test_open_transaction_is_not_read_before_it_commits(
    kafka: KafkaServer, topic: MakeTopic, source: MakeSource, produce: Produce
) -> None:
    name = topic()
    produce(name, [b"before"])
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "transactional.id": name})
    producer.init_transactions()
    producer.begin_transaction()
    producer.produce(name, b"open")
    producer.flush()
    produce(name, [b"after"])
    one = source(name)
    one.seek({0: 0})
    records, _ = read_until(one, {0: 1})
    assert [record.value() for record in records] == [b"before"]
    assert one.next_chunk(0.3) == (None, False)
    assert one.watermarks(0) == (0, 1)
    producer.commit_transaction()
    records, _ = read_until(one, {0: 4})
    assert [record.value() for record in records] == [b"open", b"after"]


def test_several_partitions_from_their_own_offsets(topic: MakeTopic, source: MakeSource, produce: Produce) -> None:
    name = topic(3)
    for partition in range(3):
        produce(name, [b"%d" % n for n in range(5_000)], partition)
    one = source(name)
    one.seek({0: 10, 2: 4_000})
    records, tiles = read_until(one, {0: 5_000, 2: 5_000})
    assert _tiling(tiles, 0) == [(10, 5_000)]
    assert _tiling(tiles, 2) == [(4_000, 5_000)]
    for partition, start in ((0, 10), (2, 4_000)):
        assert [r.offset() for r in records if r.partition() == partition] == list(range(start, 5_000))
    assert all(record.partition() != 1 for record in records)


def test_record_larger_than_the_prefetch_is_read(topic: MakeTopic, source: MakeSource, produce: Produce) -> None:
    name = topic(max_message_bytes="8000000")
    produce(name, [b"x" * 900_000] * 9)
    one = source(name, prefetch_bytes=1024)
    one.seek({0: 0})
    records, _ = read_until(one, {0: 9})
    assert [len(record.value() or b"") for record in records] == [900_000] * 9


def test_lone_record_is_read_in_tens_of_milliseconds(topic: MakeTopic, source: MakeSource, produce: Produce) -> None:
    name = topic()
    one = source(name)
    one.seek({0: 0})
    one.next_chunk(0.5)
    waits = []
    for n in range(10):
        produce(name, [b"x"])
        began = time.monotonic()
        read_until(one, {0: n + 1})
        waits.append(time.monotonic() - began)
    assert sorted(waits)[5] < 0.1


def _delete_below(admin: AdminClient, name: str, offset: int) -> None:
    place = TopicPartition(name, 0, offset)
    admin.delete_records([place])[place].result(10)


def test_gap_by_retention_is_told_and_halts_with_the_command(
    topic: MakeTopic, source: MakeSource, produce: Produce, admin: AdminClient
) -> None:
    name = topic()
    produce(name, [b"x"] * 50)
    _delete_below(admin, name, 20)
    one = source(name)
    one.seek({0: 10})
    gone = _raised(one, OffsetGone)
    assert isinstance(gone, Retryable) and "nothing at offset 10" in str(gone)
    with pytest.raises(Halt, match="retention removed 10 unread offsets") as halt:
        check_position(one, name, 0, 10, ("", ""))
    assert f"{name}-0" in str(halt.value)
    assert "ingestd offsets reset --partition 0 --to earliest" in str(halt.value)
    assert halt.value.partitions == (0,)
    check_position(one, name, 0, 20, ("", ""))


def test_gap_that_opens_while_reading_is_told(
    topic: MakeTopic, source: MakeSource, produce: Produce, admin: AdminClient
) -> None:
    name = topic()
    produce(name, [b"x"] * 50)
    one = source(name)
    one.seek({0: 0})
    read_until(one, {0: 50})
    produce(name, [b"y" * 1000] * 20_000)
    _delete_below(admin, name, 20_050)
    seen: list[Any] = []
    deadline = time.monotonic() + 20
    with pytest.raises(OffsetGone):
        while time.monotonic() < deadline:
            chunk, _ = one.next_chunk(0.2)
            seen += chunk.tiles if chunk else []
            if seen and seen[-1].end == 20_050:
                pytest.skip("everything had been prefetched before the records were deleted")
    assert not seen or _tiling(seen)[0][0] == 50


def test_cursor_beyond_the_end_halts(topic: MakeTopic, source: MakeSource, produce: Produce) -> None:
    name = topic()
    produce(name, [b"x"] * 5)
    one = source(name)
    one.seek({0: 99})
    assert isinstance(_raised(one, OffsetGone), OffsetGone)
    with pytest.raises(Halt, match="the cursor 99 lies beyond the log end 5"):
        check_position(one, name, 0, 99, ("", ""))


def test_topic_created_again_halts(topic: MakeTopic, source: MakeSource, produce: Produce, admin: AdminClient) -> None:
    name = topic()
    produce(name, [b"old"] * 5)
    one = source(name)
    before, partitions = one.topic_state()
    assert before and partitions == [0]
    _create_again(name, admin)
    produce(name, [b"new"] * 9)
    after, _ = one.topic_state()
    assert after != before
    with pytest.raises(Halt, match="deleted and created again"):
        check_position(one, name, 0, 5, (before, after))


def test_topic_created_again_is_not_missed_while_nothing_is_delivered(
    topic: MakeTopic, source: MakeSource, admin: AdminClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = topic()
    one = source(name)
    one.seek({0: 0}, one.topic_state()[0])
    _create_again(name, admin)
    assert one.next_chunk(0)[0] is None, "not asked yet"
    monkeypatch.setattr("ingestd.source.kafka._CHECK_IDLE_TOPIC_SECS", 0.0)
    with pytest.raises(Retryable, match="deleted and created again"):
        one.next_chunk(0)


def _create_again(name: str, admin: AdminClient) -> None:
    admin.delete_topics([name])[name].result(10)
    deadline = time.monotonic() + 10
    while name in admin.list_topics(timeout=5).topics:
        assert time.monotonic() < deadline
    admin.create_topics([NewTopic(name, 1, 1)])[name].result(10)


def test_reader_does_not_go_on_in_a_topic_created_again(
    topic: MakeTopic, source: MakeSource, produce: Produce, admin: AdminClient
) -> None:
    """The offsets mean other records now; those below the position would be skipped without a word."""
    name = topic()
    produce(name, [b"old"] * 5)
    one = source(name)
    one.seek({0: 0}, one.topic_state()[0])
    read_until(one, {0: 5})
    _create_again(name, admin)
    produce(name, [b"new"] * 9)
    deadline = time.monotonic() + 20
    with pytest.raises((Retryable, Halt)):
        while time.monotonic() < deadline:
            chunk, _ = one.next_chunk(0.2)
            assert chunk is None, f"read on: {chunk.tiles}"


@pytest.mark.parametrize("ask", [lambda s: s.topic_state(), lambda s: s.start_offsets([0], "earliest")])
def test_missing_topic_is_retried(source: MakeSource, ask: Callable[[KafkaSource], object]) -> None:
    with pytest.raises(Retryable):
        ask(source("there-is-no-such-topic"))


def test_missing_topic_is_named_with_what_to_do(source: MakeSource) -> None:
    with pytest.raises(Retryable, match="topic there-is-no-such-topic not found; create it, or mend"):
        source("there-is-no-such-topic").topic_state()


def test_missing_partition_is_retried(topic: MakeTopic, source: MakeSource) -> None:
    one = source(topic())
    with pytest.raises(Retryable):
        check_position(one, "t", 7, 0, ("", ""))
    with pytest.raises(Retryable):
        one.start_offsets([0, 7], "2020-01-01T00:00:00+00:00")


def test_first_offsets(
    kafka: KafkaServer, topic: MakeTopic, source: MakeSource, produce: Produce, admin: AdminClient
) -> None:
    name = topic(2)
    produce(name, [b"x"] * 10, 0)
    _delete_below(admin, name, 3)
    between_ms = int(time.time() * 1000) + 5
    while time.time() * 1000 <= between_ms:
        pass
    produce(name, [b"x"] * 5, 0)
    old = Consumer({"bootstrap.servers": kafka.bootstrap_servers, "group.id": name, "enable.auto.commit": False})
    old.commit(offsets=[TopicPartition(name, 0, 7)], asynchronous=False)
    old.close()
    one = source(name, group=name)
    assert one.start_offsets([0, 1], "earliest") == {0: 3, 1: 0}
    assert one.start_offsets([0, 1], "latest") == {0: 15, 1: 0}
    assert one.start_offsets([0, 1], "committed") == {0: 7, 1: 0}
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(between_ms // 1000)) + f".{between_ms % 1000:03}+00:00"
    assert one.start_offsets([0, 1], stamp) == {0: 10, 1: 0}
    assert one.start_offsets([0], "2100-01-01T00:00:00+00:00") == {0: 15}


def test_unknown_property_of_the_client_halts(kafka: KafkaServer) -> None:
    from ingestd.config import options as cfg
    from tests.sinks.contracts import pipeline_of

    options = cfg.Kafka(bootstrap_servers=kafka.bootstrap_servers, group_id="g", properties={"no.such.thing": "1"})
    with pytest.raises(Halt, match=r"kafka.properties: .*no\.such\.thing"):
        KafkaSource(options, pipeline_of({"id": "text"}), 1024)
