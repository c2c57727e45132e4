"""The routes on which other programs read lakes: at most two answers at a time, each made by a process of its own.

Knows nothing of DuckDB, of files and of the store.
"""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import IO

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from ingestd.config.options import Config, Pipeline
from ingestd.status.lake_child import Head, Order
from ingestd.status.lake_question import BadQuestion, Question, read_question

AT_ONCE = 2
_PIECE_BYTES = 256 * 1024


class Desk:
    """How many answers are being made."""

    def __init__(self, config: Config):
        self.config = config
        self.busy = 0


def lake_routes(config: Config) -> list[Route]:
    """None when no pipeline has a lake."""
    lakes = [pipeline for pipeline in config.pipeline if pipeline.lake is not None]
    if not lakes:
        return []
    desk = Desk(config)

    async def listed(_: Request) -> Response:
        return LakeAnswer(desk, lakes, None)

    async def rows(request: Request) -> Response:
        name = request.path_params["name"]
        chosen = [pipeline for pipeline in lakes if pipeline.name == name]
        if not chosen:
            return PlainTextResponse(f"no lake of that name; there are {', '.join(one.name for one in lakes)}\n", 404)
        try:
            question = read_question(name, request.query_params.multi_items(), config.status.lake_max_rows)
        except BadQuestion as error:
            return PlainTextResponse(f"{error}\n", 400)
        return LakeAnswer(desk, chosen, question)

    return [Route("/lake", listed, methods=["GET"]), Route("/lake/{name}", rows, methods=["GET"])]


class LakeAnswer(Response):
    """Starts the process, passes on what it writes, and ends it: when it is done, too slow, or nobody listens."""

    def __init__(self, desk: Desk, pipelines: Sequence[Pipeline], question: Question | None):
        self._desk = desk
        status = desk.config.status
        self._order = pickle.dumps(Order(desk.config.store, pipelines, question, int(status.lake_memory)))
        self._timeout = float(status.lake_timeout)
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._desk.busy >= AT_ONCE:
            text = f"{AT_ONCE} answers are being made; ask again\n"
            await PlainTextResponse(text, 503, {"retry-after": "1"})(scope, receive, send)
            return
        self._desk.busy += 1
        try:
            await self._answer(scope, receive, send)
        finally:
            self._desk.busy -= 1

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        process = await asyncio.to_thread(_start, self._order)
        gone = asyncio.create_task(_kill_when_gone(receive, process))
        late: Response | None = PlainTextResponse(
            f"no answer within {self._timeout:g} s (status.lake_timeout); ask for less\n", 503, {"retry-after": "5"}
        )
        try:
            async with asyncio.timeout(self._timeout):
                assert process.stdout is not None
                line = await asyncio.to_thread(process.stdout.readline)
                late = None if line.endswith(b"\n") else PlainTextResponse("no answer\n", 503)
                if late is None:
                    await _pass_on(process, process.stdout, msgspec.json.decode(line, type=Head), send)
        except (TimeoutError, asyncio.CancelledError):
            # Too late, or the server ends. What was sent must not look whole: it is left without its end, and the
            # connection is closed.
            pass
        finally:
            gone.cancel()
            process.kill()
            # Not awaited: when the server ends, it cancels what waits, again and again.
            threading.Thread(target=_finish, args=(process,), daemon=True).start()
        if late is not None:
            await late(scope, receive, send)


async def _pass_on(process: subprocess.Popen[bytes], out: IO[bytes], head: Head, send: Send) -> None:
    headers = [(b"content-type", head.content_type.encode())]
    if head.rows is not None:
        headers += [(b"x-ingestd-rows", b"%d" % head.rows), (b"x-ingestd-more", str(head.more).lower().encode())]
    await send({"type": "http.response.start", "status": head.status, "headers": headers})
    while piece := await asyncio.to_thread(out.read1, _PIECE_BYTES):  # type: ignore[attr-defined]
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    if await asyncio.to_thread(process.wait) == 0:
        await send({"type": "http.response.body", "body": b""})


def _start(order: bytes) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "ingestd.status.lake_child"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(len(order).to_bytes(8, "big") + order)
        process.stdin.flush()
    return process


async def _kill_when_gone(receive: Receive, process: subprocess.Popen[bytes]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    process.kill()


def _finish(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        with contextlib.suppress(OSError):
            pipe.close()
    process.wait()
