"""One log on its way into one table, while faults happen: what a fault test holds in its hands.

A trigger on the table makes every batch wait as long as `throttle` says, between its rows and its cursor: so the flow
lasts as long as the test wants it, and most faults land where they hurt.
"""

import http.client
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from tests.fault.checker import Verdict, check, log_ends, read_log
from tests.fault.daemon import COMMAND, Daemon, wait_for
from tests.fault.tally import Tally

COLUMNS = """column = [
  {{ name = "record_id", type = "int8", required = true }},
  {{ name = "tx_id", type = "varchar", required = true }},
  {{ name = "user_id", type = "varchar", required = true }},
  {{ name = "amount", type = "numeric(10,2)", required = true }},
  {{ name = "currency", type = "varchar(3)", required = true }},
  {{ name = "merchant", type = "varchar(255)", required = true }},
  {{ name = "category", type = "varchar(100)", required = true }},
  {{ name = "timestamp", type = "timestamp", required = true }},
]
"""
CONFIG = (
    """
[kafka]
bootstrap_servers = "{bootstrap}"
group_id = "{group}"
group_instance_id = "{instance}"
properties = {{ "session.timeout.ms" = 3000, "topic.metadata.refresh.interval.ms" = 1000 }}
[store]
url = "{url}"
[workers]
max_workers = {max_workers}
restart_backoff = "50ms"
drain_timeout = "{drain_timeout}"
[status]
enabled = {status}
listen = "127.0.0.1:0"
[[pipeline]]
name = "payments"
topic = "{topic}"
batch = {{ max_rows = {max_rows} }}
"""
    + COLUMNS
    + """[pipeline.table]
name = "sink"
mode = "{mode}"
"""
)
TABLE = """
CREATE TABLE sink (
    record_id bigint NOT NULL, tx_id varchar NOT NULL {key}, user_id varchar NOT NULL,
    amount decimal(10,2) NOT NULL {check}, currency varchar(3) NOT NULL, merchant varchar(255) NOT NULL,
    category varchar(100) NOT NULL, timestamp timestamp NOT NULL, ingested_at timestamp DEFAULT current_timestamp);
CREATE TABLE throttle AS SELECT 0.0::float8 AS secs;
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN PERFORM pg_sleep(secs * (0.5 + random())) FROM throttle WHERE secs > 0; RETURN NULL; END';
CREATE TRIGGER slow AFTER INSERT ON sink FOR EACH STATEMENT EXECUTE FUNCTION slow();
"""


@dataclass
class Shape:
    """How a test wants table and daemon."""

    mode: str = "insert"
    has_check: bool = True
    max_rows: int = 1000
    max_workers: int = 4
    status: bool = False
    drain_timeout: str = "10s"


