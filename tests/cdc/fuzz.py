"""Random changes at a source, and whether its live copy is equal at rest: `python -m tests.cdc.fuzz`."""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from psycopg import connect

from ingestd.embedded.debezium_source import DebeziumSource
from ingestd.embedded.stack import start_stack
from tests.cdc.changes import TABLES, Changes
from tests.cdc.copying import MARKS, Copies, Source, differences, form, open_source, sqlite_form
from tests.fault.daemon import wait_for

SQLITE_SAMPLES = ("i2", "i4", "i8", "n", "n38", "yes", "t", "vc", "c", "by", "dt", "tm", "ts", "tz", "u", "n50", "ip")
"""Types whose form in an SQLite file is that of a function of PostgreSQL."""
_ROUND_TURNS = 60


class Fuzzed(NamedTuple):
    """What was done and found."""

    done: Counter[str]
    kills: int
    rounds: int
    different: list[str]

    def __str__(self) -> str:
        said = ", ".join(f"{number:,} {name}" for name, number in sorted(self.done.items()))
        return f"{self.rounds} rests, {self.kills} kills of a worker; {said}; {len(self.different)} differences"


def fuzz(
    source: Source, copies: Copies, changes: Changes, seed: int, secs: float, say: Callable[[str], object] = str
) -> Fuzzed:
    """Change, kill, rest and compare until `secs` have passed or something differs. The daemon runs."""
    daemon, pick = copies.daemon, random.Random(seed + 1)
    assert daemon is not None
    deadline, rounds, kills = time.monotonic() + secs, 0, 0
    different: list[str] = []
    while not different and (time.monotonic() < deadline or rounds == 0):
        with connect(source.info.dsn, password=source.info.password, options="-c TimeZone=UTC") as long:
            for turn in range(_ROUND_TURNS):
                if turn in (10, 40):
                    changes.change_in(long)
                if pick.random() < 0.02 and (workers := daemon.workers()):
                    os.kill(pick.choice(workers), signal.SIGKILL)
                    kills += 1
                if turn == 50:
                    long.rollback() if pick.random() < 0.3 else long.commit()
                changes.turn()
            long.commit()
        changes.touch()
        copies.rest(source, 120)
        rounds += 1
        check = sqlite_form if copies.is_sqlite else form
        different = differences(copies, source, TABLES, check)
        different += copies.dead_letters()
        different += [f"halted: {event}" for event in daemon.events("partition halted")]
        say(str(Fuzzed(changes.done, kills, rounds, different)))
    return Fuzzed(changes.done, kills, rounds, different)


def main() -> int:
    """0: no difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--sqlite", action="store_true", help="a copy in an SQLite file, of the types that it has")
    args = parser.parse_args()
    print(f"seed {args.seed}", flush=True)
    with ExitStack() as opened:
        directory = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="ingestd-fuzz-")))
        stack = opened.enter_context(start_stack(database="copy", source_database="source"))
        source = opened.enter_context(open_source(stack.debezium.source_url))
        source.execute(f"CREATE TABLE {MARKS} (id int PRIMARY KEY, n int)".encode())
        changes = Changes(source, args.seed, SQLITE_SAMPLES if args.sqlite else None)
        changes.make_tables()
        captured = DebeziumSource("fuzz", stack.debezium.source_url, prefix="fuzz", schemas=True)
        connectors = stack.debezium.connectors
        connectors.put(captured.name, captured.config())
        # Killed before, Debezium would make its snapshot again, and nobody would tell of deletes.
        wait_for(lambda: connectors.noted(captured.name), "the end of the snapshot")
        url = f"sqlite:///{directory}/copy.db" if args.sqlite else stack.postgres_url
        copies = Copies(directory, stack.bootstrap_servers, captured.prefix, url)
        daemon = copies.start()
        try:
            found = fuzz(source, copies, changes, args.seed, args.minutes * 60, lambda said: print(said, flush=True))
            if found.different:
                print("\n".join(found.different), *daemon.log().splitlines()[-20:], sep="\n")
        finally:
            daemon.destroy()
    return 1 if found.different else 0


if __name__ == "__main__":
    sys.exit(main())
