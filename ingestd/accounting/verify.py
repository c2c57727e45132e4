"""The whole account of one pipeline: snapshot, log, judgement. Prints nothing."""

from collections.abc import Sequence

from msgspec import Struct

from ingestd.accounting.account import (
    Expected,
    Partition,
    ReadLog,
    examine_partition,
    expected_rows,
)
from ingestd.accounting.books import Books, count_rows, has_older_rows, live_keys, open_books
from ingestd.accounting.lineage import lineage_of, trace
from ingestd.accounting.ranges import OLDER_VERSION, written
from ingestd.config import options as cfg
from ingestd.config.topics import memory_name
from ingestd.errors import StartupError
from ingestd.stores.store import LedgerKey


class Report(Struct):
    """What `ingestd verify` says of one pipeline."""

    pipeline: str
    topic: str
    table: str
    mode: str
    partitions: list[Partition]
    table_rows: int | None = None
    """None: the table is not there, or was not counted because partitions were chosen."""
    problems: list[str] = []
    """What is not accounted for; empty when everything is."""
    notes: list[str] = []
    proof: str = "by counts"
    """ "by counts" or "per record"."""


def verify(config: cfg.Config, pipeline: cfg.Pipeline, chosen: Sequence[int], read_log: ReadLog | None) -> Report:
    """The account of `pipeline`, of all partitions unless some are chosen; one snapshot of the store.

    Raises: StartupError when the store cannot be read or the ledger does not know the pipeline.
    """
    key = LedgerKey(pipeline.name, pipeline.topic)
    with open_books(config.store) as books:
        partitions = _partitions(books, key)
        if not partitions:
            raise StartupError(f"pipeline {pipeline.name}: the ledger has no cursor; run it once first")
        if unknown := sorted(set(chosen) - {account.partition for account in partitions}):
            raise StartupError(f"pipeline {pipeline.name}: the ledger has no cursor for partition {unknown[0]}")
        accounts = [account for account in partitions if not chosen or account.partition in chosen]
        report = Report(pipeline.name, pipeline.topic, pipeline.table.name, pipeline.table.mode, accounts)
        for account in accounts:
            examine_partition(account, pipeline.topic, read_log)
            report.problems += account.problems
            report.notes += account.notes
            _stray_letters(books, key, account, report)
        _examine_table(books, key, config, pipeline, partitions, report)
    return report


def _partitions(books: Books, key: LedgerKey) -> list[Partition]:
    cursors = books.cursors(key)
    letters = books.dead_letters(key)
    ranges = books.ranges(key)
    return [
        Partition(
            partition=p,
            ranges=[one for one in ranges if one.partition == p],
            next_offset=next_offset,
            dead_letters=sum(count for (partition, _), count in letters.items() if partition == p),
        )
        for p, (next_offset, _) in sorted(cursors.items())
    ]


def _stray_letters(books: Books, key: LedgerKey, account: Partition, report: Report) -> None:
    if any(one.ended_by == OLDER_VERSION for one in account.ranges):
        return
    stray = books.stray_dead_letters(key, account.partition, account.ranges[-1].topic_id, account.covered)
    if stray:
        report.problems.append(f"{key.topic}-{account.partition}: dead letters at offsets never read: {written(stray)}")


def _examine_table(
    books: Books,
    key: LedgerKey,
    config: cfg.Config,
    pipeline: cfg.Pipeline,
    partitions: list[Partition],
    report: Report,
) -> None:
    """Rows against what was inserted, and each record where the table says where its rows came from."""
    table = pipeline.table.name
    if not pipeline.has_table():
        return
    if not books.exists(table):
        if any(account.fates.inserted for account in partitions):
            report.problems.append(f"table {table} is gone, with every row that was inserted")
        return
    whole = len(report.partitions) == len(partitions)
    if whole:
        _count_rows(books, config, pipeline, partitions, report)
    else:
        report.notes.append("rows are not counted: a table has no partitions to choose from")
    lineage = lineage_of(pipeline)
    shared = _sharing(config, pipeline)
    if lineage is None or not whole or (len(shared) > 1 and not lineage.topic):
        return
    if sum(one.topic == pipeline.topic for one in shared) > 1:
        report.notes.append(f"table {table}: which of the pipelines of {pipeline.topic} wrote a row is not known")
        return
    traced = trace(books, key, pipeline, lineage, partitions)
    report.problems += traced.problems
    report.notes += traced.notes
    report.proof = "per record" if traced.exact else "by counts"


def _sharing(config: cfg.Config, pipeline: cfg.Pipeline) -> list[cfg.Pipeline]:
    """The pipelines of the configuration that fill the same table."""
    return [one for one in config.pipeline if one.table.name == pipeline.table.name]


def _count_rows(
    books: Books, config: cfg.Config, pipeline: cfg.Pipeline, partitions: list[Partition], report: Report
) -> None:
    table = pipeline.table.name
    report.table_rows = rows = count_rows(books, table)
    fillers = _sharing(config, pipeline)
    wanted, at_least = 0, False
    for one in fillers:
        accounts = partitions if one == pipeline else _partitions(books, LedgerKey(one.name, one.topic))
        expected = _expected(books, one, accounts)
        if expected.unknown:
            report.notes.append(f"table {table}: how many rows it must have is not known: {expected.unknown}")
            return
        wanted, at_least = wanted + expected.rows, at_least or expected.at_least
    if rows != wanted and len(fillers) > 1 and any(map(_deletes_hard, fillers)):
        why = "each of the pipelines that fill it remembers the deletes of its own records only"
        report.notes.append(f"table {table}: how many rows it must have is not known: {why}")
        return
    by = " by pipelines " + ", ".join(one.name for one in fillers) if len(fillers) > 1 else ""
    if rows < wanted:
        said = f"{wanted - rows} rows are missing: {wanted} must be there{by}, {rows} are"
        report.problems.append(f"table {table}: {said}")
    elif rows > wanted and at_least:
        older = f'{rows - wanted} rows are from before how = "hard", or something else wrote them'
        report.notes.append(f"table {table}: {older}: the memory of deletes does not know them")
    elif rows > wanted:
        extra = f"{rows - wanted} rows more than were inserted{by} ({wanted})"
        report.problems.append(f"table {table}: {extra}: something else writes here, or rows were there before")


def _deletes_hard(pipeline: cfg.Pipeline) -> bool:
    return pipeline.table.delete is not None and pipeline.table.delete.how == "hard"


def _expected(books: Books, pipeline: cfg.Pipeline, partitions: list[Partition]) -> Expected:
    if not _deletes_hard(pipeline):
        return expected_rows(partitions)
    keys = live_keys(books, memory_name(pipeline))
    if keys is None:
        return Expected(0, "there is no memory of deletes yet")
    return Expected(keys, at_least=has_older_rows(books, memory_name(pipeline)))
