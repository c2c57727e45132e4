"""Files that nobody needs any more: too old, replaced, or left over. Knows no merging.

Every function needs the lake's lock and a lake that has recovered (see `compaction`), and may be repeated.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice

from ingestd.config import options as cfg
from ingestd.errors import Retryable
from ingestd.lake.merging.ledger import Ledger
from ingestd.lake.merging.turnover import COMPACT
from ingestd.lake.place import STAGING, Place
from ingestd.stores.manifest import SETTLED, LakeFile

RETENTION = "retention"
"""What the manifest says replaced a file that was too old."""
MANIFEST_GRACE_SECS = 600.0
"""So long may who has asked the manifest go on reading the files that it named."""
DAY_SECS = 86_400.0
_AT_ONCE = 500


def expire(place: Place, ledger: Ledger, older_than_secs: float) -> int:
    """Files whose newest row was committed longer ago are no part of the lake any more; how many.

    First in the manifest, the oldest first; `remove_replaced` then removes them.
    """
    store, manifest = ledger.store, ledger.manifest
    with store.deciding():
        old = [file for file in manifest.files(store.open(), older_than_secs) if file.state == SETTLED]
    for some in _pieces(sorted(old, key=lambda file: file.id)):
        with store.side_transaction() as tx:
            ledger.lock.require(store.open())
            if manifest.replace(tx.cursor, [file.id for file in some], RETENTION) != len(some):
                raise Retryable(f"{place.url}: files were replaced while they expired; tried again")
    return len(old)


def remove_replaced(place: Place, ledger: Ledger, after_secs: float) -> int:
    """Files that are no part of the lake since so long are removed; how many."""
    with ledger.store.deciding():
        waiting = ledger.replaced.waiting(ledger.store.open(), after_secs)
    for some in _pieces(waiting):
        for file in some:
            place.remove(file.key)
        with ledger.store.deciding():
            ledger.replaced.mark_removed(ledger.store.open(), [file.id for file in some])
    return len(waiting)


def remove_stale(place: Place, ledger: Ledger, lake: cfg.Lake) -> int:
    """Staged files that no manifest row names, older than a day: of workers that died and were never replaced.

    Younger ones may be a worker's open files; a claim of their partition removes them as well.
    """
    limit = datetime.now(UTC) - timedelta(seconds=max(DAY_SECS, 2 * lake.roll.max_age))
    old = [found.key for found in place.list(STAGING) if found.modified < limit]
    old = [key for key in old if not key.startswith(f"{COMPACT}/")]
    if not old:
        return 0
    with ledger.store.deciding():
        named = {file.staged for file in ledger.manifest.unsettled(ledger.store.open(), "", [])}
    left = [key for key in old if key not in named]
    for key in left:
        place.remove(key)
    return len(left)


def _pieces(files: Sequence[LakeFile]) -> Iterator[list[LakeFile]]:
    rest = iter(files)
    while some := list(islice(rest, _AT_ONCE)):
        yield some
