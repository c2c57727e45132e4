"""What of the schema registry a start would meet: packages, address, login. Asks for the list of subjects only."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

from ingestd.config.checks.formats import NEED_REGISTRY
from ingestd.config.options import Config
from ingestd.decode.formats.framing import Unreadable
from ingestd.decode.formats.registry import Schemas, connect
from ingestd.errors import Halt, Retryable
from ingestd.preflight.findings import Finding, State

_PACKAGES = {"avro": "fastavro", "json_schema": "jsonschema_rs", "protobuf": "google.protobuf"}


def examine_registry(config: Config) -> Iterator[Finding]:
    """Findings about the registry; none when no pipeline needs it."""
    formats = sorted({pipeline.format for pipeline in config.pipeline if pipeline.format in NEED_REGISTRY})
    if not formats or config.schema_registry is None:
        return
    missing = [form for form in formats if not _is_installed(_PACKAGES[form])]
    if missing:
        yield Finding(State.FAIL, "schema registry", f"packages missing for {', '.join(missing)}", _install())
        return
    try:
        connect(config.schema_registry)
    except Halt as halt:
        yield Finding(State.FAIL, "configuration", str(halt), configuration=True)
        return
    schemas = Schemas(config.schema_registry)
    try:
        subjects = schemas.ask()
    except (Retryable, Halt, Unreadable) as error:
        mend = "" if isinstance(error, Halt) else "start it, or mend host and port in schema_registry.url"
        yield Finding(State.FAIL, "schema registry", str(error), mend)
        return
    count = f"{subjects} subject" + ("" if subjects == 1 else "s")
    yield Finding(State.OK, "schema registry", f"{schemas.place} answers, {count}")


def _install() -> str:
    return "pip install 'ingestd[registry]'"


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:
        return False
