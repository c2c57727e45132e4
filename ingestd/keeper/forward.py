"""Duty: dead letters to a topic. Knows no election and no other duty.

From the table, never beside it, and marked only after the broker's reports: none is lost, and one whose mark was lost
(a crash, a database that went away) is sent again.
"""

from datetime import UTC, datetime
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from ingestd.config import options as cfg
from ingestd.errors import Halt, Retryable
from ingestd.source.kafka import client_settings
from ingestd.stores.dead_letters import Letter, Outbox

_LETTERS_AT_ONCE = 500
_BYTES_AT_ONCE = 8 * 1024 * 1024
_POLL_SECS = 0.5
_IDLE_SECS = 1.0
_MESSAGE_MAX_BYTES = 100 * 1024 * 1024
_TOO_LARGE = {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE}
_NO_TOPIC = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC}
_NOT_ALLOWED = {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED}


class Forward:
    """Sends the letters of one pipeline in batches, each marked before the next is read."""

    name = "forward dead letters"

    def __init__(self, kafka: cfg.Kafka, pipeline: cfg.Pipeline, outbox: Outbox):
        assert pipeline.dead_letters.topic is not None
        self._topic = pipeline.dead_letters.topic
        self._pipeline = pipeline
        self._outbox = outbox
        self._settings = {
            "message.timeout.ms": 30_000,
            "topic.metadata.propagation.max.ms": 5_000,  # a topic that is missing is said so after this
            "linger.ms": 5,
            **client_settings(kafka),
            "log_level": 2,  # its own lines on stderr would break "one event, one line"
            "enable.idempotence": True,
            "acks": "all",
            "message.max.bytes": _MESSAGE_MAX_BYTES,
        }
        self._producer: Producer | None = None
        self._sent: dict[int, KafkaError | None] = {}
        """By id, what the broker reported of the batch."""
        self._batch: list[Letter] = []
        self._alone: set[int] = set()
        """Letters that were too large together with others: the broker's limit is one of batches. Each goes alone."""
        self._bare: set[int] = set()
        """Letters that the broker did not take alone either: they go without their payload."""

    def turn(self) -> float:
        """Send a batch, or wait for the reports of the one before."""
        if not self._batch:
            letters = self._outbox.waiting("forwarded", _LETTERS_AT_ONCE, _BYTES_AT_ONCE)
            self._batch = [letter for letter in letters if letter.id in self._alone][:1] or letters
            self._sent = {}
            if not self._batch:
                return _IDLE_SECS
            self._send(self._batch)
        assert self._producer is not None
        self._producer.poll(_POLL_SECS)
        if len(self._sent) < len(self._batch):
            return 0.0
        return self._settle()

    def _settle(self) -> float:
        """Every letter of the batch has its report: mark those that are in the topic."""
        delivered = [number for number, error in self._sent.items() if error is None]
        if delivered:
            self._outbox.mark("forwarded", delivered)
        self._alone.difference_update(delivered)
        self._bare.difference_update(delivered)
        refused = {number: error for number, error in self._sent.items() if error is not None}
        was_alone = len(self._batch) == 1
        self._batch = []
        for number, error in refused.items():
            if error.code() not in _TOO_LARGE or number in self._bare:
                raise self._decision(error)
            self._alone.add(number)
            if was_alone:
                self._bare.add(number)
        return 0.0

    def _decision(self, error: KafkaError) -> Exception:
        if error.fatal():
            self.close()
        said = f"dead letters of {self._pipeline.name} to topic {self._topic}: {error.str()}"
        if error.code() in _NO_TOPIC:
            return Retryable(f"{said}; create the topic, they wait in the table")
        if error.code() in _NOT_ALLOWED:
            return Halt(f"{said}; allow this user to WRITE it, they wait in the table")
        return Retryable(f"{said}; they wait in the table")

    def _send(self, letters: list[Letter]) -> None:
        if self._producer is None:
            try:
                self._producer = Producer(self._settings)
            except KafkaException as error:
                self._batch = []
                raise Halt(f"kafka.properties: {error.args[0].str()}; mend the configuration, then reload") from error
        for letter in letters:
            self._send_one(self._producer, letter)

    def _send_one(self, producer: Producer, letter: Letter) -> None:
        def reported(error: KafkaError | None, _message: Any) -> None:
            self._sent[letter.id] = error

        bare = letter.id in self._bare
        payload = None if bare else letter.payload
        headers: list[tuple[str, str | bytes | None]] = [*(letter.headers or ()), *self._origin(letter)]
        if bare:
            headers.append(("ingestd.payload_left_out", f"{len(letter.payload or b'')} bytes".encode()))
        try:
            producer.produce(self._topic, payload, letter.key, headers=headers, on_delivery=reported)
        except KafkaException as error:  # refused before it was queued: larger than the client's limit
            self._sent[letter.id] = error.args[0]
        except BufferError:
            self._sent[letter.id] = KafkaError(KafkaError._QUEUE_FULL)

    def _origin(self, letter: Letter) -> list[tuple[str, bytes | None]]:
        found = {
            "pipeline": self._pipeline.name,
            "topic": letter.topic,
            "partition": str(letter.partition),
            "offset": str(letter.offset),
            "stage": letter.stage,
            "column": letter.column,
            "reason": letter.reason,
            "sqlstate": letter.sqlstate,
            "time": letter.dead_at.astimezone(UTC).isoformat(),
            "record_time": _iso(letter.record_time_ms),
        }
        return [(f"ingestd.{name}", value.encode()) for name, value in found.items() if value is not None]

    def close(self) -> None:
        """What is under way may still arrive; it is not marked, and is sent again."""
        if self._producer is not None:
            self._producer.purge()
            self._producer = None
        self._batch = []


def _iso(ms: int | None) -> str | None:
    return None if ms is None else datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")
