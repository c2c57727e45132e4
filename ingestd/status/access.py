"""Who may ask the status server what: method, Host header, token, and the headers that keep a browser strict.

Knows nothing of partitions or metrics.
"""

import hashlib
import hmac
import ipaddress
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from msgspec import Struct
from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_STRICT_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}
OPEN_PATHS = frozenset({"/healthz"})
"""Answered without a token: it says no more than "alive"."""


def is_loopback(host: str) -> bool:
    """True when only this machine can reach a server bound to `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Access(Struct, frozen=True, kw_only=True):
    """The rules: `hosts` None means any Host header (then a token is there to guard)."""

    hosts: frozenset[str] | None
    token: bytes | None
    cookie: str
    """The cookie's name; cookies know no port, so two daemons of one host need two names."""

    def cookie_value(self) -> str:
        """What the cookie holds: made from the token, and not the token itself."""
        return hmac.new(self.token or b"", b"ingestd status cookie", hashlib.sha256).hexdigest()


def access_rules(host: str, port: int, token: str | None) -> Access:
    """The rules for a server bound to `host` and `port`."""
    hosts = frozenset({"localhost", "127.0.0.1", "::1", host.lower()}) if is_loopback(host) else None
    return Access(hosts=hosts, token=token.encode() if token else None, cookie=f"ingestd_status_{port}")


class Guard:
    """ASGI middleware: refuses by the rules, adds the strict headers to every answer."""

    def __init__(self, app: ASGIApp, access: Access):
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        refusal = refuse(self._access, scope)
        give_cookie = refusal is None and self._token_in_query(scope)

        async def strict_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_STRICT_HEADERS)
                if give_cookie:
                    headers.append("set-cookie", self._set_cookie())
            await send(message)

        await (refusal or self._app)(scope, receive, strict_send)

    def _token_in_query(self, scope: Scope) -> bool:
        return scope["path"] == "/" and _query_token(self._access, scope)

    def _set_cookie(self) -> str:
        return f"{self._access.cookie}={self._access.cookie_value()}; Path=/; HttpOnly; SameSite=Strict"


def refuse(access: Access, scope: Scope) -> Response | None:
    """The refusal of this request, or None when it may pass."""
    headers = Headers(scope=scope)
    if scope["method"] not in ("GET", "HEAD"):
        return PlainTextResponse("only GET and HEAD\n", 405, {"allow": "GET, HEAD"})
    if access.hosts is not None and _host(headers.get("host", "")) not in access.hosts:
        text = "this server answers to localhost only; open it by the address it logged\n"
        return PlainTextResponse(text, 403)
    if access.token is None or scope["path"] in OPEN_PATHS:
        return None
    return None if _has_token(access, headers, scope) else _unauthorized()


def _unauthorized() -> Response:
    text = "a token is needed: open /?token=... once, or send Authorization: Bearer ...\n"
    return PlainTextResponse(text, 401, {"www-authenticate": 'Bearer realm="ingestd"'})


def _host(header: str) -> str:
    """The Host header without its port and brackets, lower case; "" when it is malformed."""
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""


def _same(left: bytes, right: bytes) -> bool:
    return hmac.compare_digest(left, right)


def _has_token(access: Access, headers: Headers, scope: Scope) -> bool:
    ways: tuple[Callable[[], bool], ...] = (
        lambda: _bearer(access, headers.get("authorization", "")),
        lambda: _cookie(access, headers.get("cookie", "")),
        lambda: scope["path"] == "/" and _query_token(access, scope),
    )
    return any(way() for way in ways)


def _bearer(access: Access, header: str) -> bool:
    scheme, _, given = header.partition(" ")
    return scheme.lower() == "bearer" and _same(given.strip().encode("latin-1"), access.token or b"")


def _cookie(access: Access, header: str) -> bool:
    try:
        morsel = SimpleCookie(header).get(access.cookie)
    except CookieError:
        return False
    return morsel is not None and _same(morsel.value.encode(), access.cookie_value().encode())


def _query_token(access: Access, scope: Scope) -> bool:
    given = QueryParams(scope["query_string"]).get("token")
    return access.token is not None and given is not None and _same(given.encode(), access.token)
