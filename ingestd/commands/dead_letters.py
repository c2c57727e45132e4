"""`ingestd dead-letters list|show|redrive|drop`: composes stores, decoder and sink around the redrive."""

import argparse
import sys
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from ingestd.commands.arguments import add_config, add_pipeline, one_pipeline, require_running
from ingestd.commands.topics import add_topic, by_topic
from ingestd.config.file import load
from ingestd.config.topics import has_many_topics
from ingestd.errors import ConfigError, ExitCode, StartupError

if TYPE_CHECKING:
    from ingestd.batch import Decode, Rows
    from ingestd.config.options import Config, Pipeline
    from ingestd.redrive.mend import Mending
    from ingestd.redrive.redrive import Result
    from ingestd.stores.dead_letters import DeadLetterBox, Wanted
    from ingestd.stores.store import Store

_LIST_LIMIT = 50
_SHOWN_ROWS = 20
_DROP_CHUNK = 10_000


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `dead-letters` with its four verbs."""
    parser = subparsers.add_parser("dead-letters", help="look at refused records, mend and redrive them, or drop them")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="list|show|redrive|drop")
    listed = verbs.add_parser("list", help="the newest dead letters, or how many there are for each reason")
    show = verbs.add_parser("show", help="dead letters whole: origin, reason, key, headers, payload")
    redrive = verbs.add_parser(
        "redrive",
        help="decode and write them again",
        description=(
            "Decodes dead letters again by the current configuration, mended on the way when asked, and writes them "
            "through the pipeline's own gate and table. A letter leaves the dead letters in the transaction that "
            "writes it; one that is refused again stays, with the new reason. Works while the daemon runs. "
            "Exits 4 when a letter was refused again or could not be mended."
        ),
    )
    drop = verbs.add_parser("drop", help="delete them for good; the ledger counts them, so that verify adds up")
    for verb in (listed, show, redrive, drop):
        add_config(verb)
        add_pipeline(verb)
        add_topic(verb)
    show.add_argument("id", type=int, nargs="+", metavar="ID", help="number of the letter, as list shows it")
    for verb in (listed, redrive, drop):
        _add_filters(verb)
    listed.add_argument("--summary", action="store_true", help="count them by reason")
    for verb in (listed, show):
        formats = ("table", "json", "csv") if verb is listed else ("text", "json")
        verb.add_argument("--format", choices=formats, default=formats[0], help="default: %(default)s")
    redrive.add_argument(
        "--fix",
        action="append",
        default=[],
        metavar="FIELD=EXPRESSION",
        help="give a field of the record, with dots into nested objects, the value of an expression; may be repeated",
    )
    redrive.add_argument(
        "--fix-text",
        metavar="EXPRESSION",
        help="mend the payload as text, before it is read: replace(payload, 'a', 'b')",
    )
    for verb in (redrive, drop):
        verb.add_argument("--dry-run", action="store_true", help="show what would happen and change nothing")
    drop.add_argument("--yes", action="store_true", help="drop without asking")
    parser.set_defaults(main=main)


def _add_filters(verb: argparse.ArgumentParser) -> None:
    chosen = verb.add_argument_group("which letters", "All that are given must hold; without any, all letters.")
    chosen.add_argument("--id", type=int, action="append", default=[], metavar="N", help="this one; may be repeated")
    chosen.add_argument("--stage", choices=("decode", "write"), help="where it was refused")
    chosen.add_argument("--column", metavar="NAME", help="column that was at fault")
    chosen.add_argument("--sqlstate", metavar="CODE", help="the database's error code")
    chosen.add_argument("--reason", metavar="TEXT", help="part of the reason")
    chosen.add_argument("--partition", type=int, action="append", default=[], metavar="N", help="may be repeated")
    chosen.add_argument("--offset", metavar="A..B", help="offsets from A to B, both included; A.. and ..B are fine")
    chosen.add_argument("--since", metavar="TIME", help="refused at this ISO-8601 time or later (UTC unless it says)")
    chosen.add_argument("--until", metavar="TIME", help="refused before this time")
    chosen.add_argument(
        "--where", metavar="SQL", help="a condition over the columns of ingestd.dead_letters; runs read-only"
    )
    chosen.add_argument(
        "--limit", type=int, metavar="N", help=f"at most so many (list: {_LIST_LIMIT}); redrive and drop: of each topic"
    )


def main(args: argparse.Namespace) -> int:
    """Run the verb. Raises: ConfigError for wrong arguments, StartupError without a server that runs."""
    from ingestd.stores.store import ALL_TOPICS

    config = load(args.config)
    pipeline = one_pipeline(config, args.pipeline)
    require_running("dead-letters", config)
    wanted = None if args.verb == "show" else _wanted(args)
    if not has_many_topics(pipeline):
        (pipeline,) = by_topic(config, [pipeline], args.topic)
        return _run(config, pipeline, wanted, args, pipeline.topic)
    if args.verb in ("list", "show"):
        return _run(config, pipeline, wanted, args, args.topic or ALL_TOPICS)
    codes = []
    for one in by_topic(config, [pipeline], args.topic):
        print(f"topic {one.topic}")
        codes.append(_run(config, one, wanted, args, one.topic))
    return max(codes)


def _run(config: "Config", pipeline: "Pipeline", wanted: "Wanted | None", args: argparse.Namespace, topic: str) -> int:
    """The verb, on the letters of a topic or of all."""
    from ingestd.stores.open import open_letters, open_store
    from ingestd.stores.store import LedgerKey

    # Files of redriven rows take their places after the commit, which must not be lost then.
    options = msgspec.structs.replace(config.store, synchronous_commit="on") if pipeline.lake else config.store
    store = open_store(options, key := LedgerKey(pipeline.name, topic))
    box = open_letters(options, store, key)
    try:
        if wanted is None:
            return _show(box, args)
        if args.verb == "list":
            return _list(box, wanted, args)
        store.prepare()
        if args.verb == "drop":
            return _drop(config, pipeline, store, box, wanted, args)
        return _redrive(config, pipeline, store, box, wanted, args)
    finally:
        store.close()


def _wanted(args: argparse.Namespace) -> "Wanted":
    from ingestd.stores.dead_letters import Wanted

    start, end = _offsets(args.offset)
    listed = args.verb == "list"
    if args.limit is not None and args.limit < 1:
        raise ConfigError(["--limit: must be at least 1"])
    limit = _LIST_LIMIT if args.limit is None and listed and not args.summary else args.limit
    return Wanted(
        ids=tuple(args.id),
        stage=args.stage,
        column=args.column,
        sqlstate=args.sqlstate,
        reason=args.reason,
        partitions=tuple(args.partition),
        offset_start=start,
        offset_end=end,
        since=_time("--since", args.since),
        until=_time("--until", args.until),
        where=args.where,
        limit=limit,
        newest=listed,
    )


def _offsets(text: str | None) -> tuple[int | None, int | None]:
    """(first, first one not wanted) of "A..B", "A..", "..B" or "A"."""
    if text is None:
        return None, None
    first, dots, last = text.partition("..")
    if not all(part.isascii() and part.isdigit() for part in (first, last) if part) or not (first or last):
        raise ConfigError([f"--offset {text}: write A..B, A.., ..B or A"])
    if not dots:
        last = first
    return int(first) if first else None, int(last) + 1 if last else None


def _time(option: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError([f"{option} {text}: write an ISO-8601 time, such as 2026-01-31T08:00:00Z"]) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _list(box: "DeadLetterBox", wanted: "Wanted", args: argparse.Namespace) -> int:
    from ingestd.redrive.display import as_csv, as_json, as_table, line_of, whole
    from ingestd.redrive.redrive import pieces

    rows: list[dict[str, Any]]
    if args.summary:
        rows = [
            {"letters": g.letters, "stage": g.stage, "column": g.column, "sqlstate": g.sqlstate, "reason": g.reason}
            | {"first": g.first_at, "last": g.last_at}
            for g in box.groups(wanted)
        ]
    else:
        shown = whole if args.format == "json" else line_of
        rows = [shown(letter) for letters, _ in pieces(box, box.find(wanted)) for letter in letters][::-1]
    text = {"table": as_table, "json": as_json, "csv": as_csv}[args.format](rows)
    print(text or ("no dead letters" if args.format == "table" else ""))
    return ExitCode.OK


def _show(box: "DeadLetterBox", args: argparse.Namespace) -> int:
    from ingestd.redrive.display import as_json, page_of, whole

    letters = {letter.id: letter for letter in box.read(args.id)}
    for number in args.id:
        if number in letters:
            print(as_json([whole(letters[number])]) if args.format == "json" else page_of(letters[number]) + "\n")
    if missing := [number for number in args.id if number not in letters]:
        raise StartupError(f"this pipeline has no dead letter {', '.join(map(str, missing))}")
    return ExitCode.OK


def _drop(
    config: "Config",
    pipeline: "Pipeline",
    store: "Store",
    box: "DeadLetterBox",
    wanted: "Wanted",
    args: argparse.Namespace,
) -> int:
    from ingestd.redrive.display import as_table
    from ingestd.redrive.redrive import drop

    ids, waiting = _chosen(config, pipeline, box, wanted, "dropped")
    if waiting and not ids:
        return ExitCode.HALTED
    groups = [{"letters": g.letters, "stage": g.stage, "reason": g.reason} for g in box.groups(_these(ids))]
    print(as_table(groups) or "no dead letters")
    if args.dry_run or not ids:
        print(f"{len(ids)} would be dropped" if ids else "nothing to drop")
        return ExitCode.HALTED if waiting else ExitCode.OK
    if not args.yes and not _confirmed(f"drop these {len(ids)} dead letters for good? [y/N] "):
        print("nothing was dropped; add --yes to drop without being asked")
        return ExitCode.OK
    dropped = sum(drop(store, box, ids[start : start + _DROP_CHUNK]) for start in range(0, len(ids), _DROP_CHUNK))
    gone = f"; {len(ids) - dropped} were taken by somebody else meanwhile" if dropped < len(ids) else ""
    print(f"dropped {dropped} dead letters{gone}")
    return ExitCode.HALTED if waiting else ExitCode.OK


def _chosen(
    config: "Config", pipeline: "Pipeline", box: "DeadLetterBox", wanted: "Wanted", done: str
) -> tuple[list[int], int]:
    """The letters that are wanted and can be had now, and how many others wait for the lake; says so."""
    ids = box.find(wanted)
    if pipeline.lake is None:
        return ids, 0
    from ingestd.redrive.lake import letters_before_the_lake

    early = letters_before_the_lake(config.store, pipeline, box, ids)
    if early:
        when = f"after its next roll, within {pipeline.lake.roll.max_age:g} s while the daemon runs"
        print(f"{len(early)} dead letters cannot be {done} yet: the lake has not passed them; try again {when}")
    return [number for number in ids if number not in early], len(early)


def _these(ids: list[int]) -> "Wanted":
    from ingestd.stores.dead_letters import Wanted

    return Wanted(ids=tuple(ids) or (-1,))


def _confirmed(question: str) -> bool:
    return sys.stdin.isatty() and input(question).strip().lower() in ("y", "yes")


def _redrive(
    config: "Config",
    pipeline: "Pipeline",
    store: "Store",
    box: "DeadLetterBox",
    wanted: "Wanted",
    args: argparse.Namespace,
) -> int:
    from ingestd.redrive.run import own_run

    with nullcontext() if args.dry_run else own_run(config.store, pipeline, store):
        return _redriven(config, pipeline, store, box, wanted, args)


def _redriven(
    config: "Config",
    pipeline: "Pipeline",
    store: "Store",
    box: "DeadLetterBox",
    wanted: "Wanted",
    args: argparse.Namespace,
) -> int:
    from ingestd.redrive.redrive import Redrive
    from ingestd.sinks.open import open_sink
    from ingestd.stores.store import LedgerKey

    mending = _mending(config, pipeline, args)
    pipeline = _with_evolved_columns(config, pipeline, store)
    decode = _decoder(config, pipeline, mended=bool(mending))
    key = LedgerKey(pipeline.name, pipeline.topic)
    ids, waiting = _chosen(config, pipeline, box, wanted, "redriven")
    if waiting and not ids:
        return ExitCode.HALTED
    follower = None
    if pipeline.lake is not None and ids and not args.dry_run:
        from ingestd.redrive.lake import RedrivenRows

        follower = RedrivenRows(config.store, pipeline, store)
    sink = open_sink(config.store, pipeline)
    redrive = Redrive(store, sink, box, key, decode, keep=not args.dry_run, follower=follower)
    shown = _Shown() if args.dry_run else None
    result = redrive.run(ids, mending, shown.show if shown else lambda rows: None)
    return max(_report(result, len(ids), args.dry_run), ExitCode.HALTED if waiting else ExitCode.OK)


def _mending(config: "Config", pipeline: "Pipeline", args: argparse.Namespace) -> "Mending":
    from ingestd.decode.formats.values import value_reader
    from ingestd.redrive.mend import Mending

    if pipeline.format == "raw" and args.fix:
        raise ConfigError(['--fix: format = "raw" has no fields; mend the payload with --fix-text'])
    plain = pipeline.format in ("json", "raw") or not (args.fix or args.fix_text)
    return Mending(args.fix, args.fix_text, None if plain else value_reader(pipeline, config.schema_registry))


def _decoder(config: "Config", pipeline: "Pipeline", mended: bool) -> "Decode":
    """A mended record is JSON, whatever format it came in."""
    from ingestd.decode.decoder import make_decoder

    if mended and pipeline.format != "raw":
        return make_decoder(msgspec.structs.replace(pipeline, format="json"))
    return make_decoder(pipeline, config.schema_registry)


def _with_evolved_columns(config: "Config", pipeline: "Pipeline", store: "Store") -> "Pipeline":
    """The pipeline with the columns that were added, or that follow a source's table."""
    from ingestd.logs import get_logger
    from ingestd.worker.source_tables import open_growth

    return open_growth(config.store, pipeline, get_logger()).pipeline(store)


