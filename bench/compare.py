"""`python -m bench compare`: ingestd and a sketch in turn, on the same servers, topic and table. Only composes."""

import argparse
from collections.abc import Sequence

from bench.contenders import CopyLimit, Ingestd, Sketch
from bench.results import DIRECTORY, save
from bench.rounds import Entry, Ratio, run_rounds
from bench.servers import Servers, load_transactions, running_servers
from bench.tables import CONTRACT, SKETCH

WAYS = (False, True)
BAD_KINDS = ("decode", "check")
NOTE = (
    "4 partitions, one worker process a core; servers with default settings, fsync on; every run verified by counting. "
    "Staged: every batch by COPY into a temporary table, then INSERT .. ON CONFLICT DO NOTHING."
)


def compare(args: argparse.Namespace) -> int:
    """Run the command."""
    with running_servers() as servers:
        load = load_transactions(servers, args.rows)
        entries, ratios = [], []
        for staged in WAYS:
            pair = (Ingestd(servers, load, SKETCH, staged), Sketch(servers, load, SKETCH, args.peers, staged))
            both = [Entry(contender, SKETCH, load) for contender in pair]
            entries += both
            ratios.append(Ratio(both[0].label, both[1].label))
        result = run_rounds(servers, entries, args.rounds, ratios)
    title = f"ingestd and the sketch side by side, {args.rows:,} transactions, {args.rounds} rounds"
    save("compare", {"title": title, "note": NOTE, **result}, args.out or DIRECTORY)
    for ratio in result["ratios"]:
        print(f"{ratio['what']}: {ratio['min']:.2f} / {ratio['median']:.2f} / {ratio['max']:.2f} (min / median / max)")
    return 0


def throughput_entries(servers: Servers, rows: int) -> tuple[Sequence[Entry], Sequence[Ratio]]:
    """ingestd and the COPY limit into both tables, and ingestd with bad records into the contract's table."""
    load = load_transactions(servers, rows)
    entries, ratios = [], []
    for target in (SKETCH, CONTRACT):
        for staged in WAYS:
            ours = Entry(Ingestd(servers, load, target, staged), target, load)
            limit = Entry(CopyLimit(servers, load, target, staged), target, load)
            entries += [ours, limit]
            ratios.append(Ratio(ours.label, limit.label))
    clean = entries[4].label
    for kind in BAD_KINDS:
        bad = load_transactions(servers, rows, kind)
        entry = Entry(Ingestd(servers, bad, CONTRACT, check=True), CONTRACT, bad)
        entries.append(entry)
        ratios.append(Ratio(entry.label, clean))
    return entries, ratios
