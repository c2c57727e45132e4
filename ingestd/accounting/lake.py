"""The account of a lake: rows that were counted, rows of the manifest, files that are there. Prints nothing.

Files come and go while it looks. So whatever seems wrong is looked at again, in a later snapshot of the store; what is
told was wrong both times.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise

from msgspec import Struct

from ingestd.accounting.account import Partition, examine_partition
from ingestd.accounting.books import Books, open_books
from ingestd.accounting.lake_files import examine_files
from ingestd.accounting.ranges import Span, minus, overlap, union, written
from ingestd.config import options as cfg
from ingestd.lake.merging.cleaning import RETENTION
from ingestd.lake.merging.turnover import room_of
from ingestd.lake.open import open_place
from ingestd.stores.manifest import LAKE_GROUP, REPLACED, LakeFile
from ingestd.stores.store import LedgerKey

_COLUMNS = "id, topic, partition, range_start, range_end, directory, name, staged, rows, nbytes, footer, state, made_by"
_MINE = "FROM ingestd.lake_files WHERE pipeline = :pipeline"


class LakeReport(Struct):
    """What `ingestd verify` says of one pipeline's lake."""

    pipeline: str
    url: str
    deep: bool
    """Whether every row was read, with the checksums of its pages."""
    files: int = 0
    rows: int = 0
    nbytes: int = 0
    expired_rows: int = 0
    """Of files that were removed by age."""
    problems: list[str] = []
    notes: list[str] = []


class _Snapshot(Struct):
    """The manifest and the lake's cursors, of one moment."""

    files: list[LakeFile]
    """Also those that are replaced."""
    replaced_by: dict[int, str]
    waiting: set[int]
    """Replaced, and not yet removed."""
    partitions: dict[str, list[Partition]]
    """By topic."""


def verify_lake(config: cfg.Config, pipelines: Sequence[cfg.Pipeline], deep: bool = False) -> LakeReport:
    """The account of the lake that these pipelines share: one pipeline, for each of its topics.

    Raises: StartupError when the store cannot be read; Retryable or Halt of the place.
    """
    first = pipelines[0]
    assert first.lake is not None
    place = open_place(first.lake)
    report = LakeReport(first.name, place.url, deep)
    before: set[str] | None = None
    for _ in range(2):
        with open_books(config.store) as books:
            if not books.exists("ingestd.lake_files"):
                report.notes = ["nothing was written to it yet"]
                return report
            seen = _snapshot(books, first.name, [one.topic for one in pipelines])
        live = [file for file in seen.files if file.state != REPLACED]
        gone = [file for file in seen.files if file.state == REPLACED]
        problems, report.notes = examine_files(place, live, gone, seen.waiting, deep)
        found = [*_accounts(seen), *_compactions(seen), *problems]
        report.problems = [problem for problem in found if before is None or problem in before]
        if not report.problems:
            break
        before = set(report.problems)
    report.files, report.rows = len(live), sum(file.rows for file in live)
    report.nbytes = sum(file.nbytes for file in live)
    report.expired_rows = sum(file.rows for file in gone if seen.replaced_by[file.id] == RETENTION)
    if report.expired_rows:
        report.notes.append(f"{report.expired_rows} rows were removed by age (lake.retention)")
    return report


def _snapshot(books: Books, pipeline: str, topics: Sequence[str]) -> _Snapshot:
    names = LakeFile.__struct_fields__
    rows = books.ask(f"SELECT {_COLUMNS} {_MINE} ORDER BY id", pipeline=pipeline)
    gone = f"SELECT id, coalesce(replaced_by, ''), removed_at IS NULL {_MINE} AND state = :state"
    replaced = books.ask(gone, pipeline=pipeline, state=REPLACED)
    return _Snapshot(
        [LakeFile(**dict(zip(names, row, strict=False))) for row in rows],
        {row[0]: row[1] for row in replaced},
        {row[0] for row in replaced if row[2]},
        {topic: _partitions(books, LedgerKey(pipeline, topic, LAKE_GROUP)) for topic in topics},
    )


def _partitions(books: Books, key: LedgerKey) -> list[Partition]:
    ranges = books.ranges(key)
    found = []
    for p, (next_offset, _) in sorted(books.cursors(key).items()):
        mine = [one for one in ranges if one.partition == p]
        account = Partition(partition=p, ranges=mine, next_offset=next_offset, dead_letters=0)
        # The letters are the table group's, and are accounted for there.
        account.dead_letters = account.fates.dead_left
        found.append(account)
    return found


def _accounts(seen: _Snapshot) -> Iterator[str]:
    """Rows that were counted with the cursors against those of the manifest, partition by partition."""
    brought: dict[tuple[str, int | None], list[LakeFile]] = defaultdict(list)
    for file in seen.files:
        if file.made_by != "compaction":
            brought[file.topic, file.partition].append(file)
    for topic, accounts in seen.partitions.items():
        for account in accounts:
            examine_partition(account, topic, None)
            yield from account.problems
            files = brought.get((topic, account.partition), [])
            counted, named = account.fates.inserted, sum(file.rows for file in files)
            if counted != named:
                said = f"{counted} rows were written, but the files of the manifest had {named} when they came"
                yield f"{topic}-{account.partition}: {said}"
            spans = sorted({(file.start, file.end) for file in files if file.made_by == "roll"})
            yield from (f"{topic}-{account.partition}: {problem}" for problem in _tiles(account, spans))


def _tiles(account: Partition, spans: Sequence[Span]) -> Iterator[str]:
    """Commits that brought files: none overlaps another, or lies outside what the cursor went over."""
    if len({one.topic_id for one in account.ranges}) > 1:
        return  # offsets of a topic that was created again begin anew
    for before, after in pairwise(spans):
        if both := overlap([before], [after]):
            yield f"files of two commits have the same offsets: {written(both)}"
    if outside := minus(union(spans), union((one.start, one.end) for one in account.ranges)):
        yield f"the manifest has files of offsets that were never committed: {written(outside)}"


def _compactions(seen: _Snapshot) -> Iterator[str]:
    """Each compaction made as many rows as it replaced."""
    made: dict[str, int] = defaultdict(int)
    taken: dict[str, int] = defaultdict(int)
    for file in seen.files:
        if file.made_by == "compaction":
            made[room_of(file.staged)] += file.rows
        by = seen.replaced_by.get(file.id, RETENTION)
        if by != RETENTION:
            taken[by] += file.rows
    for room in sorted(made.keys() | taken.keys()):
        if made[room] != taken[room]:
            yield f"compaction {room or '?'}: replaced {taken[room]} rows by {made[room]}; the manifest was changed"
