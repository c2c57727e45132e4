"""A real Kafka, PostgreSQL and Debezium for as long as this process wants them. Loads no client library."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from ingestd.embedded.child import wait_until
from ingestd.embedded.debezium_rest import USER, Connectors
from ingestd.embedded.jars import Download
from ingestd.errors import StartupError

_STOP_SECS = 60


class DebeziumAccess(NamedTuple):
    """A running Kafka Connect with Debezium, without a connector yet, and the database to capture from.

    Both URLs and the password let their owner do everything: never log them.
    """

    url: str
    password: str
    source_url: str

    @property
    def user(self) -> str:
        """Who logs in with the password."""
        return USER

    @property
    def connectors(self) -> Connectors:
        """The REST interface as a client."""
        return Connectors(self.url, USER, self.password)


class Stack:
    """Running servers; they end at `stop()`, at the end of the `with` block, and whenever this process is gone.

    Forked children may use the endpoints, but only the process that started the stack ends it.
    """

    def __init__(self, guardian: subprocess.Popen[bytes], ready: Mapping[str, Any], temporary: bool):
        self._guardian = guardian
        self._directory = Path(ready["directory"])
        self._temporary = temporary
        self._owner_pid = os.getpid()
        self._bootstrap_servers: str | None = ready["bootstrap_servers"]
        self._postgres_url: str | None = ready["postgres_url"]
        self._servers: dict[str, int] = ready["pids"]
        self._debezium = DebeziumAccess(**ready["debezium"]) if ready["debezium"] else None

    @property
    def bootstrap_servers(self) -> str:
        """host:port of the broker."""
        if self._bootstrap_servers is None:
            raise RuntimeError("this stack was started without Kafka")
        return self._bootstrap_servers

    @property
    def postgres_url(self) -> str:
        """URL of the requested database for the superuser. It holds the password: never log it."""
        if self._postgres_url is None:
            raise RuntimeError("this stack was started without PostgreSQL")
        return self._postgres_url

    @property
    def debezium(self) -> DebeziumAccess:
        """Kafka Connect, and the database to capture changes from."""
        if self._debezium is None:
            raise RuntimeError("this stack was started without Debezium")
        return self._debezium

    @property
    def directory(self) -> Path:
        """Where the servers keep their files."""
        return self._directory

    @property
    def pids(self) -> dict[str, int]:
        """Process ids of "guardian" and, as far as they were asked for, "kafka", "postgres" and "debezium"."""
        return {"guardian": self._guardian.pid, **self._servers}

    def check(self) -> None:
        """Return while the servers run.

        Raises: StartupError, saying which one ended and why, once the stack is gone.
        """
        if self._guardian.poll() is None:
            return
        assert self._guardian.stdout is not None
        last = self._guardian.stdout.readline()
        reason = json.loads(last).get("error") if last else None
        raise StartupError(reason or "the embedded servers were ended from outside: start again")

    def stop(self) -> None:
        """End the servers, remove temporary files; returns when nothing is left. Does nothing when called again."""
        if os.getpid() != self._owner_pid:
            return
        _end_guardian(self._guardian)
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in self._servers.values()), 10)
        if self._temporary:
            # Already gone, unless the guardian was killed.
            shutil.rmtree(self._directory, ignore_errors=True)

    def __enter__(self) -> "Stack":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start_stack(
    kafka: bool = True,
    postgres: bool = True,
    directory: Path | None = None,
    progress: Callable[[Download], None] | None = None,
    *,
    database: str | None = None,
    kafka_port: int | None = None,
    postgres_port: int | None = None,
    source_database: str | None = None,
    rest_port: int | None = None,
) -> Stack:
    """Running servers on 127.0.0.1, on free ports unless given, ready for clients.

    `directory=None` is a temporary one; what is in a given one is kept, and found again by the next start.
    `database` is created when missing. With `source_database`, created likewise, there is Debezium too (it needs both
    servers), on `rest_port`. `progress` is called while the first start downloads what is missing.

    Raises: StartupError when a package, a download, a port or a permission is missing, or the directory is in use.
    """
    capture = None if source_database is None else {"source_database": source_database, "rest_port": rest_port}
    settings = {"wal_level": "logical"} if capture else {}
    request = {
        "directory": None if directory is None else str(Path(directory).absolute()),
        "kafka": {"port": kafka_port} if kafka else None,
        "postgres": {"port": postgres_port, "settings": settings} if postgres else None,
        "database": database,
        "debezium": capture,
    }
    # -P: a file of the working directory must not shadow a module.
    guardian = subprocess.Popen(
        [sys.executable, "-P", "-m", "ingestd.embedded.guardian"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        ready = _ready(guardian, request, progress)
    except BaseException:
        _end_guardian(guardian)
        raise
    return Stack(guardian, ready, temporary=directory is None)


def _ready(
    guardian: subprocess.Popen[bytes], request: Mapping[str, Any], progress: Callable[[Download], None] | None
) -> dict[str, Any]:
    assert guardian.stdin is not None and guardian.stdout is not None
    guardian.stdin.write(json.dumps(request).encode() + b"\n")
    guardian.stdin.flush()
    for line in guardian.stdout:
        answer = json.loads(line)
        if "error" in answer:
            raise StartupError(answer["error"])
        if "ready" in answer:
            ready: dict[str, Any] = answer["ready"]
            return ready
        if progress:
            progress(Download(*answer["progress"]))
    raise StartupError("the process that starts the embedded servers ended without an answer: try again")


def _end_guardian(guardian: subprocess.Popen[bytes]) -> None:
    assert guardian.stdin is not None and guardian.stdout is not None
    if not guardian.stdin.closed:
        # A byte and not only the end of the file: a forked child may hold the pipe open. A broken pipe: gone already.
        with contextlib.suppress(BrokenPipeError):
            guardian.stdin.write(b".")
            guardian.stdin.close()
    try:
        guardian.wait(_STOP_SECS)
    except subprocess.TimeoutExpired:
        guardian.kill()
        guardian.wait()
    guardian.stdout.close()
