"""One log on its way into one SQLite file, while faults happen: what a fault test holds in its hands.

A trigger burns time in the middle of batches of the first half of the log, so that most faults land in a transaction.
"""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.fault.checker import Verdict, check, read_log
from tests.fault.daemon import Daemon
from tests.fault.flow import COLUMNS
from tests.sqlite.bench import ask

CONFIG = (
    """
[kafka]
bootstrap_servers = "{bootstrap}"
group_id = "{group}"
properties = {{ "topic.metadata.refresh.interval.ms" = 1000 }}
[store]
url = "sqlite:///{path}"
[workers]
restart_backoff = "50ms"
[status]
enabled = false
[[pipeline]]
name = "payments"
topic = "{topic}"
batch = {{ max_rows = 2000 }}
"""
    + COLUMNS
    + """[pipeline.table]
name = "sink"
mode = "append"
"""
)
OTHER = """
[[pipeline]]
name = "other"
topic = "{topic}"
column = [{{ name = "id", type = "int8" }}]
[pipeline.table]
name = "other"
create = true
"""
TABLE = """
CREATE TABLE sink (
    record_id INTEGER NOT NULL, tx_id TEXT NOT NULL, user_id TEXT NOT NULL,
    amount TEXT NOT NULL CHECK (CAST(amount AS REAL) >= 0), currency TEXT NOT NULL, merchant TEXT NOT NULL,
    category TEXT NOT NULL, timestamp TEXT NOT NULL);
CREATE VIEW burn AS WITH RECURSIVE c(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM c LIMIT {turns})
    SELECT count(*) AS n FROM c;
CREATE TRIGGER slow AFTER INSERT ON sink WHEN new.record_id % 1000 = 0 AND new.record_id < 100000 BEGIN
    SELECT n FROM burn; END;
"""


class _Ledger:
    """A connection for the checker's questions, which are PostgreSQL's: there || binds less than %."""

    def __init__(self, connection: sqlite3.Connection):
        self._connection = connection

    def execute(self, query: str) -> sqlite3.Cursor:
        query = query.replace("ingestd.", "ingestd_").replace("record_id % 89", "(record_id % 89)")
        return self._connection.execute(query)


class FileFlow:
    """Topic, file and daemons of one test."""

    def __init__(self, directory: Path, bootstrap: str, topic: str, turns: int = 30_000, path: str = "") -> None:
        self.bootstrap = bootstrap
        self.topic = topic
        self.path = path or str(directory / "sink.db")
        self.daemons: list[Daemon] = []
        self.other = ""
        self._directory = directory
        ask(self.path, "PRAGMA journal_mode = WAL;" + TABLE.format(turns=turns))

    def start(self, name: str = "one") -> Daemon:
        """A daemon on this file."""
        config = self._directory / f"{name}.toml"
        group = f"{self._directory.name}-{name}"
        text = CONFIG.format(bootstrap=self.bootstrap, group=group, path=self.path, topic=self.topic)
        config.write_text(text + (OTHER.format(topic=self.other) if self.other else ""))
        log = self._directory / f"{name}-{len(self.daemons)}.log"
        self.daemons.append(Daemon(log, ["run", "--config", str(config), "--log-format", "json"]))
        return self.daemons[-1]

    def cursors(self, pipeline: str = "payments") -> dict[int, int]:
        """Next offset by partition; empty before the first claim."""
        with contextlib.closing(sqlite3.connect(self.path, timeout=10)) as connection:
            exists = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'ingestd_cursors'").fetchone()
            found = "SELECT partition, next_offset FROM ingestd_cursors WHERE pipeline = ?"
            return dict(connection.execute(found, (pipeline,)).fetchall()) if exists else {}

    def wait_for_progress(self, records: int = 1, secs: float = 60.0) -> float:
        """Until so many more records are committed; the seconds it took."""
        goal = sum(self.cursors().values()) + records
        return self.daemons[-1].wait(lambda: sum(self.cursors().values()) >= goal, f"{records} more records", secs)

    def finish(self, secs: float = 120.0) -> Verdict:
        """Let the rest through at full speed, stop the daemon, and give the verdict."""
        log, ends = read_log(self.bootstrap, self.topic)
        self.daemons[-1].wait(lambda: self.cursors() == ends, "the end", secs)
        for daemon in self.daemons:
            if daemon.process.poll() is None:
                assert daemon.end() == 0, daemon.log()
        ask(self.path, "DELETE FROM ingestd_cursors WHERE pipeline = 'other'")
        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            ledger: Any = _Ledger(connection)
            return check(ledger, log, ends, "append", has_check=True)

    def destroy(self) -> None:
        for daemon in self.daemons:
            daemon.destroy()


@contextlib.contextmanager
def locked(path: str) -> Iterator[None]:
    """The file as long as somebody else holds it for himself."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")
