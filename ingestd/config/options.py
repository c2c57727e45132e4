"""What a user may write in the TOML file: frozen structs, one field one option. Knows nothing of how they are used.

Descriptions here are the reference: docs/config.md is generated from them.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ingestd.config.cdc import Cdc
from ingestd.config.column import Column
from ingestd.config.lake import Compaction, Lake, Roll
from ingestd.config.medallion import Medallion, MedallionTable
from ingestd.config.pipeline import (
    Batch,
    Contract,
    DeadLetters,
    Dedupe,
    Delete,
    Pipeline,
    Table,
)
from ingestd.config.query import Query, QueryColumn
from ingestd.config.types import Bytes, Options, Properties, Secret, Secs

__all__ = [
    "Batch",
    "Bytes",
    "Cdc",
    "Column",
    "Compaction",
    "Config",
    "Contract",
    "DeadLetters",
    "Dedupe",
    "Delete",
    "Kafka",
    "Lake",
    "Log",
    "Medallion",
    "MedallionTable",
    "Pipeline",
    "Properties",
    "Query",
    "QueryColumn",
    "Roll",
    "SchemaRegistry",
    "Secret",
    "Secs",
    "Status",
    "Store",
    "Table",
    "Workers",
    "with_addresses",
]


class Kafka(Options, frozen=True, kw_only=True):
    """Where the records come from."""

    bootstrap_servers: Annotated[
        str,
        Meta(
            description='Brokers as "host:port,host:port", or "embedded" for a real broker that ingestd starts itself.'
        ),
    ]
    group_id: Annotated[
        str,
        Meta(
            min_length=1,
            description="Consumer group: hosts with the same group share the partitions, and Kafka tools show its lag.",
        ),
    ]
    group_protocol: Annotated[
        Literal["classic", "consumer"],
        Meta(description='"classic" (cooperative-sticky, static member) or "consumer" (KIP-848, dynamic member).'),
    ] = "classic"
    group_instance_id: Annotated[
        str | None,
        Meta(
            description="Static member name; default: the host name with the group. Two daemons on one host need two names. Not used with KIP-848."
        ),
    ] = None
    properties: Annotated[
        dict[str, str | int | float | bool],
        Meta(
            description="Any librdkafka property (security, timeouts). ingestd's own settings that guard exactly-once cannot be overridden."
        ),
    ] = {}

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "properties", Properties(self.properties))


class Store(Options, frozen=True, kw_only=True):
    """The database that holds the tables and the ledger."""

    url: Annotated[
        str,
        Meta(
            description='"postgresql://user:password@host:port/database", "sqlite:///path/of/file.db" (relative to the working directory; four slashes for an absolute path), or "embedded" for a PostgreSQL that ingestd starts itself.'
        ),
    ]
    synchronous_commit: Annotated[
        Literal["on", "off", "local", "remote_write", "remote_apply"],
        Meta(
            description='PostgreSQL\'s synchronous_commit for the sessions of ingestd. Exactly once holds with every value: rows and cursor are lost or kept together. With SQLite "on" is synchronous = FULL, "off" is NORMAL: after a power cut the last commits may be gone, rows and cursor together.'
        ),
    ] = "on"
    lock_timeout: Annotated[
        Secs,
        Meta(
            description="How long a statement of ingestd waits for a lock before the batch is rolled back and tried again; with SQLite 5 s at most, because its worker cannot say meanwhile what it waits for."
        ),
    ] = Secs(30)

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "url", Secret(self.url))


class SchemaRegistry(Options, frozen=True, kw_only=True):
    """A Confluent-compatible schema registry, for the formats that need one."""

    url: Annotated[str, Meta(min_length=1, description="Address, such as http://registry.example:8081.")]
    properties: Annotated[
        dict[str, str | int | float | bool],
        Meta(description='Any other property of confluent-kafka\'s registry client, such as "basic.auth.user.info".'),
    ] = {}

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "url", Secret(self.url))
        msgspec.structs.force_setattr(self, "properties", Properties(self.properties))


class Workers(Options, frozen=True, kw_only=True):
    """How many processes, and how long they may take."""

    max_workers: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(
            description="Worker processes of this host at most; beyond it a worker carries several partitions. Default: max(4, 2 x cores); with SQLite, which has one writer at a time, one for each pipeline.",
        ),
    ] = None
    prefetch: Annotated[
        Bytes, Meta(description="Records a worker's Kafka client reads ahead, in bytes, shared by its partitions.")
    ] = Bytes(8 * 1024 * 1024)
    drain_timeout: Annotated[
        Secs,
        Meta(
            description="How long a worker may take to finish its batch when it is stopped or its partition is revoked; then it is killed."
        ),
    ] = Secs(10)
    stuck_after: Annotated[
        Secs, Meta(description="A worker whose loop has not turned for this long is dumped, aborted and killed.")
    ] = Secs(300)
    restart_backoff: Annotated[
        Secs, Meta(description="First pause before a crashed worker starts again; doubles up to 30 s.")
    ] = Secs(0.5)


class Status(Options, frozen=True, kw_only=True):
    """The web page, /metrics and health probes."""

    enabled: Annotated[bool, Meta(description="Serve the status page.")] = True
    listen: Annotated[
        str, Meta(description='"host:port". Other than loopback needs a token. Port 0 takes a free one and logs it.')
    ] = "127.0.0.1:8480"
    token: Annotated[
        str | None, Meta(description="Bearer token (or ?token= once, then a cookie) that every request must bring.")
    ] = None
    stalled_after: Annotated[
        Secs, Meta(description="/readyz fails when a partition with lag has committed nothing for this long.")
    ] = Secs(60)
    lake_max_rows: Annotated[
        int, Meta(ge=1, le=10_000_000, description="Rows of one answer of /lake/<pipeline> at most.")
    ] = 100_000
    lake_timeout: Annotated[Secs, Meta(description="How long an answer of /lake may take, to its last row.")] = Secs(30)
    lake_memory: Annotated[
        Bytes, Meta(description="Memory for the rows of one answer of /lake; two are made at a time at most.")
    ] = Bytes(256 * 1024 * 1024)

    def __post_init__(self) -> None:
        if self.token is not None:
            msgspec.structs.force_setattr(self, "token", Secret(self.token))


class Log(Options, frozen=True, kw_only=True):
    """One event, one line, on standard error."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Meta(description="Lowest level that is written. Batches are logged at debug."),
    ] = "info"
    format: Annotated[Literal["auto", "human", "json"], Meta(description='"auto": human on a terminal, else JSON.')] = (
        "auto"
    )
    directory: Annotated[
        str | None,
        Meta(
            description="Also write one file for each run, as JSON: run_<run id>.log in this directory (relative to the working directory). A reload (HUP) begins another run."
        ),
    ] = None


class Config(Options, frozen=True, kw_only=True):
    """The whole file."""

    kafka: Kafka
    store: Store
    pipeline: Annotated[tuple[Pipeline, ...], Meta(min_length=1)]
    schema_registry: SchemaRegistry | None = None
    workers: Workers = Workers()
    status: Status = Status()
    log: Log = Log()


def with_addresses(config: Config, bootstrap_servers: str | None, store_url: str | None) -> Config:
    """`config` with "embedded" replaced by the addresses of the servers that were started."""
    kafka = msgspec.structs.replace(config.kafka, bootstrap_servers=bootstrap_servers or config.kafka.bootstrap_servers)
    store = msgspec.structs.replace(config.store, url=store_url or config.store.url)
    return msgspec.structs.replace(config, kafka=kafka, store=store)
