"""What is measured side by side: ingestd, a sketch from elsewhere, the COPY limit. Measures nothing itself."""

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import orjson
import psycopg
from psycopg.conninfo import conninfo_to_dict

from bench.problem import Problem
from bench.servers import PARTITIONS, Load, Servers
from bench.tables import Target
from ingestd.embedded.child import free_ports

_INGESTD = (sys.executable, "-P", "-c", "import sys; from ingestd.cli import main; sys.exit(main())")
_READY_SECS = 600.0


class Started(NamedTuple):
    """Running processes; `release` begins the measured part, `status_url` is ingestd's status page."""

    processes: list[subprocess.Popen[bytes]]
    release: Callable[[], None]
    status_url: str | None = None


class Contender(Protocol):
    """One way from the topic into the table."""

    name: str

    def prepare(self, connection: psycopg.Connection[Any]) -> None:
        """Fresh tables."""
        ...

    def start(self, work: Path) -> Started:
        """Start it; its logs go to `work`."""
        ...

    def is_done(self, connection: psycopg.Connection[Any], started: Started) -> bool:
        """Whether everything is in. May raise UndefinedTable while it is starting."""
        ...


class Ingestd:
    """The real daemon, `ingestd run --until-caught-up`, with ledger, dead letters and status page on."""

    def __init__(self, servers: Servers, load: Load, target: Target, staged: bool = False, check: bool = False):
        self._servers, self._load, self._target, self._staged, self._check = servers, load, target, staged, check
        way = "staged" if staged else "direct"
        bad = " bad-" + load.topic.rpartition("-bad-")[2] if load.bad else ""
        self.name = f"ingestd {way}{bad}"

    def prepare(self, connection: psycopg.Connection[Any]) -> None:
        """The table, and no ledger."""
        connection.execute(f"DROP TABLE IF EXISTS {self._target.table}")
        connection.execute("DROP SCHEMA IF EXISTS ingestd CASCADE")
        connection.execute(self._target.create(self._check))

    def start(self, work: Path) -> Started:
        """See `Contender`."""
        port = free_ports(1)[0]
        pipeline = self._target.pipeline(self._load.topic, self._staged)
        # One worker a core, as the sketch has: broker and database share the cores too.
        config = write_config(work, self._servers, pipeline, port, f"max_workers = {os.cpu_count()}")
        child = start_ingestd(config, work, "--until-caught-up")
        return Started([child], lambda: None, f"http://127.0.0.1:{port}")

    def is_done(self, connection: psycopg.Connection[Any], started: Started) -> bool:
        """The cursors move with the rows, in one transaction."""
        found = connection.execute("SELECT coalesce(sum(next_offset), 0) FROM ingestd.cursors").fetchone()
        return bool(found and found[0] >= self._load.messages)


