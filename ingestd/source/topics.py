"""Makes topics on a broker of our own. Knows no records."""

from collections.abc import Sequence

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from ingestd.config import options as cfg
from ingestd.errors import StartupError
from ingestd.source.kafka import client_settings

_ANSWER_SECS = 30


def create_missing_topics(kafka: cfg.Kafka, topics: Sequence[str], partitions: int) -> list[str]:
    """The topics that were missing and are there now.

    Raises: StartupError when the broker refuses.
    """
    admin = AdminClient({**client_settings(kafka), "log_level": 2})
    made = []
    for topic, answer in admin.create_topics([NewTopic(topic, partitions, 1) for topic in topics]).items():
        try:
            answer.result(_ANSWER_SECS)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise StartupError(f"topic {topic} cannot be created: {error.args[0].str()}") from error
        else:
            made.append(topic)
    return made
