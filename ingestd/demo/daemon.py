"""The real daemon as a child of the demo, with a configuration written for it. Knows nothing of load or screen."""

import signal
import subprocess
import sys
from pathlib import Path

from ingestd.embedded.child import end_child, free_ports, last_words, spawn
from ingestd.errors import StartupError

_STOP_SECS = 20.0
_ENDPOINTS = """[kafka]
bootstrap_servers = "{bootstrap_servers}"
group_id = "ingestd-demo"

[store]
url = "{store_url}"

[status]
listen = "127.0.0.1:{status_port}"

"""
SALES = """[[pipeline]]
name = "sales"
topic = "sales"
column = [
  { name = "id", type = "text", required = true },
  { name = "ts", type = "timestamptz", required = true },
  { name = "store_id", type = "text", required = true },
  { name = "amount_usd", type = "numeric(12,2)", required = true },
  { name = "channel", type = "text", required = true },
]

[pipeline.table]
name = "public.sales_events"
mode = "insert"
key = ["id"]
create = true
"""


class Daemon:
    """`ingestd run`, started by the constructor, with these pipelines."""

    def __init__(self, directory: Path, bootstrap_servers: str, store_url: str, pipelines: str = SALES):
        port = free_ports(1)[0]
        self.status_url = f"http://127.0.0.1:{port}"
        self._log_path = directory / "ingestd.log"
        config = directory / "ingestd.toml"
        # The URL holds the password: for us alone, and never on a command line.
        config.touch(mode=0o600)
        endpoints = _ENDPOINTS.format(bootstrap_servers=bootstrap_servers, store_url=store_url, status_port=port)
        config.write_text(endpoints + pipelines, encoding="utf-8")
        code = "import sys; from ingestd.cli import main; sys.exit(main())"
        # A session of its own (so Ctrl-C comes to us first), and it ends when we do, whatever ends us.
        self._child: subprocess.Popen[bytes] = spawn(
            [sys.executable, "-P", "-c", code, "run", "--config", config], self._log_path, signal.SIGTERM
        )

    def check(self) -> None:
        """Return while it runs.

        Raises: StartupError with the last line of its log.
        """
        code = self._child.poll()
        if code is not None:
            raise StartupError(f"the daemon ended with exit code {code}: {self.last_log_line()}")

    def last_log_line(self) -> str:
        """The last error that it logged, or its last line."""
        return last_words(self._log_path, '"level":"error"', '"level": "error"') or "it wrote nothing"

    def stop(self) -> int:
        """Let it finish its batches; its exit code."""
        end_child(self._child, signal.SIGTERM, _STOP_SECS)
        return int(self._child.wait())
