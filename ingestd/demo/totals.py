"""The figures of a running daemon over all partitions, from its status page."""

import urllib.error
import urllib.request
from typing import Any

import msgspec

_HTTP_SECS = 2.0


def totals(status_url: str) -> dict[str, Any]:
    """Name -> figure; empty while the page does not answer."""
    try:
        with urllib.request.urlopen(f"{status_url}/api/partitions", timeout=_HTTP_SECS) as answer:
            view = msgspec.json.decode(answer.read())
    except (urllib.error.URLError, OSError):
        return {}
    return dict(view["total"])
