"""A real single-node Kafka broker (KRaft) as a child process on 127.0.0.1. Knows nothing of pipelines."""

import base64
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ingestd.embedded.child import free_ports, java_environment, last_words, launch_command, port_is_free
from ingestd.embedded.jars import Download, kafka_jars
from ingestd.embedded.java import JavaChild, java_program
from ingestd.embedded.startup_cache import recording_options, startup_cache_path, startup_options
from ingestd.errors import StartupError

_READY_SECS = 60
_PORT_ATTEMPTS = 3
_COLLISION = "Address already in use"
ERROR_MARKS = ("Exception: ", "ERROR ")
"""What the broker writes before the reason of its end, the most telling first."""

# Replication 1 because there is one node; one partition of each internal topic because fifty cost half a second at the
# first use; short session timeouts are allowed, because tests kill members and wait for the group to notice.
_PROPERTIES = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "auto.create.topics.enable": "false",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "group.consumer.min.session.timeout.ms": "1000",
    "group.consumer.min.heartbeat.interval.ms": "100",
}
# Metadata request, version 1, for no topic (an empty array): correlation 1, client "ingestd".
_METADATA_REQUEST = struct.pack(">hhih7si", 3, 1, 1, 7, b"ingestd", 0)


class KafkaServer:
    """One broker; its data outlives stop() and start() and it comes back on the same port."""

    def __init__(
        self,
        directory: Path,
        port: int | None = None,
        properties: Mapping[str, str] | None = None,
        heap_mb: int = 512,
        jvm_options: Sequence[str] = (),
        progress: Callable[[Download], None] | None = None,
    ):
        self._directory = Path(directory)
        self._wanted_port = port
        self._port = port
        self._properties = dict(properties or {})
        self._progress = progress
        self._java = JavaChild(self._directory, "kafka.log", heap_mb, jvm_options)

    @property
    def bootstrap_servers(self) -> str:
        """host:port for clients."""
        return f"127.0.0.1:{self.port}"

    @property
    def port(self) -> int:
        """The port, chosen at the first start."""
        if self._port is None:
            raise RuntimeError("the broker was never started")
        return self._port

    @property
    def pid(self) -> int | None:
        """Process id of the JVM, None while it does not run."""
        return self._java.pid

    @property
    def log_path(self) -> Path:
        """What the broker wrote."""
        return self._java.log_path

    def start(self) -> None:
        """Start and wait until the broker serves requests. The calling thread must outlive the broker.

        Raises: StartupError when a download, the runtime or a port is missing, or the broker ends.
        """
        self.launch()
        self.wait_ready()

    def launch(self) -> None:
        """Start without waiting; `wait_ready()` must follow."""
        if self.pid is not None:
            raise RuntimeError("the broker runs already")
        java_program()  # missing, it is told before a long download
        jars = kafka_jars(self._progress)
        self._directory.mkdir(parents=True, exist_ok=True)
        self._format(jars)
        if self._port is None:
            self._port = free_ports(1)[0]
        elif not port_is_free(self._port):
            raise StartupError(f"port {self._port} of 127.0.0.1 is taken: choose another port for the broker")
        self._spawn(jars)

    def wait_ready(self) -> None:
        """Wait until the broker serves requests; a chosen port lost to another program meanwhile is replaced."""
        for attempt in range(1, _PORT_ATTEMPTS + 1):
            if self._wait_ready():
                return
            collided = last_words(self.log_path, _COLLISION).startswith(_COLLISION)
            if not collided or attempt == _PORT_ATTEMPTS:
                break
            # The controller's port changes in any case; a wanted port that is taken is refused by name.
            self._port = self._wanted_port
            self.launch()
        reason = last_words(self.log_path, *ERROR_MARKS)
        self.kill()
        raise StartupError(f"the embedded Kafka did not start: {reason or 'no output'}; see {self.log_path}")

    def stop(self, graceful: bool = True, timeout_secs: float = 20) -> None:
        """End the broker, by TERM (clean logs) or at once; returns when it is gone."""
        self._java.stop(graceful, timeout_secs)

    def kill(self) -> None:
        """kill -9; returns when it is gone."""
        self.stop(graceful=False)

    def restart(self, graceful: bool = True) -> None:
        """Stop and start with the same port and data."""
        self.stop(graceful)
        self._wanted_port = self._port
        self.start()

    def _wait_ready(self) -> bool:
        deadline = time.monotonic() + _READY_SECS
        while self.pid is not None and time.monotonic() < deadline:
            if _serves(self.port):
                return True
            time.sleep(0.05)
        return False

    def _spawn(self, jars: Path) -> None:
        controller_port = free_ports(1)[0]
        while controller_port == self.port:
            controller_port = free_ports(1)[0]
        configuration = self._directory / "server.properties"
        configuration.write_text(_configuration(self._directory, self.port, controller_port, self._properties))
        self._java.start(jars, "kafka.Kafka", configuration, startup_options())

    def _format(self, jars: Path) -> None:
        """Make an empty log directory once; the checkpoint is the same for a whole version, so it is cached (1.1 s)."""
        target = self._directory / "data"
        if (target / "meta.properties").exists():
            return
        target.mkdir(parents=True, exist_ok=True)
        checkpoint = jars / "bootstrap.checkpoint"
        if not checkpoint.exists():
            _make_checkpoint(jars, checkpoint)
        shutil.copyfile(checkpoint, target / "bootstrap.checkpoint")
        meta = f"version=1\nnode.id=1\ncluster.id={_kafka_uuid()}\ndirectory.id={_kafka_uuid()}\n"
        (target / "meta.properties.new").write_text(meta)
        (target / "meta.properties.new").rename(target / "meta.properties")


