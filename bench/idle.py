"""What the daemon costs while nothing arrives. Knows nothing of results as files."""

import signal
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import broker, cpu
from bench.contenders import fetch_view, start_ingestd, write_config
from bench.latency import await_claims
from bench.servers import PARTITIONS, Servers
from bench.tables import CONTRACT
from ingestd.embedded.child import end_child, free_ports

_SETTLE_SECS = 5.0


def measure_idle(servers: Servers, secs: float) -> dict[str, Any]:
    """CPU of every process of an idle daemon (4 partitions, nobody looks at the status page), in % of a core."""
    topic = f"idle-{time.time_ns()}"
    broker.create_topic(broker.connect(servers.properties), topic, PARTITIONS)
    with servers.connect() as connection, tempfile.TemporaryDirectory(prefix="ingestd-bench-") as directory:
        work = Path(directory)
        connection.execute(f"DROP TABLE IF EXISTS {CONTRACT.table}")
        connection.execute("DROP SCHEMA IF EXISTS ingestd CASCADE")
        connection.execute(CONTRACT.create())
        port = free_ports(1)[0]
        daemon = start_ingestd(write_config(work, servers, CONTRACT.pipeline(topic), port), work)
        try:
            await_claims(connection, PARTITIONS, work)
            time.sleep(_SETTLE_SECS)
            children = fetch_view(f"http://127.0.0.1:{port}")["children"]
            names = {child["pid"]: child["name"] for child in children if child["pid"]} | {daemon.pid: "supervisor"}
            pids = cpu.tree([daemon.pid])
            before, began = {pid: cpu.times(pid) for pid in pids}, time.monotonic()
            time.sleep(secs)
            after, took = {pid: cpu.times(pid) for pid in pids}, time.monotonic() - began
        finally:
            end_child(daemon, signal.SIGTERM, timeout_secs=30)
    percent: dict[str, float] = {}
    for pid in pids:
        first, last = before[pid], after[pid]
        if first and last:
            percent[names.get(pid, f"process {pid}")] = (last.own_secs - first.own_secs) / took * 100
    return {"secs": took, "percent_of_a_core": {"whole daemon": sum(percent.values()), **percent}}
