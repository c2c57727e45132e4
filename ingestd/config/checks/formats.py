"""What formats and the schema registry must not say together with the rest. Knows no records and no servers."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from ingestd.config.options import Config, Pipeline, SchemaRegistry
from ingestd.config.values import Findings
from ingestd.schema.types import parse_type

NEED_REGISTRY = ("avro", "json_schema", "protobuf")
RAW_TYPES = ("bytea", "text", "jsonb")
_GUARDED = {"url": "write it as schema_registry.url"}


def check_formats(config: Config, findings: Findings) -> None:
    """Note every format that its registry or its columns cannot serve."""
    registry = config.schema_registry
    if registry is not None and not findings.spoiled("schema_registry"):
        _check_registry(registry, findings)
    for index, pipeline in enumerate(config.pipeline):
        path = f"pipeline[{index}]"
        if findings.spoiled(f"{path}.format"):
            continue
        if pipeline.format in NEED_REGISTRY and registry is None:
            message = f'"{pipeline.format}" needs a schema registry; add [schema_registry] with its url'
            findings.add(f"{path}.format", message)
        if pipeline.format == "raw":
            _check_raw(pipeline, path, findings)


def _check_registry(registry: SchemaRegistry, findings: Findings) -> None:
    for problem in _url_problems(str.__str__(registry.url)):
        findings.add("schema_registry.url", problem)
    for name in registry.properties:
        if name in _GUARDED:
            findings.add(f'schema_registry.properties."{name}"', f"is set by ingestd itself; {_GUARDED[name]}")
    if "@" in str.__str__(registry.url) and "basic.auth.user.info" in registry.properties:
        findings.add(
            'schema_registry.properties."basic.auth.user.info"',
            "does not go with user and password in schema_registry.url; remove one",
        )


def _url_problems(url: str) -> Iterator[str]:
    """Without a word of the URL, which may hold a password."""
    for address in url.split(","):
        try:
            parts = urlsplit(address.strip())
            right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            right = False
        if not right or parts.query or parts.fragment:
            yield (
                'must be "http://host:port" or "https://user:password@host:port/path", with : / ? # [ ] @ % '
                "in user and password as %3A %2F .."
            )
            return


def _check_raw(pipeline: Pipeline, path: str, findings: Findings) -> None:
    """The whole value is for one column; there are no fields that anything else could be read from."""
    taken = [(index, column) for index, column in enumerate(pipeline.column) if column.source == "value"]
    if len(taken) != 1:
        types = ", ".join(RAW_TYPES)
        message = f'"raw" needs exactly one column that takes the value ({types}), there are {len(taken)}'
        findings.add(f"{path}.format", f'{message}; give the others a source, such as source = "key"')
        return
    index, column = taken[0]
    place = f"{path}.column[{index}]"
    if not findings.spoiled(f"{place}.type"):
        try:
            kind = parse_type(column.type)
        except ValueError:
            return
        if kind.is_array or kind.scalar not in RAW_TYPES:
            findings.add(f"{place}.type", f'with format = "raw" must be {", ".join(RAW_TYPES)}, is {column.type}')
    if column.path is not None and not findings.spoiled(f"{place}.path"):
        findings.add(f"{place}.path", 'means nothing with format = "raw", whose value has no fields; remove it')
    for option, said in (
        ("version_field", pipeline.version_field is not None),
        ("contract", bool(pipeline.contract)),
        ("unknown_fields", pipeline.unknown_fields != "ignore"),
        ("on_new_field", pipeline.on_new_field != "ignore"),
    ):
        if said and not findings.spoiled(f"{path}.{option}"):
            findings.add(f"{path}.{option}", 'means nothing with format = "raw", whose value has no fields; remove it')
