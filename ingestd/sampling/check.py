"""`ingestd check --sample`: what would become of real records, as findings. Keeps nothing anywhere."""

from collections.abc import Iterator, Sequence

from ingestd.accounting.books import open_books
from ingestd.batch import Counts, DeadLetter
from ingestd.config import options as cfg
from ingestd.config.topics import has_many_topics
from ingestd.decode.decoder import make_decoder
from ingestd.errors import Halt, Retryable, StartupError
from ingestd.preflight.findings import Finding, State
from ingestd.preflight.kafka import find_topics
from ingestd.preflight.topics import by_topic, known_pipelines
from ingestd.sampling.read import Sample, as_chunk, read_samples
from ingestd.source.kafka import KafkaSource
from ingestd.stores.known_columns import waits_for_columns
from ingestd.stores.open import is_sqlite
from ingestd.stores.store import LedgerKey

EXAMPLES = 20
_PREFETCH_BYTES = 4 << 20
_FATES = ("inserted", "updated", "stale", "folded", "duplicates", "deleted", "passed")


def try_samples(config: cfg.Config, count: int) -> Iterator[Finding]:
    """Findings on `count` records of every partition of every pipeline, decoded, written and rolled back."""
    if any(map(has_many_topics, config.pipeline)):
        config = by_topic(config, find_topics(config) or {})
    for pipeline in known_pipelines(config).pipeline:
        try:
            yield from _try(config, pipeline, count)
        except (Retryable, Halt) as error:
            yield Finding(State.FAIL, f"sample {pipeline.topic}", str(error))


def _try(config: cfg.Config, pipeline: cfg.Pipeline, count: int) -> Iterator[Finding]:
    subject = f"sample {pipeline.topic}"
    source = KafkaSource(config.kafka, pipeline, _PREFETCH_BYTES)
    try:
        samples = read_samples(source, pipeline.topic, _starts(config, pipeline, source), count)
    finally:
        source.close()
    if not any(sample.records for sample in samples):
        yield Finding(State.WARN, subject, "no records yet", "produce some and check again")
        return
    if waits_for_columns(pipeline):
        yield Finding(State.OK, subject, "its columns come from its first event; run it once first")
        return
    rows = make_decoder(pipeline, config.schema_registry)(as_chunk(samples))
    if not is_sqlite(config.store):
        from ingestd.sampling.trial import try_rows

        outcome = try_rows(config.store, pipeline, rows)
        yield from _findings(pipeline, samples, outcome.counts, outcome.dead, "decoded, written, rolled back")
        return
    from ingestd.sampling.trial_copy import try_on_copy

    if copied := try_on_copy(config.store, pipeline, rows):
        yield from _findings(pipeline, samples, copied.counts, copied.dead, "decoded, written into a copy of the file")
        return
    counts = {s.partition: _decoded(s, rows.dead) for s in samples}
    yield from _findings(pipeline, samples, counts, rows.dead, "decoded")
    yield Finding(State.WARN, subject, "decoded only: the SQLite file is too large to be copied for a trial")


def _starts(config: cfg.Config, pipeline: cfg.Pipeline, source: KafkaSource) -> dict[int, int | None]:
    """Where each partition would be read on, or first: the cursor, else `start`."""
    partitions = source.topic_state()[1]
    cursors = _cursors(config, pipeline)
    new = [p for p in partitions if p not in cursors]
    first = source.start_offsets(new, pipeline.start) if new else {}
    return {p: cursors.get(p, first.get(p)) for p in partitions}


def _cursors(config: cfg.Config, pipeline: cfg.Pipeline) -> dict[int, int]:
    try:
        with open_books(config.store) as books:
            found = books.cursors(LedgerKey(pipeline.name, pipeline.topic))
    except StartupError:  # no ledger yet: the first run makes it
        return {}
    return {partition: next_offset for partition, (next_offset, _) in found.items()}


def _decoded(sample: Sample, dead: Sequence[DeadLetter]) -> Counts:
    mine = sum(letter.partition == sample.partition for letter in dead)
    return Counts(records=len(sample.records), dead=mine)


def _findings(
    pipeline: cfg.Pipeline,
    samples: Sequence[Sample],
    counts: dict[int, Counts],
    dead: Sequence[DeadLetter],
    what: str,
) -> Iterator[Finding]:
    for sample in samples:
        subject = f"sample {pipeline.topic}-{sample.partition}"
        if not sample.records:
            yield Finding(State.OK, subject, "no records")
            continue
        fates = counts.get(sample.partition, Counts())
        parts = [f"{number} {name}" for name in _FATES if (number := getattr(fates, name))]
        parts += [f"{fates.dead} refused"] if fates.dead else []
        span = f"offsets {sample.start} to {sample.end - 1}"
        said = f"{len(sample.records)} records ({span}) {what}: {', '.join(parts) or 'all good'}"
        yield Finding(State.WARN if fates.dead else State.OK, subject, said)
    for letter in sorted(dead, key=lambda one: (one.partition, one.offset))[:EXAMPLES]:
        column = f"column {letter.column}: " if letter.column else ""
        state = f" ({letter.sqlstate})" if letter.sqlstate else ""
        place = f"{pipeline.topic}-{letter.partition} offset {letter.offset}"
        yield Finding(State.WARN, place, _printable(f"would be a dead letter: {column}{letter.reason}{state}"))
    if len(dead) > EXAMPLES:
        yield Finding(State.WARN, f"sample {pipeline.topic}", f"{len(dead) - EXAMPLES} more would be dead letters")


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
