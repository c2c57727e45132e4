"""What keeps a host from its partitions: no broker answers, topics are not there. Each is told once. Asks no broker."""

import time
from collections.abc import Mapping

from confluent_kafka import KafkaError

from ingestd.channel import Channel
from ingestd.logs import get_logger

log = get_logger()


class Troubles:
    """The one trouble there is now, in the log and to the supervisor; `text` is "" when there is none."""

    def __init__(self, channel: Channel, servers: str) -> None:
        self._channel = channel
        self._servers = servers
        self._kind = ""
        self.text = ""
        self.at = 0.0
        """When the text last changed, by the monotonic clock."""
        self.missing: frozenset[str] = frozenset()
        """Topics, and patterns, for which the broker had nothing when it was last asked."""

    def tell(self, text: str) -> None:
        """Say that this is wrong, or with "" that nothing is any more."""
        if text == self.text:
            return
        self.text = text
        self.at = time.monotonic()
        if text:
            log.warning("kafka trouble", reason=text)
        else:
            log.info("kafka trouble is over")
        self._channel.send({"event": "trouble", "text": text})

    def note_error(self, error: KafkaError) -> None:
        """State of the connection; said once per kind: texts differ by addresses and milliseconds."""
        down = error.code() in (KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError._TIMED_OUT)
        kind = "down" if down else error.name()
        # Whatever is wrong ends in "all brokers down" as well; the cause says more.
        if self.text and (down or kind == self._kind):
            return
        self._kind = kind
        self.tell(f"no broker answers at {self._servers}" if down else error.str())

    def note_topics(self, missing: frozenset[str], found: Mapping[str, list[int]]) -> None:
        """Say which topics and patterns have nothing at the broker, and which of them have come."""
        for topic in sorted(missing - self.missing):
            if "*" in topic:
                log.warning(f"no topic at {self._servers} matches {topic} yet; one that comes is read")
                continue
            hint = f"kafka-topics.sh --bootstrap-server {self._servers} --create --topic {topic} --partitions 4"
            log.error(f"topic {topic} not found at {self._servers}; create it: {hint}")
        for topic in sorted(self.missing - missing):
            log.info("topic found", topic=topic, **({"partitions": len(found[topic])} if topic in found else {}))
        self.missing = missing
        self.tell("topics not found: " + ", ".join(sorted(missing)) if missing else "")
