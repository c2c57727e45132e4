"""What is asked of the ledger before a topic of many is claimed for the first time. Knows no records and no Kafka."""

from ingestd.config import options as cfg
from ingestd.config.topics import OneOfMany, for_topic, reads_topic
from ingestd.errors import Halt
from ingestd.stores.store import Store
from ingestd.stores.topics import topics_on

LONGEST_NAME_BYTES = 63
"""PostgreSQL cuts longer ones without a word, and two of them may then be the same."""


def first_start(config: cfg.Config, pipeline: cfg.Pipeline, late: bool, store: Store) -> str:
    """Where the first claim of a topic begins: `pipeline.start`, but a topic that came later begins at its beginning.

    `late`: the topic came while the pipeline was running. Raises: Halt when another topic of the pipeline fills the
    same table already (cursors and versions are those of a topic: rows of two could never be told apart again), or
    when the table's name is too long. What `store` raises.
    """
    if not isinstance(pipeline, OneOfMany):
        return pipeline.start
    with store.deciding():
        known = topics_on(config.store, store.open(), pipeline.name)
    if pipeline.topic in known:
        return pipeline.start
    if pipeline.has_table():
        _require_own_table(next(one for one in config.pipeline if one.name == pipeline.name), pipeline, known)
    # Others were claimed twice: this is not the first run, and what came between two runs was not skipped on purpose.
    again = any(epoch > 1 for epoch in known.values())
    return "earliest" if pipeline.start == "latest" and (late or again) else pipeline.start


def _require_own_table(template: cfg.Pipeline, pipeline: cfg.Pipeline, known: dict[str, int]) -> None:
    table = pipeline.table.name
    if any(len(part.encode()) > LONGEST_NAME_BYTES for part in table.split(".", 1)):
        said = f"the table's name would be longer than {LONGEST_NAME_BYTES} bytes: {table}"
        raise Halt(f"topic {pipeline.topic}: {said}; shorten table.name, or give the topic a pipeline of its own")
    for other in known:
        if reads_topic(template, other) and for_topic(template, other).table.name == table:
            said = f"table {table} is filled from topic {other} already"
            raise Halt(f'topic {pipeline.topic}: {said}; write "{{topic}}" or "{{schema}}.{{table}}" as table.name')
