"""Resident memory of the workers over a long run. Knows nothing of results as files."""

import signal
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import cpu
from bench.contenders import Ingestd, fetch_view
from bench.problem import Problem
from bench.servers import Load, Servers
from bench.tables import CONTRACT
from ingestd.embedded.child import end_child

_STEPS = (0.19, 0.38, 0.57, 0.76, 0.95)
"""Shares of the records; not 1, because the daemon ends when it has caught up."""
_POLL_SECS = 0.1
_TIMEOUT_SECS = 600.0


def measure_memory(servers: Servers, load: Load) -> dict[str, Any]:
    """RSS of each worker, in MB, when each share of the records was committed, at full speed, and the highest."""
    daemon = Ingestd(servers, load, CONTRACT)
    at_step: dict[str, list[float]] = {}
    highest: dict[str, float] = {}
    with servers.connect() as connection, tempfile.TemporaryDirectory(prefix="ingestd-bench-") as directory:
        daemon.prepare(connection)
        started = daemon.start(Path(directory))
        deadline, step = time.monotonic() + _TIMEOUT_SECS, 0
        try:
            while step < len(_STEPS):
                if time.monotonic() > deadline or started.processes[0].poll() is not None:
                    raise Problem(f"the daemon ended, or took more than {_TIMEOUT_SECS:.0f} s, at step {step}")
                time.sleep(_POLL_SECS)
                view = _view(started.status_url)
                workers = {c["name"]: c["pid"] for c in view.get("children", []) if c["name"].startswith("worker")}
                if view.get("total", {}).get("records", 0) < load.messages * _STEPS[step]:
                    continue
                for name, pid in workers.items():
                    at_step.setdefault(name, []).append(cpu.rss_mb(pid))
                    highest[name] = cpu.peak_rss_mb(pid)
                step += 1
        finally:
            for child in started.processes:
                end_child(child, signal.SIGTERM, timeout_secs=30)
    return {"records": load.messages, "shares": _STEPS, "rss_mb": at_step, "peak_rss_mb": highest}


def _view(url: str | None) -> dict[str, Any]:
    """The status page's JSON, {} while the page is starting."""
    try:
        return fetch_view(url or "")
    except OSError:
        return {}
