"""`ingestd status`: what the running daemon's status server says, in the terminal. Knows no Kafka and no database."""

import argparse
import contextlib
import json
import os
import sys
import time
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from rich.console import Console
from rich.live import Live

from ingestd.config import file as config_file
from ingestd.config.options import Config, Secret
from ingestd.errors import ConfigError, ExitCode, IngestdError, StartupError
from ingestd.status.listen import client_url
from ingestd.status.table import plain_lines, rich_view

TOKEN_VARIABLE = "INGESTD_STATUS_TOKEN"
DEFAULT_CONFIG = "ingestd.toml"
_TIMEOUT_SECS = 5.0
_PERIOD_SECS = 1.0
_PATIENCE_SECS = 10.0
_ANSWER_BYTES = 64 * 1024 * 1024

Json = dict[str, Any]


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The token goes to the server it was given for, and nowhere else."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "status",
        help="show lag, rates and state of every partition of the running daemon",
        description=(
            "Asks the status server of the running daemon. Exits 3 when it does not answer. "
            f"The token comes from the configuration or from the variable {TOKEN_VARIABLE}."
        ),
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--config", metavar="FILE", help=f"its configuration (default: {DEFAULT_CONFIG})")
    where.add_argument("--url", help="address of its status server, such as http://127.0.0.1:8480")
    parser.add_argument("--watch", action="store_true", help="show it anew every second, until Ctrl-C")
    parser.add_argument("--json", action="store_true", help="print the JSON of /api/partitions")
    parser.set_defaults(main=main)


def main(args: argparse.Namespace) -> int:
    """Print the status once, or until Ctrl-C; the exit code. Errors are one line on standard error."""
    try:
        url, token = _address(args.config, args.url)
        if args.watch:
            return _watch(url, token, as_json=args.json)
        _print(fetch(url, token), as_json=args.json)
        return ExitCode.OK
    except IngestdError as error:
        print(f"ingestd status: {error}", file=sys.stderr)
        return error.exit_code


def _address(config_path: str | None, url: str | None) -> tuple[str, str | None]:
    """(base URL, token).

    Raises: ConfigError when neither can be told.
    """
    token = os.environ.get(TOKEN_VARIABLE) or None
    if url is not None:
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
            raise ConfigError(['--url: must be like "http://127.0.0.1:8480"'])
        return url.rstrip("/"), token
    config: Config = config_file.load(config_path or DEFAULT_CONFIG)
    if not config.status.enabled:
        raise ConfigError(["status.enabled is false: this daemon has no status server"])
    configured = config.status.token
    return client_url(config.status.listen), configured.reveal() if isinstance(configured, Secret) else configured


def fetch(url: str, token: str | None) -> Json:
    """The answer of /api/partitions.

    Raises: StartupError when nobody answers there, or not with a status; ConfigError when the token is refused.
    """
    headers = {"Authorization": f"Bearer {token}".encode().decode("latin-1")} if token else {}
    request = urllib.request.Request(f"{url}/api/partitions", headers=headers)
    # No proxy: it would be asked for this machine's own loopback address.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect)
    try:
        with opener.open(request, timeout=_TIMEOUT_SECS) as answer:
            status = json.loads(answer.read(_ANSWER_BYTES))
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 401:
            raise ConfigError(
                [f"{url} refuses the token; set status.token in the configuration, or {TOKEN_VARIABLE}"]
            ) from None
        raise StartupError(f"{url} answered {error.code}; is that the status server of ingestd?") from None
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise StartupError(f"no daemon answers at {url} ({reason}); start it with `ingestd run`") from None
    except ValueError:
        raise StartupError(f"{url} did not answer with JSON; is that the status server of ingestd?") from None
    if not isinstance(status, dict) or "pipelines" not in status:
        raise StartupError(f"{url} did not answer with a status; is that the status server of ingestd?")
    return status


def _fetch_next(url: str, token: str | None) -> Json:
    """The answer a second later; a status server that is being restarted is waited for.

    Raises: StartupError when it stays away.
    """
    patience_ends_at = time.monotonic() + _PATIENCE_SECS
    while True:
        time.sleep(_PERIOD_SECS)
        try:
            return fetch(url, token)
        except StartupError:
            if time.monotonic() > patience_ends_at:
                raise


def _print(status: Json, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(status), flush=True)
    elif sys.stdout.isatty():
        console = Console()
        console.print(rich_view(status, console.width))
    else:
        print("\n".join(plain_lines(status)), flush=True)


def _watch(url: str, token: str | None, *, as_json: bool) -> int:
    status = fetch(url, token)
    with contextlib.suppress(KeyboardInterrupt):
        if as_json or not sys.stdout.isatty():
            while True:
                _print(status, as_json=as_json)
                status = _fetch_next(url, token)
        with Live(screen=True, auto_refresh=False) as live:
            while True:
                live.update(rich_view(status, live.console.width), refresh=True)
                status = _fetch_next(url, token)
    return ExitCode.OK
