"""A real Kafka Connect worker with Debezium, as a child process on 127.0.0.1. Knows nothing of who reads its topics."""

import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ingestd.embedded.child import free_ports, last_words, port_is_free
from ingestd.embedded.debezium_rest import USER, Connectors
from ingestd.embedded.debezium_source import DebeziumSource
from ingestd.embedded.jars import Download, connect_jars
from ingestd.embedded.java import JavaChild, java_program
from ingestd.errors import StartupError

_READY_SECS = 90
_STREAMING_SECS = 60
ERROR_MARKS = ("Caused by: ", "Exception: ", "ERROR ")
"""What the worker writes before the reason of its end, the most telling first."""

_PROPERTIES = {
    # What was read is noted at once, not once a minute: after a kill only this much is sent again.
    "offset.flush.interval.ms": "100",
    # Looking for plugins in every class of every jar costs seconds; these jars name theirs.
    "plugin.discovery": "service_load",
    "rest.extension.classes": "org.apache.kafka.connect.rest.basic.auth.extension.BasicAuthSecurityRestExtension",
    "key.converter": "org.apache.kafka.connect.json.JsonConverter",
    "value.converter": "org.apache.kafka.connect.json.JsonConverter",
    # Connect has one request under way: with the default of 16 KiB, two events with their schema, each waits for a
    # round trip. A schema repeated in every event is what compression is for.
    "producer.batch.size": "524288",
    "producer.linger.ms": "5",
    "producer.compression.type": "lz4",
    # The default gives up a batch of changes after two minutes without the broker, and the task with it.
    "producer.delivery.timeout.ms": "2147483647",
}
_LOGGING = """logger.types.name = io.debezium.connector.postgresql.TypeRegistry
logger.types.level = error
"""
_LOGIN = """KafkaConnect {
  org.apache.kafka.connect.rest.basic.auth.extension.PropertyFileLoginModule required file="%s";
};
"""


