"""The status process: binds the socket, samples the board once a second, serves until SIGTERM.

Knows nothing of what the pages show. Import it in the child only: it loads the HTTP stack.
"""

import asyncio
import os
import signal
import socket
import time
from contextlib import suppress

import uvicorn
import uvloop
from starlette.applications import Starlette

from ingestd.board import Board
from ingestd.config.options import Config, Secret
from ingestd.errors import ConfigError, ExitCode, IngestdError, StartupError
from ingestd.logs import get_logger
from ingestd.signals import Stop
from ingestd.status.access import access_rules, is_loopback
from ingestd.status.app import Sources, make_app
from ingestd.status.listen import parse_listen
from ingestd.status.sampler import Sampler

log = get_logger()

TICK_SECS = 1.0
_SHUTDOWN_SECS = 1


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one.

    Raises: StartupError when the address is in use, not ours, or the port is not permitted.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        reason = error.strerror or str(error)
        raise StartupError(
            f"status page: cannot listen on {host}:{port}: {reason}; "
            "set status.listen to a free address (port 0 takes any), or status.enabled = false"
        ) from None


def reveal(token: str | None) -> str | None:
    """The token's text, to compare or send it; None without one."""
    return token.reveal() if isinstance(token, Secret) else token


def run_status(config: Config, board: Board, slot: int, stop: Stop | None = None) -> int:
    """Serve until SIGTERM or until the parent is gone; the exit code of the process.

    `stop` is the child's order to stop, in case it came before the event loop was there to hear it.
    STARTUP when the address cannot be bound, USAGE when it is not loopback and has no token.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        host, port = parse_listen(config.status.listen)
        if not is_loopback(host) and not config.status.token:
            raise ConfigError([f"status.listen: {host} is not loopback and needs status.token"])
        listener = bind(host, port)
    except IngestdError as error:
        log.error("status page failed", error=str(error))
        return error.exit_code
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(config, board, slot, listener, stop))
    return ExitCode.OK


async def _serve(config: Config, board: Board, slot: int, listener: socket.socket, order: Stop | None) -> None:
    parent = os.getppid()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    if order is not None and order.requested():
        stop.set()
    host, port = listener.getsockname()[:2]
    sampler = Sampler(board, config.pipeline, time.monotonic_ns(), _wall_ms())
    sources = Sources(snapshot=lambda: sampler.snapshot, supervisor_lives=lambda: os.getppid() == parent)
    app = make_app(config, access_rules(host, port, reveal(config.status.token)), sources)
    server = _http_server(app)
    await server.startup(sockets=[listener])
    shown = f"[{host}]" if ":" in host else host
    log.info("status page listens", url=f"http://{shown}:{port}/")
    while not stop.is_set() and sources.supervisor_lives():
        board.beat(slot)
        sampler.sample(time.monotonic_ns(), _wall_ms())
        # uvicorn's own loop would tick ten times a second only to refresh the Date header.
        await server.on_tick(0)
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), TICK_SECS)
    await server.shutdown(sockets=[listener])


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


def _http_server(app: Starlette) -> uvicorn.Server:
    """Ready for `startup`; without its own signal handlers, loop and access log."""
    config = uvicorn.Config(
        app,
        lifespan="off",
        ws="none",
        interface="asgi3",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        limit_concurrency=64,
        timeout_graceful_shutdown=_SHUTDOWN_SECS,
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    return server