class _Shown:
    """Prints the first rows that a rehearsal would write."""

    def __init__(self) -> None:
        self._left = _SHOWN_ROWS

    def show(self, rows: "Rows") -> None:
        """The columns of each row, as far as the limit goes."""
        from ingestd.redrive.display import printable

        for record, row in zip(rows.records, rows.columns.slice(0, self._left).to_pylist(), strict=False):
            values = ", ".join(f"{name}={value!r}" for name, value in row.items() if not name.startswith("ingestd:"))
            print(printable(f"partition {record.partition()} offset {record.offset()}: {values}"))
        self._left -= min(self._left, rows.columns.num_rows)


def _report(result: "Result", asked: int, dry_run: bool) -> int:
    from ingestd.redrive.display import printable

    for kind, letters in (("refused again", result.refused), ("not mended", result.unmended)):
        for letter in letters[:_SHOWN_ROWS]:
            print(printable(f"letter {letter.id} {kind}: {letter.reason}"))
    fates = ((f, getattr(result.written, f)) for f in result.written.__struct_fields__)
    parts = [f"{number} {fate}" for fate, number in fates if number]
    if result.refused:
        parts.append(f"{len(result.refused)} refused again")
    if result.unmended:
        parts.append(f"{len(result.unmended)} not mended")
    if result.gone:
        parts.append(f"{len(result.gone)} gone or in another redrive")
    if not asked:
        print("no dead letters")
        return ExitCode.OK
    said = "dry run, nothing was changed: of" if dry_run else "of"
    left = "would leave" if dry_run else "left"
    print(f"{said} {asked} dead letters {result.redriven} {left}: {', '.join(parts)}")
    return ExitCode.HALTED if result.refused or result.unmended else ExitCode.OK
