"""The stores of these tests, both kinds: their URLs, questions to them, and files of a manifest."""

from collections.abc import Callable
from typing import Any

from ingestd.stores.manifest import LakeFile
from tests.sinks.contracts import ask as ask_server
from tests.sqlite.bench import ask as ask_file

Ask = Callable[..., list[Any]]


def asking(url: str) -> Ask:
    """The rows of a query on a connection of its own; `LEDGER.` is the prefix of the ledger's tables."""
    if url.startswith("sqlite"):
        return lambda query: ask_file(url.removeprefix("sqlite:///"), query.replace("LEDGER.", "ingestd_"))
    return lambda query: ask_server(url, query.replace("LEDGER.", "ingestd."))


def lake_file(start: int, end: int, name: str = "", **more: Any) -> LakeFile:
    """A file of orders-0 with one tile, as the lake's writer names it."""
    named = name or f"orders-0-{start}-{end}-e1-0.parquet"
    values: dict[str, Any] = {
        "topic": "orders",
        "partition": 0,
        "start": start,
        "end": end,
        "directory": "day=1",
        "name": named,
        "staged": f"_staging/p/orders-0/{named}.staged",
        "rows": end - start,
        "nbytes": 100,
        "footer": "ab" * 32,
    }
    return LakeFile(**values | more)