def make_startup_cache() -> None:
    """Make later starts cheaper, once: a broker runs for a moment and writes down what it loaded (about 15 s).

    Worth it where brokers start often (tests). Does nothing when the cache exists.

    Raises: StartupError when the broker does not start.
    """
    target = startup_cache_path()
    if target.exists():
        return
    kafka_jars()
    with tempfile.TemporaryDirectory(prefix="record-", dir=target.parent) as name:
        recorded = Path(name) / "kafka.aot"
        server = KafkaServer(Path(name) / "kafka", jvm_options=recording_options(recorded))
        server.start()
        # The JVM writes the cache after the broker has ended.
        server.stop(timeout_secs=180)
        if recorded.exists():
            recorded.rename(target)


def _configuration(directory: Path, port: int, controller_port: int, properties: Mapping[str, str]) -> str:
    # A static quorum: the controller's port may differ at every start, nothing on disk names it.
    fixed = {
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "log.dirs": str(directory / "data"),
    }
    chosen = _PROPERTIES | fixed | dict(properties)
    return "".join(f"{name}={value}\n" for name, value in chosen.items())


def _make_checkpoint(jars: Path, checkpoint: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="format-", dir=jars.parent) as name:
        scratch = Path(name)
        (scratch / "server.properties").write_text(_configuration(scratch, 1024, 1025, {}))
        command: list[str | Path] = [
            java_program(),
            "-XX:TieredStopAtLevel=1",
            "-cp",
            f"{jars}/*",
            "kafka.tools.StorageTool",
            "format",
        ]
        command += ["-t", _kafka_uuid(), "-c", scratch / "server.properties"]
        started = launch_command(command, signal.SIGKILL)
        done = subprocess.run(started, capture_output=True, text=True, check=False, env=java_environment())
        if done.returncode != 0:
            reason = (done.stderr or done.stdout).strip().splitlines()[-1:]
            raise StartupError(f"cannot format the embedded Kafka's storage: {''.join(reason)}")
        (scratch / "data" / "bootstrap.checkpoint").rename(checkpoint)


def _kafka_uuid() -> str:
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


def _serves(port: int) -> bool:
    """Whether a metadata request is answered with at least one broker (a fenced one is not listed)."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(struct.pack(">i", len(_METADATA_REQUEST)) + _METADATA_REQUEST)
            header = connection.recv(12, socket.MSG_WAITALL)
    except OSError:
        return False
    return len(header) == 12 and bool(struct.unpack(">iii", header)[2] > 0)
