"""The lakes of a configuration: whether files may be made there, and what is there already. Leaves nothing behind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ingestd.config.options import Config, Pipeline
from ingestd.errors import Halt, Retryable
from ingestd.lake.open import open_place
from ingestd.preflight.findings import Finding, State


def examine_lakes(config: Config) -> Iterator[Finding]:
    """One finding for each lake. Its id is compared with the ledger's when it is claimed."""
    for pipeline in config.pipeline:
        if pipeline.lake is not None:
            yield _examine(pipeline, f"lake of {pipeline.name}")


def _examine(pipeline: Pipeline, subject: str) -> Finding:
    assert pipeline.lake is not None
    try:
        place = open_place(pipeline.lake)
        found = place.identity("")
        if is_bucket := pipeline.lake.path.startswith("s3://"):
            from ingestd.lake.places.s3_rights import prove_rights

            prove_rights(pipeline.lake.path)
        is_foreign = not found and any(True for _ in place.list())
    except (Halt, Retryable) as error:
        return Finding(State.FAIL, subject, str(error), "mend that and check again")
    if not is_bucket:
        there = next(path for path in (Path(place.url), *Path(place.url).parents) if path.exists())
        if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
            mend = "give this user the right to write there, or take another lake.path"
            return Finding(State.FAIL, subject, f"{there}: no files may be made there", mend)
    if is_foreign:
        mend = "give lake.path an empty place; files of a lake whose _ingestd.json is lost need it put back"
        return Finding(State.FAIL, subject, f"{place.url} is not empty and no lake", mend)
    said = f"is lake {found}, and files may be made there" if found else "is empty, and files may be made there"
    return Finding(State.OK, subject, f"{place.url} {said}")
