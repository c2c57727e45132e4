"""ingestd's daemon over a topic full of change events, into a copy of their table. Knows nothing of Debezium's rate."""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import psycopg

from bench import cpu
from bench.problem import Problem
from ingestd.demo.cdc_compare import compare, differences, open_session
from ingestd.embedded.stack import Stack

_TIMEOUT_SECS = 600.0
_POLL_SECS = 0.02
_CONFIG = """
[kafka]
bootstrap_servers = "{bootstrap}"
group_id = "bench-cdc"
[store]
url = "{url}"
[status]
enabled = false

[[pipeline]]
name = "copy"
topic = "{topic}"
{how}
"""
_DECLARED = """
column = [
  { name = "id", type = "int8", required = true },
  { name = "owner", type = "uuid", required = true },
  { name = "name", type = "text", required = true },
  { name = "status", type = "text" },
  { name = "price", type = "numeric(12,2)" },
  { name = "quantity", type = "int4" },
  { name = "is_open", type = "bool" },
  { name = "weight", type = "float8" },
  { name = "made_at", type = "timestamptz", required = true },
  { name = "day", type = "date" },
]
table = { name = "public.items", mode = "upsert", key = ["id"], create = true }
cdc = {}
"""
_FROM_EVENTS = """
table = { name = "public.items", mode = "upsert", create = true }
cdc = { columns = "from_events" }
"""


class Copied(NamedTuple):
    """Records a second from the first commit that is seen to the last, and the daemon's CPU a record."""

    per_sec: float
    cpu_us: float


def run_copy(stack: Stack, topic: str, records: int, from_events: bool) -> Copied:
    """Apply all of them; `from_events`: the columns come from the events, which bring their schema.

    Raises: Problem when the daemon ends early, or the copy is not equal to the source.
    """
    with (
        tempfile.TemporaryDirectory(prefix="ingestd-bench-") as made,
        psycopg.connect(stack.postgres_url, autocommit=True) as connection,
    ):
        config, log = Path(made) / "ingestd.toml", Path(made) / "ingestd.log"
        config.touch(mode=0o600)
        how = _FROM_EVENTS if from_events else _DECLARED
        config.write_text(
            _CONFIG.format(bootstrap=stack.bootstrap_servers, url=stack.postgres_url, topic=topic, how=how)
        )
        command = [sys.executable, "-c", "import sys; from ingestd.cli import main; sys.exit(main())"]
        with open(log, "wb") as said:
            daemon = subprocess.Popen(
                [*command, "run", "--config", str(config), "--until-caught-up", "--log-format", "json"],
                stderr=said,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )
        try:
            first, used = _until(connection, daemon, 1, log), cpu.tree_secs(daemon.pid)
            last = _until(connection, daemon, records, log)
            used = cpu.tree_secs(daemon.pid) - used
            if daemon.wait(60) != 0:
                raise Problem(f"ingestd ended with {daemon.returncode}: {log.read_text()[-500:]}")
        finally:
            daemon.kill()
            daemon.wait()
    _check(stack)
    steady = last[1] - first[1]
    if not steady:
        raise Problem("one batch took it all: raise --rows")
    return Copied(steady / (last[0] - first[0]), used / steady * 1e6)


def _until(
    connection: "psycopg.Connection[tuple[object, ...]]", daemon: "subprocess.Popen[bytes]", goal: int, log: Path
) -> tuple[float, int]:
    """(time, records committed) once so many are."""
    deadline = time.perf_counter() + _TIMEOUT_SECS
    while time.perf_counter() < deadline:
        with contextlib.suppress(psycopg.errors.UndefinedTable):  # before the ledger is made
            found = connection.execute("SELECT coalesce(sum(next_offset), 0)::bigint FROM ingestd.cursors").fetchone()
            if found is not None and isinstance(found[0], int) and found[0] >= goal:
                return time.perf_counter(), found[0]
        if daemon.poll() not in (None, 0):
            raise Problem(f"ingestd ended with {daemon.returncode}: {log.read_text()[-500:]}")
        time.sleep(_POLL_SECS)
    raise Problem(f"fewer than {goal:,} records applied after {_TIMEOUT_SECS:.0f} s: {log.read_text()[-500:]}")


def _check(stack: Stack) -> None:
    tables = ["public.items"]
    with open_session(stack.debezium.source_url) as source, open_session(stack.postgres_url) as copy:
        if not compare(source, copy, tables)[0].equal:
            raise Problem(f"the copy is not equal: {differences(source, copy, tables)}")
