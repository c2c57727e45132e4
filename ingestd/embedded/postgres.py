"""A real PostgreSQL server as a child process on 127.0.0.1. Knows nothing of tables or ledgers."""

import re
import signal
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from ingestd.embedded.account import Installation, installation
from ingestd.embedded.child import end_child, free_ports, last_words, launch_command, port_is_free, spawn
from ingestd.errors import StartupError

SUPERUSER = "postgres"
_READY_SECS = 60
_PORT_ATTEMPTS = 3
_COLLISION = "Address already in use"
ERROR_MARKS = ("PANIC:", "FATAL:")
"""What the server writes before the reason of its end, the most telling first."""
_STOP_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
# A start-up packet for a database that does not exist is still answered: with an error once the server is ready,
# with SQLSTATE 57P03 while it is starting or recovering.
_PROBE = struct.pack(">i", 196608) + b"user\0postgres\0database\0postgres\0\0"


class PostgresServer:
    """One server; its data outlives stop() and start() and it comes back on the same port.

    `password=None` trusts the superuser on loopback; every other role needs its password (scram) in any case.
    """

    def __init__(
        self,
        directory: Path,
        port: int | None = None,
        settings: Mapping[str, str] | None = None,
        password: str | None = None,
    ):
        self._directory = Path(directory)
        self._wanted_port = port
        self._port = port
        self._settings = dict(settings or {})
        self._password = password
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        """The port, chosen at the first start."""
        if self._port is None:
            raise RuntimeError("the server was never started")
        return self._port

    @property
    def pid(self) -> int | None:
        """Process id of the postmaster, None while it does not run."""
        return self._child.pid if self._child and self._child.poll() is None else None

    @property
    def log_path(self) -> Path:
        """What the server wrote."""
        return self._directory / "postgres.log"

    def url(self, database: str = "postgres") -> str:
        """A connection URL for the superuser; it holds the password when there is one."""
        secret = f":{quote(self._password, safe='')}" if self._password else ""
        return f"postgresql://{SUPERUSER}{secret}@127.0.0.1:{self.port}/{quote(database, safe='')}"

    def start(self) -> None:
        """Start and wait until connections are accepted. The calling thread must outlive the server.

        Raises: StartupError when the package, a port or a permission is missing, or the server ends.
        """
        self.launch()
        self.wait_ready()

    def launch(self) -> None:
        """Start without waiting; `wait_ready()` must follow."""
        if self.pid is not None:
            raise RuntimeError("the server runs already")
        programs = installation()
        self._directory.mkdir(parents=True, exist_ok=True)
        programs.hand_over(self._directory)
        if not (self._directory / "data" / "PG_VERSION").exists():
            self._initialize(programs)
        if self._port is None:
            self._port = free_ports(1)[0]
        elif not port_is_free(self._port):
            raise StartupError(f"port {self._port} of 127.0.0.1 is taken: choose another port for PostgreSQL")
        self._spawn(programs)

    def wait_ready(self) -> None:
        """Wait until connections are accepted; a chosen port lost to another program meanwhile is replaced."""
        for attempt in range(1, _PORT_ATTEMPTS + 1):
            if self._wait_ready():
                return
            collided = last_words(self.log_path, _COLLISION).startswith(_COLLISION)
            if not collided or self._wanted_port is not None or attempt == _PORT_ATTEMPTS:
                break
            self._port = None
            self.launch()
        reason = last_words(self.log_path, *ERROR_MARKS)
        self.kill()
        raise StartupError(f"the embedded PostgreSQL did not start: {reason or 'no output'}; see {self.log_path}")

    def stop(self, mode: Literal["smart", "fast", "immediate"] = "fast", timeout_secs: float = 20) -> None:
        """Shut down: fast ends sessions and writes everything, immediate leaves recovery to the next start."""
        if self._child:
            end_child(self._child, _STOP_SIGNALS[mode], timeout_secs)

    def kill(self) -> None:
        """kill -9 of the postmaster; its sessions notice and end by themselves."""
        if self._child:
            end_child(self._child, signal.SIGKILL, 0)

    def restart(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stop and start with the same port and data."""
        self.stop(mode)
        self._wanted_port = self._port
        self.start()

    def _wait_ready(self) -> bool:
        deadline = time.monotonic() + _READY_SECS
        while self.pid is not None and time.monotonic() < deadline:
            if _accepts(self.port):
                return True
            time.sleep(0.02)
        return False

    def _spawn(self, programs: Installation) -> None:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "timezone": "UTC",
            "log_timezone": "UTC",
            **self._kept_settings(),
            **self._settings,
        }
        command: list[str | Path] = [programs.program("postgres"), "-D", self._directory / "data"]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        self.log_path.unlink(missing_ok=True)
        # QUIT and not KILL at our death: the postmaster then ends its sessions, and needs no answer from them.
        self._child = spawn(command, self.log_path, signal.SIGQUIT, programs.account)

    def _kept_settings(self) -> dict[str, str]:
        """What the data itself asks for: a server refuses to start with a logical slot and another wal_level."""
        slots = self._directory / "data" / "pg_replslot"
        return {"wal_level": "logical"} if any(slots.iterdir()) else {}

    def _initialize(self, programs: Installation) -> None:
        method = "scram-sha-256" if self._password else "trust"
        command: list[str | Path] = [programs.program("initdb"), "-D", self._directory / "data", "-U", SUPERUSER]
        command += ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        command += ["--auth=trust", "--no-sync", "--no-instructions"]
        with tempfile.NamedTemporaryFile("w", dir=self._directory, prefix="password-") as secret:
            if self._password:
                # By file and by its owner only: a command line can be read by everybody.
                secret.write(self._password)
                secret.flush()
                programs.hand_over(Path(secret.name))
                command += [f"--pwfile={secret.name}"]
            done = subprocess.run(
                launch_command(command, signal.SIGKILL, programs.account), capture_output=True, text=True, check=False
            )
        if done.returncode != 0:
            reason = re.sub(r"\s+", " ", done.stderr or done.stdout).strip()
            raise StartupError(f"cannot create a PostgreSQL data directory in {self._directory}: {reason[:300]}")
        (self._directory / "data" / "pg_hba.conf").write_text(
            f"host all {SUPERUSER} 127.0.0.1/32 {method}\n"
            f"host replication {SUPERUSER} 127.0.0.1/32 {method}\n"
            "host all all 127.0.0.1/32 scram-sha-256\n"
        )


def _accepts(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(struct.pack(">i", len(_PROBE) + 4) + _PROBE)
            answer = connection.recv(1024)
    except OSError:
        return False
    return answer[:1] == b"R" or (answer[:1] == b"E" and b"C57P03\0" not in answer)