class Sketch:
    """prototype.py of a directory that is given; it knows the servers by two environment variables."""

    def __init__(self, servers: Servers, load: Load, target: Target, directory: Path, staged: bool = False):
        self._servers, self._load, self._target, self._directory = servers, load, target, directory
        self._way = "stage" if staged else "direct"
        self.name = f"sketch {'staged' if staged else 'direct'}"
        if not (directory / "prototype.py").is_file():
            raise Problem(f"{directory}: no prototype.py in it")

    def prepare(self, connection: psycopg.Connection[Any]) -> None:
        """The table, and the sketch's own table of offsets."""
        connection.execute(f"DROP TABLE IF EXISTS {self._target.table}, offs")
        connection.execute(self._target.create())
        connection.execute("CREATE TABLE offs (p int PRIMARY KEY, o bigint)")

    def start(self, work: Path) -> Started:
        """See `Contender`."""
        parts = conninfo_to_dict(self._servers.postgres_url)
        environment = {
            **self._servers.libpq_environment(),
            "PEERS_KAFKA_PORT": self._servers.bootstrap_servers.rpartition(":")[2],
            "PEERS_PG_PORT": str(parts["port"]),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        command = [sys.executable, "prototype.py", self._load.topic, "2", self._way, "20000"]
        return Started([_spawn(command, work / "sketch.log", environment, self._directory)], lambda: None)

    def is_done(self, connection: psycopg.Connection[Any], started: Started) -> bool:
        """It stores the offset of the last record, with the rows."""
        found = connection.execute("SELECT coalesce(sum(o + 1), 0) FROM offs").fetchone()
        return bool(found and found[0] >= self._load.messages)


class CopyLimit:
    """Two connections that copy batches which were encoded before the clock starts."""

    def __init__(self, servers: Servers, load: Load, target: Target, staged: bool = False):
        self._servers, self._load, self._target = servers, load, target
        self._way = "staged" if staged else "direct"
        self.name = f"COPY limit {self._way}"

    def prepare(self, connection: psycopg.Connection[Any]) -> None:
        """The table."""
        connection.execute(f"DROP TABLE IF EXISTS {self._target.table}")
        connection.execute(self._target.create())

    def start(self, work: Path) -> Started:
        """Returns when all rows are encoded."""
        children = [self._start_one(work, parts) for parts in (range(0, PARTITIONS, 2), range(1, PARTITIONS, 2))]
        for child in children:
            assert child.stdout is not None
            if child.stdout.readline().strip() != b"ready":
                raise Problem(f"the COPY limit ended: {last_line(work / 'copy.log')}")
        return Started(children, lambda: _release(children))

    def is_done(self, connection: psycopg.Connection[Any], started: Started) -> bool:
        """They end by themselves."""
        return all(child.poll() is not None for child in started.processes)

    def _start_one(self, work: Path, partitions: Sequence[int]) -> subprocess.Popen[bytes]:
        arguments = [self._servers.bootstrap_servers, self._load.topic, self._target.name, self._way]
        command = [sys.executable, "-m", "bench.copy_limit", *arguments, *map(str, partitions)]
        environment = {"BENCH_STORE_URL": self._servers.postgres_url}
        return _spawn(command, work / "copy.log", environment, Path(__file__).parents[1], pipes=True)


def write_config(work: Path, servers: Servers, pipeline: str, status_port: int, workers: str = "") -> Path:
    """A configuration file for the daemon; a new consumer group each time."""
    path = work / "ingestd.toml"
    path.touch(mode=0o600)
    path.write_text(
        f'[kafka]\nbootstrap_servers = "{servers.bootstrap_servers}"\ngroup_id = "bench-{time.time_ns()}"\n\n'
        f'[store]\nurl = "{servers.postgres_url}"\n\n[status]\nlisten = "127.0.0.1:{status_port}"\n\n'
        f"[workers]\n{workers}\n\n{pipeline}",
        encoding="utf-8",
    )
    return path


def start_ingestd(config: Path, work: Path, *options: str) -> subprocess.Popen[bytes]:
    """The daemon; its log is ingestd.log in `work`."""
    return _spawn([*_INGESTD, "run", "--config", str(config), *options], work / "ingestd.log", {}, work)


def fetch_view(status_url: str) -> dict[str, Any]:
    """The status page's JSON. Raises: OSError while it is not up."""
    with urllib.request.urlopen(f"{status_url}/api/partitions", timeout=2) as answer:
        view: dict[str, Any] = orjson.loads(answer.read())
    return view


def children_by_name(status_url: str) -> dict[str, int]:
    """Process ids of the daemon's children; empty while the status page is not up."""
    try:
        view = fetch_view(status_url)
    except OSError:
        return {}
    return {child["name"]: child["pid"] for child in view["children"] if child["pid"]}


def last_line(path: Path) -> str:
    """The end of a log, for an error message."""
    lines = path.read_text(errors="replace").strip().splitlines() if path.exists() else []
    return lines[-1][:300] if lines else "it wrote nothing"


def _release(children: list[subprocess.Popen[bytes]]) -> None:
    for child in children:
        assert child.stdin is not None
        child.stdin.write(b"\n")
        child.stdin.close()


def _spawn(
    command: list[str], log: Path, environment: dict[str, str], directory: Path, pipes: bool = False
) -> subprocess.Popen[bytes]:
    with log.open("ab") as out:
        return subprocess.Popen(
            command,
            cwd=directory,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE if pipes else subprocess.DEVNULL,
            stdout=subprocess.PIPE if pipes else out,
            stderr=out,
            start_new_session=True,
        )
