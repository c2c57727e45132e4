"""What `status.listen` means, for the server and for `ingestd status`. Knows nothing of HTTP."""

from ingestd.errors import ConfigError

_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}


def parse_listen(listen: str) -> tuple[str, int]:
    """(host, port) of "host:port", "[::1]:8480" or ":8480" (all addresses).

    Raises: ConfigError when it is none of these.
    """
    host, colon, port = listen.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535 or (":" in bare and bare == host):
        raise ConfigError([f'status.listen: "{listen}" is not "host:port", such as "127.0.0.1:8480"'])
    return bare or "0.0.0.0", int(port)


def client_url(listen: str) -> str:
    """Where a client on this host reaches a server that listens there.

    Raises: ConfigError for port 0, which only the daemon's log can tell.
    """
    host, port = parse_listen(listen)
    if port == 0:
        raise ConfigError(["status.listen: port 0 took a free port; give its address from the log with --url"])
    reachable = _WILDCARDS.get(host, host)
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"
