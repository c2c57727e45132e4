"""The proof by record: offsets that are neither a row nor a dead letter, and rows that no commit covers.

Knows no connection; the questions are asked by `ingestd.accounting.books`.
"""

from collections.abc import Sequence

from msgspec import Struct

from ingestd.accounting.account import Partition
from ingestd.accounting.books import Books, Lineage
from ingestd.accounting.ranges import Span, minus, overlap, size, union, written
from ingestd.config import options as cfg
from ingestd.stores.store import LedgerKey


class Traced(Struct):
    """What following every offset into the table gave."""

    problems: list[str]
    notes: list[str]
    exact: bool
    """Whether every offset was found to be a row, a dead letter, a counted duplicate or a hole."""


def lineage_of(pipeline: cfg.Pipeline) -> Lineage | None:
    """The columns that tell partition and offset of a row; None where a row stands for several records, or none."""
    if pipeline.table.mode not in ("append", "insert"):
        return None
    columns = {column.source: column.name for column in reversed(pipeline.column) if column.stored}
    if "partition" not in columns or "offset" not in columns:
        return None
    return Lineage(columns["partition"], columns["offset"], columns.get("topic"))


def trace(
    books: Books, key: LedgerKey, pipeline: cfg.Pipeline, lineage: Lineage, partitions: Sequence[Partition]
) -> Traced:
    """Follow every offset of `partitions` into the table."""
    if any(len({one.topic_id for one in account.ranges}) > 1 for account in partitions):
        return Traced([], ["the topic was created again: its offsets do not tell rows apart; by counts only"], False)
    traced = Traced([], [], True)
    missing: dict[int, list[Span]] = {}
    holes = 0
    for account in partitions:
        gaps = _gaps(books, key, pipeline.table.name, lineage, account, traced)
        missing[account.partition] = minus(gaps, union(account.holes))
        holes += max(0, account.assumed_holes)
    _judge(traced, key.topic, missing, holes, partitions)
    covered = {account.partition: account.covered for account in partitions}
    if strangers := books.strangers(key, pipeline.table.name, lineage, covered):
        shown = ", ".join(f"{key.topic}-{p} offset {o}" for p, o in strangers[:10])
        many = "100 or more" if len(strangers) == 100 else f"{len(strangers)}"
        traced.problems.append(f"table {pipeline.table.name}: {many} rows come from no committed offset: {shown}")
    return traced


def _gaps(books: Books, key: LedgerKey, table: str, lineage: Lineage, account: Partition, traced: Traced) -> list[Span]:
    """Committed offsets that are neither a row nor a dead letter; an offset that is there twice is a problem."""
    gaps, twice = [], []
    topic_id = account.ranges[-1].topic_id
    for step in books.steps(key, table, lineage, account.partition, topic_id, account.covered):
        if step.offset == step.next_offset:
            twice.append((step.offset, step.offset + 1))
        else:
            gaps.append((step.offset + 1, step.next_offset))
    # Only what was read once must be there once: a rebuild may have written again, and a mended record is a row too.
    if wrong := minus(union(twice), account.read_again):
        traced.problems.append(f"{key.topic}-{account.partition}: {written(wrong)}: there more than once")
    return overlap(union(gaps), account.covered)


def _judge(
    traced: Traced, topic: str, missing: dict[int, list[Span]], holes: int, partitions: Sequence[Partition]
) -> None:
    """Offsets without a row must be as many as the duplicates and dropped letters that were counted, and the holes
    that are assumed.
    """
    duplicates = sum(account.fates.duplicates for account in partitions)
    dropped = sum(account.fates.dropped for account in partitions)
    found = sum(size(spans) for spans in missing.values())
    lost = found - duplicates - dropped - holes
    names = "; ".join(f"{topic}-{p}: {written(spans)}" for p, spans in missing.items() if spans)
    if lost > 0 and lost == found:
        traced.problems.append(f"{lost} offsets are neither a row nor a dead letter: {names}")
    elif lost > 0:
        others = {"counted duplicates": duplicates, "dropped dead letters": dropped, "assumed holes": holes}
        rest = " and ".join(f"{number} {what}" for what, number in others.items() if number)
        traced.problems.append(f"{lost} offsets are unaccounted for, among these {found} ({rest} aside): {names}")
    elif lost < 0 and not any(account.read_again for account in partitions):
        traced.problems.append(
            f"{-lost} offsets are rows although they were counted as duplicates, as dropped or as no record"
        )
    elif lost < 0:
        traced.exact = False
        traced.notes.append("offsets were read again: their duplicates were counted then; those are by counts only")
    traced.exact = traced.exact and lost <= 0
