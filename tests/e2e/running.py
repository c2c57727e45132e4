"""The command line as a user types it: a configuration in a directory, commands that end, and a daemon that runs."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.fault.daemon import COMMAND, Daemon

SERVERS = """
[kafka]
bootstrap_servers = "{bootstrap}"
group_id = "{group}"
group_instance_id = "{group}"
properties = {{ "session.timeout.ms" = 3000 }}
[store]
url = "{url}"
[status]
enabled = {status}
listen = "127.0.0.1:0"
"""
"""Where a configuration begins; a daemon that is killed is missed after three seconds."""
_CONFIG = (
    SERVERS
    + """
[[pipeline]]
name = "events"
topic = "{topic}"
batch = {{ max_rows = 1000 }}
{limits}
column = [
  {{ name = "id", type = "int8", required = true }},
  {{ name = "note", type = "text" }},
]
[pipeline.table]
name = "events"
mode = "insert"
key = ["id"]
create = true
"""
)


def write_config(directory: Path, bootstrap: str, url: str, topic: str, limits: str = "", status: bool = False) -> Path:
    """One topic into the table `events(id, note)`."""
    file = directory / "ingestd.toml"
    shown = str(status).lower()
    file.write_text(_CONFIG.format(bootstrap=bootstrap, url=url, group=topic, topic=topic, limits=limits, status=shown))
    return file


def events(count: int, first: int = 0) -> list[str]:
    return [f'{{"id": {number}, "note": "note {number}"}}' for number in range(first, first + count)]


def ingestd(*words: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    """A command that ends by itself."""
    line = [*COMMAND, *map(str, words)]
    return subprocess.run(line, capture_output=True, text=True, check=False, timeout=120, **options)  # type: ignore[call-overload, no-any-return]


def run_daemon(file: Path, *more: str, environment: dict[str, str] | None = None) -> Daemon:
    """`ingestd run`; its log lies beside the file."""
    words: Sequence[str] = ("run", "--config", str(file), "--log-format", "json", *more)
    number = len(list(file.parent.glob("run-*.log")))
    return Daemon(file.parent / f"run-{number}.log", words, **(environment or {}))


def catch_up(file: Path, environment: dict[str, str] | None = None) -> tuple[int, Daemon]:
    """The exit code of `ingestd run --until-caught-up`."""
    daemon = run_daemon(file, "--until-caught-up", environment=environment)
    try:
        return daemon.exit_code(90), daemon
    finally:
        daemon.destroy()
