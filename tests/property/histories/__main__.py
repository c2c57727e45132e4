"""The long run: `python -m tests.property.histories --minutes 60 [--seed 1] [--store sqlite|postgres]`.

Prints one line a round, and of a failure the history that anybody can repeat with its seed.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from ingestd.embedded.postgres import PostgresServer
from tests.property.histories.places import PostgresPlace, SqlitePlace
from tests.property.histories.rounds import run

_ROUND = {"sqlite": 100, "postgres": 40}
"""Histories of one round."""


@contextmanager
def _places(wanted: str) -> Iterator[dict[str, Callable[[], PostgresPlace | SqlitePlace]]]:
    """A fresh place for each round, by store."""
    directory = Path(tempfile.mkdtemp(prefix="ingestd-histories-"))
    directory.chmod(0o711)
    places: dict[str, Callable[[], PostgresPlace | SqlitePlace]] = {}
    server = None
    try:
        if wanted in ("both", "sqlite"):
            places["sqlite"] = lambda: SqlitePlace(tempfile.mkdtemp(dir=directory) + "/silver.db")
        if wanted in ("both", "postgres"):
            server = PostgresServer(directory / "postgres", settings={"fsync": "off"})
            server.start()
            url = server.url()
            places["postgres"] = lambda: PostgresPlace(url)
        yield places
    finally:
        if server is not None:
            server.stop("immediate")
        shutil.rmtree(directory, ignore_errors=True)


def _round(store: str, place: PostgresPlace | SqlitePlace, seed: int, shrink: bool) -> bool:
    """Whether every history of the round ended as it must."""
    try:
        run(place, _ROUND[store], seed=seed, shrink=shrink)
    except Exception as error:
        print(f"FAILED: {store}, seed {seed}\n{''.join(traceback.format_exception(error))}", flush=True)
        return False
    return True


def main() -> int:
    """Rounds until the time is over; exit code 1 when a history ended otherwise than the reference."""
    parser = argparse.ArgumentParser(prog="python -m tests.property.histories")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000), help="of the first round")
    parser.add_argument("--store", choices=("both", "sqlite", "postgres"), default="both")
    parser.add_argument("--shrink", action="store_true", help="reduce a failing history; takes minutes")
    args = parser.parse_args()
    began, seed, failed = time.monotonic(), args.seed, 0
    total: Counter[str] = Counter()
    with _places(args.store) as places:
        while time.monotonic() - began < args.minutes * 60:
            for store, make in places.items():
                with closing(make()) as place:
                    failed += not _round(store, place, seed, args.shrink)
                    total += place.tally
                    total[f"histories on {store}"] += place.tally["histories"]
                    said = f"{total['histories']} histories, {total['steps']} steps, {total['records']} records"
                    minutes = (time.monotonic() - began) / 60
                    print(f"{minutes:.1f} min: {store} seed {seed}; so far {said}, {failed} rounds failed", flush=True)
            seed += 1
    for what, count in sorted(total.items()):
        print(f"{count:>10} {what}")
    print(f"{failed} rounds failed")
    return 1 if failed else 0


sys.exit(main())
