"""The process that owns the embedded servers and ends them when its parent stops, crashes or is killed.

Run as `python -m ingestd.embedded.guardian`: the request is one JSON line on stdin, answers are JSON lines on stdout.
It has a session of its own, so that Ctrl-C at the terminal does not stop the servers before the daemon has drained.
Knows nothing of who asks or why.
"""

import contextlib
import json
import os
import secrets
import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

from ingestd.embedded import debezium, kafka, postgres
from ingestd.embedded.child import last_words
from ingestd.embedded.debezium import DebeziumConnect
from ingestd.embedded.directory import HeldDirectory, hold_directory, hold_temporary_directory
from ingestd.embedded.jars import Download
from ingestd.embedded.kafka import KafkaServer
from ingestd.embedded.postgres import PostgresServer
from ingestd.errors import IngestdError, StartupError

_WATCH_SECS = 0.5


def main() -> None:
    """Serve one request; never returns."""
    parent_pid = os.getppid()
    signal.signal(signal.SIGTERM, _handle_stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Directories on the way to PostgreSQL's files must let its user through, whatever the caller's umask is.
    os.umask(0o022)
    exit_code = 0
    try:
        # Unbuffered: what follows the first line is for the watching thread.
        with open(0, "rb", buffering=0, closefd=False) as stdin:
            request = json.loads(stdin.readline())
        threading.Thread(target=_await_end, args=(parent_pid,), daemon=True).start()
        _serve(request)
    except IngestdError as error:
        _answer(error=str(error))
        exit_code = int(error.exit_code)
    except SystemExit:
        pass
    # Not sys.exit: it would wait for downloads that nobody wants any more.
    os._exit(exit_code)


def _handle_stop(_number: int, _frame: FrameType | None) -> None:
    # The first request unwinds whatever is under way; more of them must not interrupt the cleaning up.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit


def _await_end(parent_pid: int) -> None:
    """Ask the main thread to stop once stdin ends or says so, or the parent is gone.

    Both are needed: a forked child of the parent may hold the pipe open after the parent was killed.
    """
    ended = threading.Event()

    def read() -> None:
        os.read(0, 1)
        ended.set()

    threading.Thread(target=read, daemon=True).start()
    while not ended.wait(_WATCH_SECS) and os.getppid() == parent_pid:
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _answer(**message: Any) -> None:
    # A broken pipe is a parent that is gone; the watching thread sees it too.
    with contextlib.suppress(BrokenPipeError):
        os.write(1, json.dumps(message).encode() + b"\n")


def _tell(download: Download) -> None:
    _answer(progress=list(download))


def _serve(request: dict[str, Any]) -> None:
    directory = request["directory"]
    held = hold_temporary_directory() if directory is None else hold_directory(Path(directory))
    try:
        servers = _Servers(held, request)
        try:
            _answer(ready=servers.start())
            servers.watch()
        finally:
            servers.stop()
    finally:
        held.release()


class _Servers:
    def __init__(self, held: HeldDirectory, request: dict[str, Any]):
        self._held = held
        self._request = request
        self._kafka: KafkaServer | None = None
        self._postgres: PostgresServer | None = None
        self._debezium: DebeziumConnect | None = None
        if request["kafka"] is not None:
            self._kafka = KafkaServer(self._private("kafka"), progress=_tell, **request["kafka"])
        if request["postgres"] is not None:
            password = _password(held.path)
            self._postgres = PostgresServer(self._private("postgres"), password=password, **request["postgres"])

    def _private(self, name: str) -> Path:
        path = self._held.path / name
        path.mkdir(mode=0o700, exist_ok=True)
        return path

    def start(self) -> dict[str, Any]:
        """Kafka and PostgreSQL at once, from this thread: the servers die with the thread that started them."""
        answer: dict[str, Any] = {"directory": str(self._held.path), "bootstrap_servers": None, "postgres_url": None}
        answer["debezium"] = None
        if self._kafka:
            self._kafka.launch()
        if self._postgres:
            self._postgres.start()
            answer["postgres_url"] = _database_url(self._postgres, self._request["database"])
        if self._kafka:
            self._kafka.wait_ready()
            answer["bootstrap_servers"] = self._kafka.bootstrap_servers
        if self._request["debezium"] is not None:
            answer["debezium"] = self._start_debezium(**self._request["debezium"])
        answer["pids"] = self._pids()
        self._held.remember(answer["pids"])
        return answer

    def _start_debezium(self, source_database: str, rest_port: int | None) -> dict[str, str]:
        assert self._kafka is not None and self._postgres is not None
        directory = self._private("debezium")
        self._debezium = DebeziumConnect(directory, self._kafka.bootstrap_servers, rest_port, progress=_tell)
        self._debezium.start()
        source_url = _database_url(self._postgres, source_database)
        return {"url": self._debezium.url, "password": self._debezium.password, "source_url": source_url}

    def _pids(self) -> dict[str, int]:
        named = {"kafka": self._kafka, "postgres": self._postgres, "debezium": self._debezium}
        return {name: server.pid for name, server in named.items() if server and server.pid is not None}

    def watch(self) -> None:
        """Until the process is asked to stop.

        Raises: StartupError when a server ends by itself.
        """
        while True:
            time.sleep(_WATCH_SECS)
            for name, server, marks in (
                ("Kafka", self._kafka, kafka.ERROR_MARKS),
                ("PostgreSQL", self._postgres, postgres.ERROR_MARKS),
                ("Kafka Connect", self._debezium, debezium.ERROR_MARKS),
            ):
                if server and server.pid is None:
                    last = last_words(server.log_path, *marks)
                    raise StartupError(f"the embedded {name} ended by itself: {last or 'it wrote nothing'}")

    def stop(self) -> None:
        """End all; what is thrown away needs no clean end."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if self._debezium:
            # First: it notes how far it has come, and PostgreSQL would wait for it.
            self._debezium.stop(graceful=not self._held.temporary)
        if self._postgres:
            self._postgres.stop("immediate" if self._held.temporary else "fast")
        if self._kafka:
            self._kafka.stop(graceful=not self._held.temporary)


def _password(directory: Path) -> str:
    """The superuser's password, made with the directory: without one, every user of this machine could run programs
    as us (COPY .. TO PROGRAM)."""
    path = directory / "postgres.password"
    try:
        return path.read_text()
    except FileNotFoundError:
        password = secrets.token_urlsafe(12)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(password)
        return password


def _database_url(server: PostgresServer, database: str | None) -> str:
    if database is None:
        return server.url()
    import psycopg
    from psycopg import sql

    with psycopg.connect(server.url(), autocommit=True) as connection:
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database]).fetchone() is None:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
    return server.url(database)


if __name__ == "__main__":
    main()