class Flow:
    """Topic, database and daemons of one test."""

    def __init__(self, directory: Path, bootstrap: str, url: str, topic: str, shape: Shape, tally: Tally):
        self.bootstrap = bootstrap
        self.url = url
        self.topic = topic
        self.shape = shape
        self.tally = tally
        self.daemons: list[Daemon] = []
        self.ends: dict[int, int] = {}
        """Log ends, when the log is complete; while they are empty the log still grows."""
        self._directory = directory
        key = "PRIMARY KEY" if shape.mode == "insert" else ""
        with self.connect() as connection:
            connection.execute(TABLE.format(key=key, check="CHECK (amount >= 0)" if shape.has_check else ""))

    def connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.url, autocommit=True)

    def throttle(self, secs: float) -> None:
        """How long each batch waits, on average."""
        with self.connect() as connection:
            connection.execute("UPDATE throttle SET secs = %s", (secs,))

    def start(self, instance: str = "one", command: Sequence[str] = COMMAND, through: str = "") -> Daemon:
        """A daemon of the group; `through` is host:port of a proxy to the database."""
        path = self._directory / f"{instance}.toml"
        path.write_text(self.config(instance, through))
        arguments = ["run", "--config", str(path), "--log-format", "json"]
        log = self._directory / f"{instance}-{len(self.daemons)}.log"
        self.daemons.append(Daemon(log, arguments, command))
        return self.daemons[-1]

    def config(self, instance: str, through: str = "") -> str:
        """The configuration file's text."""
        parts, shape = conninfo_to_dict(self.url), self.shape
        url = f"postgresql://postgres@{through or '127.0.0.1:' + str(parts['port'])}/{parts['dbname']}"
        text = CONFIG.format(
            bootstrap=self.bootstrap,
            group=parts["dbname"],
            instance=f"{parts['dbname']}-{instance}",
            url=url,
            topic=self.topic,
            mode=shape.mode,
            max_rows=shape.max_rows,
            max_workers=shape.max_workers,
            drain_timeout=shape.drain_timeout,
            status=str(shape.status).lower(),
        )
        return text + ('key = ["tx_id"]\n' if shape.mode == "insert" else "")

    # --- what the ledger says

    def cursors(self) -> dict[int, tuple[int, int]]:
        """(next offset, epoch) by partition; empty before the first claim."""
        with self.connect() as connection:
            if connection.execute("SELECT to_regclass('ingestd.cursors')").fetchone() == (None,):
                return {}
            rows = connection.execute("SELECT partition, next_offset, epoch FROM ingestd.cursors").fetchall()
            return {partition: (at, epoch) for partition, at, epoch in rows}

    def committed(self) -> int:
        return sum(at for at, _ in self.cursors().values())

    def wait_for_progress(self, records: int = 1, secs: float = 60.0) -> float:
        """Until so many more records are committed; the seconds it took."""
        goal = self.committed() + records
        return self.daemons[-1].wait(lambda: self.committed() >= goal, f"{records} more records", secs)

    def wait_for_each(self, beyond: dict[int, tuple[int, int]], secs: float = 60.0) -> float:
        """Until every partition that was not at its end has committed beyond these cursors; the seconds it took."""
        full = {p: high for p, high in log_ends(self.bootstrap, self.topic).items() if high}
        beyond = {p: at for p, at in beyond.items() if at[0] < full.get(p, 1)}

        def moved() -> bool:
            now = self.cursors()
            return all(p in now and now[p][0] > at for p, (at, _) in beyond.items())

        return self.daemons[-1].wait(moved, "a commit in every partition", secs)

    # --- faults and the verdict

    def inject(self, fault: Callable[[], object]) -> None:
        """Do it, and count it; it must happen before the log has been read."""
        committed = self.committed()
        assert committed > 0, "a fault before the first commit"
        assert not self.ends or committed < sum(self.ends.values()), "the fault came too late: the log was read"
        fault()
        self.tally.faults += 1

    def note(self, text: str) -> None:
        """For the report at the end of the session."""
        self.tally.notes.append(text)

    def finish(self, secs: float = 120.0) -> Verdict:
        """Let the rest through at full speed, stop the daemons, and give the verdict."""
        log, self.ends = read_log(self.bootstrap, self.topic)
        self.throttle(0)
        goal = {partition: end for partition, end in self.ends.items() if end}
        self.daemons[-1].wait(lambda: {p: at for p, (at, _) in self.cursors().items() if at} == goal, "the end", secs)
        living = [daemon for daemon in self.daemons if daemon.process.poll() is None]
        for daemon in living:
            assert daemon.end() == 0, daemon.log()
        with self.connect() as connection:
            self.tally.verdict = check(connection, log, self.ends, self.shape.mode, self.shape.has_check)
        if self.tally.verdict.problems:
            self.tally.verdict.problems += [f"{daemon.log_path}" for daemon in self.daemons]
        return self.tally.verdict

    def destroy(self) -> None:
        for daemon in self.daemons:
            daemon.destroy()


def status_of(daemon: Daemon) -> Any:
    """What /api/partitions says."""
    daemon.wait(lambda: daemon.events("status page listens"), "the status page")
    url = daemon.events("status page listens")[-1]["url"]
    connection = http.client.HTTPConnection(url.removeprefix("http://").rstrip("/"), timeout=10)
    try:
        connection.request("GET", "/api/partitions")
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


def wait_for_backend(flow: Flow, condition: str, secs: float = 20.0) -> list[Any]:
    """Sessions of the daemon for which `condition` on pg_stat_activity holds, as soon as there is one."""
    query = f"SELECT pid, query FROM pg_stat_activity WHERE application_name LIKE 'ingestd%' AND ({condition})"
    found: list[Any] = []

    def look() -> bool:
        with flow.connect() as connection:
            found[:] = connection.execute(query).fetchall()
        return bool(found)

    wait_for(look, condition, secs)
    return found


def since(began: float) -> float:
    return round(time.monotonic() - began, 2)
