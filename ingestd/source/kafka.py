"""Partitions of one topic as chunks of records, from exact offsets. Knows no decoding and no database."""

import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any, cast

from confluent_kafka import (
    OFFSET_INVALID,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from ingestd.batch import Chunk, Record, Tile
from ingestd.config import options as cfg
from ingestd.errors import Halt, Retryable

CHUNK_RECORDS = 2_000
_METADATA_TIMEOUT_SECS = 10
_PAUSE_SECS = 0.1
_CHECK_TOPIC_SECS = 1.0
_CHECK_IDLE_TOPIC_SECS = 10.0
_IDLE_TIMEOUT_SECS = 2

# These guard exactly-once: a user's property of the same name is refused when the file is loaded.
_OWN_SETTINGS = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",  # the default jumps to the end without a word
    "isolation.level": "read_committed",
    "enable.partition.eof": False,
}


def client_settings(kafka: cfg.Kafka) -> dict[str, Any]:
    """librdkafka settings that every client of ingestd shares: address, identity, the user's properties."""
    return {"bootstrap.servers": kafka.bootstrap_servers, "client.id": "ingestd", **kafka.properties}


class KafkaSource:
    """Reads from assigned partitions at the ledger's offsets; a group id only names it, it never joins the group.

    Not for two threads at once, but for `close`.
    """

    def __init__(self, kafka: cfg.Kafka, pipeline: cfg.Pipeline, prefetch_bytes: int):
        self._pipeline = pipeline
        self._topic = pipeline.topic
        self._chunk_records = min(CHUNK_RECORDS, pipeline.batch.max_rows)
        settings = {
            "queued.max.messages.kbytes": max(1024, prefetch_bytes // 1024),
            "fetch.queue.backoff.ms": 5,  # librdkafka's 1,000 would starve a fast reader with a small queue
            "fetch.wait.max.ms": 1_000,
            "fetch.error.backoff.ms": 100,
            "reconnect.backoff.max.ms": 2_000,
            "log_level": 2,  # its own lines on stderr would break "one event, one line"
            **client_settings(kafka),
            "group.id": kafka.group_id,
            **_OWN_SETTINGS,
        }
        self._settings = {**client_settings(kafka), "log_level": 2}
        try:
            self._consumer = Consumer(settings)
        except KafkaException as error:
            raise Halt(f"kafka.properties: {error.args[0].str()}; mend the configuration, then reload (HUP)") from error
        self._next: dict[int, int] = {}
        self._pending: list[Message] = []
        self._admin: AdminClient | None = None
        self._topic_id = ""
        self._checked_at = self._delivered_at = 0.0

    def seek(self, starts: dict[int, int], topic_id: str = "") -> None:
        """Read these partitions from these offsets on; replaces what was read before.

        `topic_id` is the topic's id at the claim: records of a topic that was created again under the same name are
        not delivered. "" where the broker tells none.
        """
        self._topic_id = topic_id
        self._checked_at = time.monotonic()
        self._next = dict(starts)
        self._consumer.assign([TopicPartition(self._topic, p, offset) for p, offset in starts.items()])

    def next_chunk(self, timeout_secs: float) -> tuple[Chunk | None, bool]:
        """(chunk or None when there is nothing, whether more is probably at hand).

        A chunk without records moves a cursor over a hole (control records, aborted transactions).
        Raises: Halt for a partition that cannot be read on without a decision, Retryable for the rest.
        """
        if self._pending:
            self._raise_for(self._pending.pop(0))
        first = self._consumer.poll(timeout_secs)
        if first is None:
            self._check_idle_topic()
            return self._checked(self._chunk([])), False
        # consume(n, t) would wait out its whole t; with 0 it takes what is there.
        records = [first, *self._consumer.consume(self._chunk_records - 1, 0)]
        more = len(records) == self._chunk_records
        if any(map(Message.error, records)):
            self._pending = [record for record in records if record.error()]
            records = [record for record in records if not record.error()]
        return self._checked(self._chunk(records)), more

    def _checked(self, chunk: Chunk | None) -> Chunk | None:
        """The chunk, unless the topic was created again: the client follows the name, but offsets mean nothing there.

        Asks after every pause in the flow, which a re-creation cannot do without, and once a second: 1 ms.
        """
        if chunk is None or not self._topic_id:
            return chunk
        now = time.monotonic()
        paused, self._delivered_at = now - self._delivered_at > _PAUSE_SECS, now
        if not paused and now - self._checked_at < _CHECK_TOPIC_SECS:
            return chunk
        found, _ = self.topic_state()
        self._checked_at = self._delivered_at = time.monotonic()
        self._require_same(found)
        return chunk

    def _check_idle_topic(self) -> None:
        """A client that knows later leader epochs reads nothing of a topic that was created again, and says nothing."""
        now = time.monotonic()
        if not self._topic_id or now - self._checked_at < _CHECK_IDLE_TOPIC_SECS:
            return
        self._checked_at = now
        try:
            found, _ = self.topic_state(_IDLE_TIMEOUT_SECS)
        except Retryable:
            return  # no answer is no other topic: the client itself waits for the broker
        self._require_same(found)

    def _require_same(self, found: str) -> None:
        if found != self._topic_id:
            raise Retryable(f"topic {self._topic} was deleted and created again (id {self._topic_id} became {found})")

    def _chunk(self, records: list[Message]) -> Chunk | None:
        """The chunk up to `position()`, which also counts what is not a record."""
        tiles = []
        for at in self._consumer.position([TopicPartition(self._topic, p) for p in self._next]):
            start = self._next[at.partition]
            if at.offset != OFFSET_INVALID and at.offset > start:
                tiles.append(Tile(at.partition, start, at.offset))
                self._next[at.partition] = at.offset
        return Chunk(tiles, cast(Sequence[Record], records)) if tiles else None

    def _raise_for(self, message: Message) -> None:
        error = message.error()
        assert error is not None
        partition = message.partition()
        if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE) and partition is not None:
            raise OffsetGone(partition, self._next.get(partition, -1))
        if error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_PARTITION, KafkaError._UNKNOWN_TOPIC):
            raise Retryable(f"topic {self._topic} not found (partition {partition}); create it, or mend pipeline.topic")
        raise Retryable(f"Kafka, {self._topic}-{partition}: {error.str()}")

    def watermarks(self, partition: int) -> tuple[int, int]:
        """(log start, log end) now. Raises: Retryable."""
        try:
            return self._consumer.get_watermark_offsets(
                TopicPartition(self._topic, partition), timeout=_METADATA_TIMEOUT_SECS
            )
        except KafkaException as error:
            raise Retryable(f"Kafka, {self._topic}-{partition}: {error.args[0].str()}") from error

    def topic_state(self, timeout_secs: float | None = None) -> tuple[str, list[int]]:
        """(topic id, partitions); the id is "" where the broker tells none. Raises: Retryable."""
        try:
            asked_secs = _METADATA_TIMEOUT_SECS if timeout_secs is None else timeout_secs
            self._admin = self._admin or AdminClient(self._settings)
            wanted = self._admin.describe_topics(TopicCollection([self._topic]), request_timeout=asked_secs)
            found = wanted[self._topic].result()
        except KafkaException as error:
            if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise Retryable(f"topic {self._topic} not found; create it, or mend pipeline.topic") from error
            place = f"Kafka at {self._settings['bootstrap.servers']}, topic {self._topic}"
            raise Retryable(f"{place}: {error.args[0].str()}; `ingestd check` says what is wrong") from error
        return str(found.topic_id), [partition.id for partition in found.partitions]

    def start_offsets(self, partitions: Sequence[int], start: str) -> dict[int, int]:
        """Where a first run begins: `start` as in the configuration. Raises: Retryable."""
        if start == "earliest":
            return {p: self.watermarks(p)[0] for p in partitions}
        if start == "latest":
            return {p: self.watermarks(p)[1] for p in partitions}
        try:
            if start == "committed":
                asked = [TopicPartition(self._topic, p) for p in partitions]
                found = self._told(self._consumer.committed(asked, timeout=_METADATA_TIMEOUT_SECS))
                # A partition the older consumer never committed: from the beginning, so that nothing is lost.
                return {t.partition: t.offset if t.offset >= 0 else self.watermarks(t.partition)[0] for t in found}
            at_ms = int(datetime.fromisoformat(start).timestamp() * 1000)
            # Asked first: a record that arrives after the second question is not before the end.
            ends = {p: self.watermarks(p)[1] for p in partitions}
            asked = [TopicPartition(self._topic, p, at_ms) for p in partitions]
            found = self._told(self._consumer.offsets_for_times(asked, timeout=_METADATA_TIMEOUT_SECS))
            return {t.partition: t.offset if t.offset >= 0 else ends[t.partition] for t in found}
        except KafkaException as error:
            raise Retryable(f"Kafka, topic {self._topic}: {error.args[0].str()}") from error

    def _told(self, answers: list[TopicPartition]) -> list[TopicPartition]:
        """`answers`, none of which is an error: its offset would be the question's own number."""
        for answer in answers:
            if answer.error is not None:
                raise Retryable(f"Kafka, {self._topic}-{answer.partition}: {answer.error.str()}")
        return answers

    def close(self) -> None:
        """Leave; nothing is committed to the group from here."""
        self._consumer.close()


