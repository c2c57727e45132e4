"""The routes of the status server: page, JSON, metrics, probes. Knows nothing of sockets and processes."""

from collections.abc import Awaitable, Callable
from importlib.resources import files

import msgspec
import orjson
from msgspec import Struct
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from ingestd.config.options import Config
from ingestd.status.access import Access, Guard
from ingestd.status.exposition import BoardCollector
from ingestd.status.health import Reason, liveness, readiness
from ingestd.status.lake_read import lake_routes
from ingestd.status.sampler import Snapshot
from ingestd.status.view import status_view

_FILES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}

Endpoint = Callable[[Request], Awaitable[Response]]


class Sources(Struct, frozen=True):
    """Where the answers come from."""

    snapshot: Callable[[], Snapshot]
    supervisor_lives: Callable[[], bool]


def make_app(config: Config, access: Access, sources: Sources) -> Starlette:
    """The ASGI application; every answer passes the guard."""
    registry = CollectorRegistry()
    registry.register(BoardCollector(sources.snapshot))

    def why_not_ready() -> list[Reason]:
        return readiness(sources.snapshot(), config.status.stalled_after)

    async def partitions(_: Request) -> Response:
        return _json(status_view(sources.snapshot(), config.pipeline, why_not_ready()))

    async def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"content-type": content_type})

    async def healthz(_: Request) -> Response:
        alive = not liveness(sources.snapshot(), sources.supervisor_lives(), config.workers.stuck_after)
        return PlainTextResponse("ok\n" if alive else "not alive\n", 200 if alive else 503)

    async def readyz(_: Request) -> Response:
        reasons = why_not_ready()
        return _json({"ready": not reasons, "reasons": reasons}, 503 if reasons else 200)

    routes = [Route(path, _file(name, kind), methods=["GET"]) for path, (name, kind) in _FILES.items()]
    for path, endpoint in {
        "/api/partitions": partitions,
        "/metrics": metrics,
        "/healthz": healthz,
        "/readyz": readyz,
    }.items():
        routes.append(Route(path, endpoint, methods=["GET"]))
    routes += lake_routes(config)
    return Starlette(routes=routes, middleware=[Middleware(Guard, access=access)])


def _file(name: str, content_type: str) -> Endpoint:
    body = files("ingestd.status").joinpath(name).read_bytes()

    async def serve(_: Request) -> Response:
        return Response(body, headers={"content-type": content_type})

    return serve


def _json(value: object, status: int = 200) -> Response:
    body = orjson.dumps(value, default=msgspec.structs.asdict, option=orjson.OPT_APPEND_NEWLINE)
    return Response(body, status, media_type="application/json")
