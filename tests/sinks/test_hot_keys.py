"""Four workers upsert the same hundred keys at once: nobody deadlocks, and the last version of every key stays."""

import random
import threading
from typing import Any

import pytest

from tests.sinks.changes import changes_of
from tests.sinks.contracts import Bench, ask, decoded, records_of

_WORKERS = 4
_RECORDS = 12_500
_BATCH = 500
_KEYS = 100


@pytest.mark.parametrize(
    ("columns", "delete"),
    [
        ({"v": "int4"}, None),
        ({"v": {"type": "int4", "keep_when_absent": True}}, None),
        ({"v": "int4", "op": {"type": "text", "stored": False}}, {"when": {"op": "d"}, "how": "hard"}),
    ],
    ids=["whole", "partial", "hard"],
)
def test_hot_keys_of_four_workers_never_deadlock_and_the_last_version_wins(
    database: str, columns: dict[str, Any], delete: dict[str, Any] | None
) -> None:
    pipeline = changes_of({"id": "text", "ts": "int8", **columns}, version="ts", delete=delete, direct=False)
    rng = random.Random(7)
    versions = rng.sample(range(1_000_000), _WORKERS * _RECORDS)
    changes = [[_change(rng.randrange(_KEYS), versions.pop()) for _ in range(_RECORDS)] for _ in range(_WORKERS)]
    benches = [Bench(database, pipeline, (worker,)) for worker in range(_WORKERS)]
    benches[0].sink.attach(benches[0].store.open())
    start, faults = threading.Barrier(_WORKERS), []

    def work(worker: int) -> None:
        try:
            parts = [
                decoded(pipeline, records_of(changes[worker][at : at + _BATCH], at, worker))
                for at in range(0, _RECORDS, _BATCH)
            ]
            for part in parts:
                batch = benches[worker].writer.prepare([part])
                start.wait(20)
                benches[worker].writer.commit(batch)
        except BaseException as fault:
            faults.append(fault)
            start.abort()

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(_WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for bench in benches:
        bench.store.close()
    assert not faults, faults
    latest: dict[str, dict[str, Any]] = {}
    for change in (change for part in changes for change in part):
        if change["ts"] > latest.get(change["id"], {"ts": -1})["ts"]:
            latest[change["id"]] = change
    expected = {(key, c["ts"], c["v"]) for key, c in latest.items() if not (delete and c.get("op") == "d")}
    assert set(ask(database, "SELECT id, ts, v FROM t")) == expected
    assert ask(database, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == [(0,)]


def _change(key: int, ts: int) -> dict[str, Any]:
    return {"id": f"key {key}", "ts": ts, "v": ts % 1000, "op": "d" if ts % 7 == 0 else "u"}