class OffsetGone(Retryable):
    """The broker has no record at the cursor: the claim that follows finds out why, and halts or goes on."""

    def __init__(self, partition: int, next_offset: int):
        super().__init__(f"partition {partition}: the broker has nothing at offset {next_offset}")
        self.partition = partition


def check_position(source: KafkaSource, topic: str, partition: int, next_offset: int, ids: tuple[str, str]) -> None:
    """Whether reading may go on at `next_offset`; `ids` are the topic's id in the ledger and now.

    Raises: Halt with the command that decides, when the topic was re-created, when retention removed unread
    records, or when the cursor is beyond the end.
    """
    decide = f"decide with `ingestd offsets reset --partition {partition} --to earliest` (or latest, or an offset)"
    place = f"{topic}-{partition}"
    then, now = ids
    if then and now and then != now:
        said = f"{place}: the topic was deleted and created again (id {then} became {now}); offsets start anew"
        raise Halt(f"{said}; {decide}", [partition])
    low, high = source.watermarks(partition)
    if next_offset < low:
        lost = low - next_offset
        said = f"{place}: retention removed {lost} unread offsets (cursor {next_offset}, log starts at {low})"
        raise Halt(f"{said}; {decide}", [partition])
    if next_offset > high:
        said = f"{place}: the cursor {next_offset} lies beyond the log end {high}"
        raise Halt(f"{said}; {decide}", [partition])
