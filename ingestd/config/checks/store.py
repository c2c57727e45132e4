"""What an SQLite store rules out: wrong URLs, options that mean nothing there. Knows no files and no servers."""

from __future__ import annotations

from collections.abc import Iterator

from ingestd.config.options import Config, Pipeline
from ingestd.config.store_url import is_sqlite_url
from ingestd.config.values import Findings

_SYNCHRONOUS = ("on", "off")
_RESERVED = ("sqlite_", "ingestd_")


def sqlite_url_problems(url: str) -> Iterator[str]:
    """What is wrong with an SQLite URL, and what would be right."""
    shape = 'write "sqlite:///path/of/file.db", or four slashes for an absolute path'
    if not url[7:].startswith("///"):
        yield f"is not a URL of an SQLite file; {shape}"
        return
    path = url[10:]
    if "?" in path or "#" in path:
        yield 'has parameters, of which SQLite takes none here; remove "?", "#" and what follows'
    elif not path.strip("/") or path.endswith("/"):
        yield f"names no file; {shape}"
    elif path.startswith(":"):
        yield f"names no file (a database in memory would forget its cursors); {shape}"
    elif "\0" in path:
        yield f"has a NUL character; {shape}"


def check_store(config: Config, findings: Findings) -> None:
    """Note what does not go with an SQLite store."""
    store = config.store
    if store is None or findings.spoiled("store.url") or not is_sqlite_url(store.url):
        return
    if not findings.spoiled("store.synchronous_commit") and store.synchronous_commit not in _SYNCHRONOUS:
        findings.add("store.synchronous_commit", 'must be "on" or "off" with SQLite (synchronous = FULL, NORMAL)')
    wanted, pipelines = config.workers.max_workers if config.workers else None, len(config.pipeline)
    if wanted is not None and not findings.spoiled("workers.max_workers") and wanted > pipelines:
        findings.add(
            "workers.max_workers",
            f"SQLite has one writer at a time, so every pipeline has one worker; remove it, or write {pipelines}",
        )
    for index, pipeline in enumerate(config.pipeline):
        _check_tables(pipeline, f"pipeline[{index}]", findings)


def _check_tables(pipeline: Pipeline, path: str, findings: Findings) -> None:
    tables = {f"{path}.table.name": pipeline.table.name if pipeline.table else None}
    tables[f"{path}.dedupe.table"] = pipeline.dedupe.table if pipeline.dedupe else None
    for place, name in tables.items():
        if name is None or findings.spoiled(place):
            continue
        if "." in name:
            findings.add(place, f'"{name}": SQLite has no schemas; write "{name.rpartition(".")[2]}"')
        elif name.lower().startswith(_RESERVED):
            findings.add(place, f'"{name}": names that begin with {" and ".join(_RESERVED)} are taken; choose another')
    if pipeline.table is not None and not pipeline.table.direct and not findings.spoiled(f"{path}.table.direct"):
        findings.add(f"{path}.table.direct", "means nothing with SQLite, which has no COPY; remove it")
