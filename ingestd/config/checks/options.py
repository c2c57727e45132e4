"""What options must not say: contradictions, wrong addresses, guarded properties. Knows no files and no servers."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import math
import re
import uuid
from collections.abc import Callable, Iterator
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation

from ingestd.config.checks.cdc import check_cdc
from ingestd.config.checks.columns import check_columns, check_paths
from ingestd.config.checks.dead_letters import check_dead_letters
from ingestd.config.checks.formats import check_formats
from ingestd.config.checks.gate import check_gates
from ingestd.config.checks.lake import check_lakes
from ingestd.config.checks.medallion import check_medallions
from ingestd.config.checks.rules import check_rules
from ingestd.config.checks.store import check_store, sqlite_url_problems
from ingestd.config.checks.table import check_tables
from ingestd.config.options import Column, Config, Kafka, Pipeline, Status, Store
from ingestd.config.values import Findings
from ingestd.schema.types import ColumnType, parse_type

GUARDED_PROPERTIES = {
    "bootstrap.servers": "write it as kafka.bootstrap_servers",
    "metadata.broker.list": "write it as kafka.bootstrap_servers",
    "group.id": "write it as kafka.group_id",
    "group.instance.id": "write it as kafka.group_instance_id",
    "group.protocol": "write it as kafka.group_protocol",
    "partition.assignment.strategy": "cooperative-sticky is what lets partitions move without stopping the others",
    "group.remote.assignor": "the broker's assignor must be the one that ingestd expects",
    "enable.auto.commit": "offsets are committed with the rows, in the database",
    "auto.commit.enable": "offsets are committed with the rows, in the database",
    "auto.commit.interval.ms": "offsets are committed with the rows, in the database",
    "enable.auto.offset.store": "offsets are committed with the rows, in the database",
    "auto.offset.reset": "jumping over unread records would lose them; write pipeline.start for the first run",
    "isolation.level": "records of aborted transactions must never become rows",
    "enable.partition.eof": "ingestd finds the end of a partition itself",
    "queued.max.messages.kbytes": "write it as workers.prefetch",
}

_URL = re.compile(
    r"postgres(?:ql)?://"
    r"(?:(?P<user>[^:@/?#\[\]]*)(?::(?P<password>[^:@/?#\[\]]*))?@)?"
    r"(?P<hosts>(?:\[[0-9A-Fa-f:.%]+\]|[^\[\]:@/?#,]*)(?::[0-9]*)?(?:,(?:\[[0-9A-Fa-f:.%]+\]|[^\[\]:@/?#,]*)(?::[0-9]*)?)*)"
    r"(?:/(?P<database>[^/?#@]*))?(?:\?(?P<query>[^?#]*))?"
)
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_BROKER = re.compile(r"(?:[A-Za-z_]+://)?(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]+))?")


def check_all(config: Config, findings: Findings) -> None:
    """Note every contradiction in `config`; options that are already spoiled are left alone."""
    if config.kafka is not None:
        _check_kafka(config.kafka, findings)
    if config.store is not None and not findings.spoiled("store.url"):
        for message in _store_problems(config.store):
            findings.add("store.url", message)
    if not findings.spoiled("status.listen"):
        _check_listen(config.status, findings)
    _check_pipelines(config.pipeline, findings)
    check_columns(config.pipeline, findings)
    check_formats(config, findings)
    check_tables(config.pipeline, findings)
    check_gates(config.pipeline, findings)
    check_lakes(config.pipeline, findings)
    check_cdc(config.pipeline, findings)
    check_medallions(config.pipeline, findings)
    check_dead_letters(config.pipeline, findings)
    check_store(config, findings)
    check_rules(config.pipeline, findings)


def _check_kafka(kafka: Kafka, findings: Findings) -> None:
    if not findings.spoiled("kafka.bootstrap_servers") and kafka.bootstrap_servers != "embedded":
        for server in kafka.bootstrap_servers.split(","):
            match = _BROKER.fullmatch(server.strip())
            if not match or not 0 < int(match["port"] or 9092) < 65536:
                findings.add("kafka.bootstrap_servers", 'must be "host:port,host:port" or "embedded"')
                break
    if kafka.group_instance_id is not None and kafka.group_protocol == "consumer":
        findings.add(
            "kafka.group_instance_id",
            'does not go with group_protocol = "consumer" (a killed static member could not come back); remove one',
        )
    for name in kafka.properties:
        if name in GUARDED_PROPERTIES:
            findings.add(
                f'kafka.properties."{name}"', f"is set by ingestd itself; remove it: {GUARDED_PROPERTIES[name]}"
            )


def _store_problems(store: Store) -> Iterator[str]:
    url = store.url
    if url == "embedded":
        return
    if url[:7].lower() == "sqlite:":
        yield from sqlite_url_problems(url)
        return
    if not url.startswith(("postgresql://", "postgres://")):
        yield 'must begin with "postgresql://" or "sqlite:///", or be "embedded"'
        return
    match = _URL.fullmatch(url)
    if not match:
        yield (
            "is not a URL of PostgreSQL (not shown: it may hold a password); write "
            "postgresql://user:password@host:port/database, with : / ? # [ ] @ % in user and password as %3A %2F .."
        )
        return
    if _BAD_ESCAPE.search(url):
        yield 'has a "%" that begins no escape; write %25 for a percent sign'
    ports = [port for port in re.findall(r":([0-9]+)(?=,|$)", match["hosts"])]
    if any(not 0 < int(port) < 65536 for port in ports):
        yield "has a port outside 1..65535"
    named = re.search(r"(?:^|&)dbname=", match["query"] or "")
    if not match["database"] and not named:
        yield "names no database; write postgresql://user:password@host:port/database"
    for option in filter(None, (match["query"] or "").split("&")):
        if "=" not in option:
            yield "has a parameter without a value after the question mark; write ?name=value&name=value"


def _check_listen(status: Status, findings: Findings) -> None:
    host, colon, port = status.listen.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        findings.add("status.listen", 'must be "host:port", such as "127.0.0.1:8480"')
    elif status.token == "" and not findings.spoiled("status.token"):
        findings.add("status.token", "is empty; write a long random text, or remove it")
    elif status.enabled and status.token is None and not _is_loopback(host):
        findings.add(
            "status.listen",
            f'"{host}" is not loopback: everybody who reaches it could read the page; '
            'set status.token, or listen on "127.0.0.1"',
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _check_pipelines(pipelines: tuple[Pipeline, ...], findings: Findings) -> None:
    names: dict[str, int] = {}
    for index, pipeline in enumerate(pipelines):
        path = f"pipeline[{index}]"
        if pipeline.name in names and pipeline.name is not None:
            findings.add(
                f"{path}.name", f'"{pipeline.name}" is already pipeline[{names[pipeline.name]}]; give each its own name'
            )
        names.setdefault(pipeline.name, index)
        if not findings.spoiled(f"{path}.start") and not _is_start(pipeline.start):
            findings.add(
                f"{path}.start",
                'must be "earliest", "latest", "committed" or a time with its offset, such as "2026-01-31T08:00:00Z"',
            )
        _check_columns(pipeline.column, path, findings)
        for number, contract in enumerate(pipeline.contract):
            _check_columns(contract.column, f"{path}.contract[{number}]", findings)
        for number, table in enumerate(pipeline.medallion.table if pipeline.medallion is not None else ()):
            _check_columns(table.column, f"{path}.medallion.table[{number}]", findings)
        if pipeline.table is not None:
            _check_table(pipeline, f"{path}.table", findings)


def _is_start(start: str) -> bool:
    if start in ("earliest", "latest", "committed"):
        return True
    try:
        return datetime.fromisoformat(start).tzinfo is not None
    except ValueError:
        return False


def _check_columns(columns: tuple[Column, ...], path: str, findings: Findings) -> None:
    names: dict[str, int] = {}
    for index, column in enumerate(columns):
        place = f"{path}.column[{index}]"
        if column.name is not None:
            if column.name in names:
                findings.add(f"{place}.name", f'"{column.name}" is already column[{names[column.name]}]; remove one')
            names.setdefault(column.name, index)
            _check_identifier(column.name, f"{place}.name", findings)
        if not findings.spoiled(f"{place}.type"):
            _check_type(column, place, findings)
    check_paths(columns, path, findings)


def _check_identifier(name: str, path: str, findings: Findings) -> None:
    if len(name.encode()) > 63 or "\0" in name:
        findings.add(path, "is longer than the 63 bytes that PostgreSQL keeps; shorten it")


def _check_type(column: Column, path: str, findings: Findings) -> None:
    try:
        kind = parse_type(column.type)
    except ValueError as error:
        findings.add(f"{path}.type", str(error))
        return
    if column.epoch and (kind.scalar not in ("timestamptz", "timestamp", "epoch") or findings.spoiled(f"{path}.epoch")):
        findings.add(f"{path}.epoch", f"is for timestamptz and timestamp, not for {kind.name}; remove it")
    if column.assume_utc and kind.scalar not in ("timestamptz", "epoch"):
        findings.add(f"{path}.assume_utc", f"is for timestamptz, not for {kind.name}; remove it")
    if column.default is None or findings.spoiled(f"{path}.default"):
        return
    if column.required:
        findings.add(
            f"{path}.default", "does not go with required = true: a missing field would be refused; remove one"
        )
    elif not _default_fits(column.default, kind, column.epoch is not None or kind.scalar == "epoch"):
        findings.add(f"{path}.default", f"does not fit {kind.name}; write a value of that type")


def _default_fits(default: str | int | float | bool, kind: ColumnType, epoch: bool) -> bool:
    if kind.is_array:
        return False
    if isinstance(default, bool):
        return kind.scalar in ("bool", "jsonb")
    try:
        if epoch and isinstance(default, int | float):
            return math.isfinite(default)
        return _FITS[kind.scalar](default, kind.args)
    except (ValueError, InvalidOperation, binascii.Error):
        return False


def _fits_numeric(default: str | int | float, args: tuple[int, ...]) -> bool:
    number = Decimal(str(default))
    if not number.is_finite():
        return False
    precision, scale = args
    return number == number.quantize(Decimal(1).scaleb(-scale)) and abs(number) < Decimal(10) ** (precision - scale)


def _fits_integer(bits: int) -> Callable[[str | int | float, tuple[int, ...]], bool]:
    return lambda default, _: isinstance(default, int) and -(2 ** (bits - 1)) <= default < 2 ** (bits - 1)


def _fits_time(parse: Callable[[str], object]) -> Callable[[str | int | float, tuple[int, ...]], bool]:
    return lambda default, _: isinstance(default, str) and parse(default) is not None


_FITS: dict[str, Callable[[str | int | float, tuple[int, ...]], bool]] = {
    "text": lambda default, _: isinstance(default, str) and "\0" not in default,
    "varchar": lambda default, args: isinstance(default, str) and (not args or len(default) <= args[0]),
    "int2": _fits_integer(16),
    "int4": _fits_integer(32),
    "int8": _fits_integer(64),
    "float4": lambda default, _: isinstance(default, int | float),
    "float8": lambda default, _: isinstance(default, int | float),
    "numeric": _fits_numeric,
    "bool": lambda default, _: False,
    "uuid": lambda default, _: isinstance(default, str) and uuid.UUID(default) is not None,
    "timestamptz": _fits_time(datetime.fromisoformat),
    "timestamp": _fits_time(datetime.fromisoformat),
    "epoch": _fits_time(datetime.fromisoformat),
    "date": _fits_time(date.fromisoformat),
    "time": _fits_time(time.fromisoformat),
    "jsonb": lambda default, _: True,
    "bytea": lambda default, _: isinstance(default, str) and base64.b64decode(default, validate=True) is not None,
}


def _check_table(pipeline: Pipeline, path: str, findings: Findings) -> None:
    table = pipeline.table
    if not pipeline.has_table():
        return
    if table.name is not None:
        parts = table.name.split(".")
        if len(parts) > 2 or "" in parts:
            findings.add(f"{path}.name", f'"{table.name}" must be "table" or "schema.table"')
        if parts[0] == "ingestd" and len(parts) == 2:
            findings.add(f"{path}.name", f'"{table.name}" is in the schema of the ledger; name one in another schema')
        for part in parts:
            _check_identifier(part, f"{path}.name", findings)
    if table.mode == "insert" and not table.key and not findings.spoiled(f"{path}.key"):
        findings.add(
            f"{path}.key", 'is missing; mode = "insert" needs the columns that make a row unique: key = ["id"]'
        )
    if table.mode == "append" and table.key and not findings.spoiled(f"{path}.mode"):
        findings.add(f"{path}.key", 'means nothing with mode = "append"; write mode = "insert", or remove the key')
    if table.ddl is not None and not table.create:
        findings.add(f"{path}.ddl", "is only used with create = true; add that, or remove ddl")
    columns = {column.name: column for column in pipeline.column}
    for index, name in enumerate(table.key):
        if name in table.key[:index]:
            findings.add(f"{path}.key", f'names "{name}" twice')
        elif not columns:
            continue
        elif name not in columns:
            findings.add(f"{path}.key", f'"{name}" is not a declared column; declared: {", ".join(map(str, columns))}')
        elif not columns[name].required:
            findings.add(f"{path}.key", f'column "{name}" may be null; write required = true for it')
