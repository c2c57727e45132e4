"""`ingestd offsets show|reset`: where the ledger stands, and the decision to move a cursor. Writes no rows."""

import argparse
import sys
from typing import TYPE_CHECKING

from msgspec import structs

from ingestd.commands.arguments import add_config, add_pipeline, one_pipeline, require_running
from ingestd.commands.topics import add_topic, by_topic
from ingestd.config.file import load
from ingestd.config.store_url import is_sqlite_url, sqlite_path
from ingestd.config.topics import has_many_topics, memory_name
from ingestd.errors import ConfigError, ExitCode, Retryable, StartupError

if TYPE_CHECKING:
    from ingestd.config.options import Config, Pipeline
    from ingestd.source.kafka import KafkaSource
    from ingestd.stores.cursors import CursorRow, Move, Moves
    from ingestd.stores.store import LedgerKey


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `offsets` with its two verbs."""
    parser = subparsers.add_parser("offsets", help="show the ledger's cursors, or move them (shows the plan first)")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="show|reset")
    show = verbs.add_parser("show", help="cursor, log start and log end of every partition")
    reset = verbs.add_parser("reset", help="move cursors; refused while a worker holds the partition")
    for verb in (show, reset):
        add_config(verb)
        add_pipeline(verb)
        add_topic(verb)
    reset.add_argument("--partition", type=int, action="append", metavar="N", help="only this one; may be repeated")
    reset.add_argument("--to", required=True, metavar="WHERE", help="earliest, latest, an offset, or an ISO-8601 time")
    reset.add_argument(
        "--rebuild",
        action="store_true",
        help="the table was emptied and is to be filled again: records count as read for the first time",
    )
    reset.add_argument("--yes", action="store_true", help="move without asking")
    parser.set_defaults(main=main)


def main(args: argparse.Namespace) -> int:
    """Run the verb. Raises: StartupError when a server cannot be reached or a worker holds the partition."""
    config = load(args.config)
    chosen = one_pipeline(config, args.pipeline)
    require_running("offsets", config, broker=True)
    pipelines = by_topic(config, [chosen], args.topic)
    codes = []
    for pipeline in pipelines:
        if has_many_topics(chosen):
            print(f"topic {pipeline.topic}")
        try:
            codes.append(_of_topic(config, pipeline, args))
        except Retryable as error:
            if len(pipelines) == 1 or args.verb != "show":
                raise
            print(error)  # one that was deleted must not hide the others
            codes.append(ExitCode.STARTUP)
    return max(codes)


def _of_topic(config: "Config", pipeline: "Pipeline", args: argparse.Namespace) -> int:
    from ingestd.source.kafka import KafkaSource

    source = KafkaSource(config.kafka, pipeline, 1 << 20)
    try:
        return _show(config, pipeline, source) if args.verb == "show" else _reset(config, pipeline, source, args)
    finally:
        source.close()


def _rows(config: "Config", key: "LedgerKey") -> "dict[int, CursorRow]":
    from ingestd.stores.open import read_cursors

    return {row.partition: row for row in read_cursors(config.store, key)}


def _keys(pipeline: "Pipeline") -> "tuple[LedgerKey, LedgerKey]":
    """Of the table's cursors, and of the lake's; without a lake there are none of the latter."""
    from ingestd.stores.manifest import LAKE_GROUP
    from ingestd.stores.store import LedgerKey

    return LedgerKey(pipeline.name, pipeline.topic), LedgerKey(pipeline.name, pipeline.topic, LAKE_GROUP)


def _move(config: "Config", key: "LedgerKey", moves: "list[Move]", rebuild: bool, also: "Moves") -> None:
    if is_sqlite_url(config.store.url):
        from ingestd.stores.sqlite import cursors as sqlite_cursors

        sqlite_cursors.move_cursors(sqlite_path(config.store.url), key, moves, rebuild, also)
        return
    from ingestd.stores.postgres.cursors import move_cursors
    from ingestd.stores.postgres.store import connect

    with connect(str.__str__(config.store.url), "ingestd offsets") as connection:
        move_cursors(connection, key, moves, rebuild, also)


def _show(config: "Config", pipeline: "Pipeline", source: "KafkaSource") -> int:
    key, lake_key = _keys(pipeline)
    rows, lakes = _rows(config, key), _rows(config, lake_key) if pipeline.lake is not None else {}
    names = (
        ("cursor", "lake", "log start", "log end") if pipeline.lake is not None else ("cursor", "log start", "log end")
    )
    print(f"{'partition':>9} {' '.join(f'{name:>14}' for name in names)} {'lag':>12}  held  updated")
    for partition in sorted({*rows, *source.topic_state()[1]}):
        low, high = source.watermarks(partition)
        row = rows.get(partition)
        at, lag = (f"{row.next_offset}", f"{max(0, high - row.next_offset)}") if row else ("-", "-")
        if pipeline.lake is not None:
            at = f"{at:>14} {lakes[partition].next_offset if partition in lakes else '-':>14}"
        held = "yes" if row and row.held else "no"
        print(f"{partition:>9} {at:>14} {low:>14} {high:>14} {lag:>12}  {held:<4}  {row.updated_at if row else '-'}")
    return ExitCode.OK


def _reset(config: "Config", pipeline: "Pipeline", source: "KafkaSource", args: argparse.Namespace) -> int:
    key, lake_key = _keys(pipeline)
    rows, lakes = _rows(config, key), _rows(config, lake_key)
    wanted = sorted(args.partition or rows)
    if not wanted:
        raise StartupError(f"pipeline {pipeline.name}: the ledger has no cursor; run it once first")
    if missing := [p for p in wanted if p not in rows]:
        raise StartupError(
            f"pipeline {pipeline.name}: the ledger has no cursor for partition {missing[0]}; run it once first"
        )
    moves = _plan(source, wanted, args.to)
    for move in moves:
        before = rows[move.partition].next_offset
        then = _consequence(pipeline, before, move, args.rebuild)
        print(f"{pipeline.topic}-{move.partition}: {before} -> {move.next_offset} ({then})")
    of_lake = []
    for move in moves:
        if (row := lakes.get(move.partition)) is not None:
            low, _ = source.watermarks(move.partition)
            is_back = move.next_offset < rows[move.partition].next_offset
            of_lake += _of_lake(row, move, low if is_back else move.next_offset)
    if not args.yes and not _confirmed():
        print("nothing was changed; add --yes to move without being asked")
        return ExitCode.OK
    _move(config, key, moves, args.rebuild, {lake_key: of_lake})
    print("moved; a running daemon takes a halted partition up again after a reload (HUP) or restart")
    return ExitCode.OK


def _plan(source: "KafkaSource", partitions: list[int], to: str) -> "list[Move]":
    from ingestd.stores.cursors import Move

    topic_id, _ = source.topic_state()
    if to.isdigit():
        found = {}
        for partition in partitions:
            low, high = source.watermarks(partition)
            if not low <= int(to) <= high:
                raise StartupError(f"partition {partition}: offset {to} is outside the log, which has {low} to {high}")
            found[partition] = int(to)
    else:
        try:
            found = source.start_offsets(partitions, to)
        except ValueError as error:
            raise ConfigError([f"--to {to}: not earliest, latest, an offset or an ISO-8601 time"]) from error
    return [Move(partition, found[partition], topic_id) for partition in partitions]


def _of_lake(row: "CursorRow", move: "Move", least: int) -> "list[Move]":
    """The move of the lake's cursor, if any; it says what becomes of it.

    The lake never goes back: its files are written. Nor does it leave out what the table reads again: `least` is where
    the table goes when it goes forward, else where the log starts.
    """
    place = f"lake, partition {row.partition}"
    if row.topic_id and row.topic_id != move.topic_id:
        print(f"{place}: {row.next_offset} -> {move.next_offset} (of the topic as it is now)")
        return [move]
    if least <= row.next_offset:
        print(f"{place}: stays at {row.next_offset}; nothing below is written to it again")
        return []
    print(f"{place}: {row.next_offset} -> {least} (skips {least - row.next_offset} offsets for ever)")
    return [structs.replace(move, next_offset=least)]


def _consequence(pipeline: "Pipeline", before: int, move: "Move", rebuild: bool) -> str:
    if move.next_offset > before:
        then = f"skips {move.next_offset - before} offsets for ever"
    elif move.next_offset == before:
        then = "stays"
    else:
        then = f"reads {before - move.next_offset} offsets again"
        then += "" if rebuild else f": {_AGAIN[pipeline.table.mode]}"
    return f"{then}; {_rebuilding(pipeline)}" if rebuild else then


_AGAIN = {
    "append": "no row is written again",
    "insert": "rows whose key is there change nothing",
    "upsert": "no row changes that has seen them",
}


def _rebuilding(pipeline: "Pipeline") -> str:
    """What --rebuild means for this pipeline's mode, and what else has to be emptied."""
    table = pipeline.table
    if not pipeline.has_table():
        return "rebuild: nothing, because there is no table"
    filled = {
        "append": f"table {table.name} must be empty, or mode append writes rows a second time",
        "insert": f"rows that are missing from {table.name} are inserted",
        "upsert": f"{table.name} must be empty: of equal versions the later record wins, as the first time",
    }
    also = []
    if pipeline.dedupe:
        also.append(f"the seen keys in {pipeline.dedupe.table}, or every record is a duplicate")
    if table.delete and table.delete.how == "hard":
        also.append(f"ingestd.versions_{memory_name(pipeline)}, or deleted and older records stay out")
    return "; empty also ".join([f"rebuild: {filled[table.mode]}", *also])


def _confirmed() -> bool:
    if not sys.stdin.isatty():
        return False
    return input("move these cursors? [y/N] ").strip().lower() in ("y", "yes")