class DebeziumConnect:
    """One worker; how far each connector has read outlives stop(), kill() and the process.

    `worker_properties` are Connect's own and win over everything here. The directory holds passwords: it is closed to
    other users.
    """

    def __init__(
        self,
        directory: Path,
        bootstrap_servers: str,
        rest_port: int | None = None,
        worker_properties: Mapping[str, str] | None = None,
        heap_mb: int = 384,
        jvm_options: Sequence[str] = (),
        progress: Callable[[Download], None] | None = None,
    ):
        self._directory = Path(directory)
        self._bootstrap_servers = bootstrap_servers
        self._port = rest_port
        self._properties = dict(worker_properties or {})
        self._progress = progress
        self._java = JavaChild(self._directory, "connect.log", heap_mb, jvm_options)
        self._sources: dict[str, DebeziumSource] = {}

    @property
    def url(self) -> str:
        """The REST interface, for clients that log in as `USER` with `password`."""
        if self._port is None:
            raise RuntimeError("Connect was never started")
        return f"http://127.0.0.1:{self._port}"

    @property
    def password(self) -> str:
        """Made with the directory."""
        path = self._directory / "rest.password"
        try:
            return path.read_text().partition("=")[2].strip()
        except FileNotFoundError:
            password = secrets.token_urlsafe(12)
            _write_secret(path, f"{USER}={password}\n")
            return password

    @property
    def connectors(self) -> Connectors:
        """The REST interface as a client. A connector made with it is forgotten at a stop; `add` remembers it."""
        return Connectors(self.url, USER, self.password)

    @property
    def pid(self) -> int | None:
        """Process id of the JVM, None while it does not run."""
        return self._java.pid

    @property
    def log_path(self) -> Path:
        """What the worker wrote."""
        return self._java.log_path

    def start(self) -> None:
        """Start, and wait until the connectors added before run again. The calling thread must outlive the worker.

        Raises: StartupError when a download, the runtime, a port or a connector's database is missing.
        """
        self.launch()
        self.wait_ready()

    def launch(self) -> None:
        """Start without waiting; `wait_ready()` must follow."""
        if self.pid is not None:
            raise RuntimeError("Connect runs already")
        java_program()  # missing, it is told before a long download
        jars = connect_jars(self._progress)
        self._directory.mkdir(parents=True, exist_ok=True)
        self._directory.chmod(0o700)
        if self._port is None:
            self._port = free_ports(1)[0]
        elif not port_is_free(self._port):
            raise StartupError(f"port {self._port} of 127.0.0.1 is taken: choose another port for Kafka Connect")
        self._spawn(jars)

    def wait_ready(self) -> None:
        """Wait until the worker serves requests and its connectors run."""
        deadline = time.monotonic() + _READY_SECS
        while not self.connectors.serves():
            if self.pid is None or time.monotonic() > deadline:
                reason = last_words(self.log_path, *ERROR_MARKS)
                self.kill()
                raise StartupError(
                    f"the embedded Kafka Connect did not start: {reason or 'no output'}; see {self.log_path}"
                )
            time.sleep(0.05)
        for source in self._sources.values():
            self._run(source)

    def add(self, source: DebeziumSource) -> None:
        """Run this connector, now and after every start; returns when its replication slot is in use.

        Changes made after that are captured whatever the snapshot mode is. A connector whose name this directory knows
        from before goes on where that one was. An older one of its name is replaced.

        Raises: StartupError with Connect's reason when the database, a right or a setting is missing.
        """
        self._run(source)
        self._sources[source.name] = source
        self._wait_streaming(source)

    def remove(self, name: str) -> None:
        """Stop this connector; its slot stays in the source database and keeps WAL: drop it there."""
        self._sources.pop(name, None)
        self.connectors.remove(name)

    def stop(self, graceful: bool = True, timeout_secs: float = 20) -> None:
        """End the worker, by TERM (what was read is noted) or at once; returns when it is gone."""
        self._java.stop(graceful, timeout_secs)

    def kill(self) -> None:
        """kill -9; returns when it is gone."""
        self.stop(graceful=False)

    def _run(self, source: DebeziumSource) -> None:
        self.connectors.put(source.name, source.config())
        self.connectors.wait_running(source.name, _READY_SECS)

    def _wait_streaming(self, source: DebeziumSource) -> None:
        import psycopg

        deadline = time.monotonic() + _STREAMING_SECS
        with psycopg.connect(source.database_url, autocommit=True) as connection:
            query = "SELECT 1 FROM pg_replication_slots WHERE slot_name = %s AND active"
            while connection.execute(query, [source.slot]).fetchone() is None:
                if failure := self.connectors.failure(source.name):
                    raise StartupError(f"the connector {source.name} failed: {failure}")
                if time.monotonic() > deadline:
                    raise StartupError(f"the replication slot {source.slot} is not in use; see {self.log_path}")
                time.sleep(0.02)

    def _spawn(self, jars: Path) -> None:
        configuration = self._directory / "worker.properties"
        fixed = {
            "bootstrap.servers": self._bootstrap_servers,
            "listeners": self.url,
            "offset.storage.file.filename": str(self._directory / "offsets"),
        }
        chosen = _PROPERTIES | fixed | self._properties
        _write_secret(configuration, "".join(f"{name}={value}\n" for name, value in chosen.items()))
        # Asked for before the file is needed: the property makes it.
        assert self.password
        login = self._directory / "login.conf"
        login.write_text(_LOGIN % (self._directory / "rest.password"))
        main_class = "org.apache.kafka.connect.cli.ConnectStandalone"
        options = [f"-Djava.security.auth.login.config={login}"]
        self._java.start(jars, main_class, configuration, options, _LOGGING)


def _write_secret(path: Path, text: str) -> None:
    """Replace the file, readable by us alone."""
    scratch = path.with_name(path.name + ".new")
    scratch.unlink(missing_ok=True)
    with open(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    scratch.rename(path)
