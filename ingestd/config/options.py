"""What a user may write in the TOML file: frozen structs, one field one option. Knows nothing of how they are used.

Descriptions here are the reference: docs/config.md is generated from them.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct


class Bytes(int):
    """A size: an integer of bytes, or text such as "16MiB", "512kB"."""


class Secs(float):
    """A duration: seconds, or text such as "50ms", "2s", "5m", "1h"."""


class Secret(str):
    """Text that never appears in a log, a page or an error: str(), repr() and f-strings give "***".

    Where it must be sent, pass it whole (a driver reads the text itself) or use `reveal()`.
    """

    def __new__(cls, text: str) -> "Secret":
        # str() of a Secret is "***": made of another one, as structs.replace does, it would lose its text.
        return super().__new__(cls, text.reveal() if isinstance(text, Secret) else text)

    def __repr__(self) -> str:
        return "'***'"

    def __str__(self) -> str:
        return "***"

    def reveal(self) -> str:
        """The text itself, for the one place that sends it."""
        return super().__str__()


class Properties(dict[str, str | int | float | bool]):
    """librdkafka properties by name; its repr shows the names only, since any value may be a secret."""

    def __repr__(self) -> str:
        return "{" + ", ".join(f"{name!r}: '***'" for name in self) + "}"

    __str__ = __repr__


class _Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Kafka(_Options, frozen=True, kw_only=True):
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


class Store(_Options, frozen=True, kw_only=True):
    """The database that holds the tables and the ledger."""

    url: Annotated[
        str,
        Meta(
            description='"postgresql://user:password@host:port/database", or "embedded" for a PostgreSQL that ingestd starts itself.'
        ),
    ]
    synchronous_commit: Annotated[
        Literal["on", "off", "local", "remote_write", "remote_apply"],
        Meta(
            description="PostgreSQL's synchronous_commit for the sessions of ingestd. Exactly once holds with every value: rows and cursor are lost or kept together."
        ),
    ] = "on"
    lock_timeout: Annotated[
        Secs,
        Meta(
            description="How long a statement of ingestd waits for a lock before the batch is rolled back and tried again."
        ),
    ] = Secs(30)

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "url", Secret(self.url))


class Batch(_Options, frozen=True, kw_only=True):
    """How much is committed together. A lone record commits at once; a backlog fills batches."""

    max_rows: Annotated[int, Meta(ge=1, le=1_000_000, description="Records of a batch at most.")] = 25_000
    max_bytes: Annotated[Bytes, Meta(description="Payload bytes of a batch at most (one record may exceed it).")] = (
        Bytes(16 * 1024 * 1024)
    )
    max_wait: Annotated[
        Secs, Meta(description="How long a batch may go on filling while more records are at hand.")
    ] = Secs(0.1)


class DeadLetterLimits(_Options, frozen=True, kw_only=True):
    """When refusing records must stop: a bad deploy must not drain a topic into the dead letters."""

    max_ratio: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description="Share of dead letters among the last 10,000 records (at least 100 seen) beyond which the partition halts.",
        ),
    ] = 0.05
    max_run: Annotated[
        int, Meta(ge=1, description="Dead letters in an unbroken row beyond which the partition halts.")
    ] = 1000


class Column(_Options, frozen=True, kw_only=True):
    """One column of the contract: where the value comes from, its type, what may be missing."""

    name: Annotated[str, Meta(min_length=1, description="Column of the table.")]
    type: Annotated[
        str,
        Meta(
            description="text, varchar(n), int2, int4, int8, float4, float8, numeric(p,s), bool, uuid, timestamptz, timestamp, date, time, jsonb, bytea; scalar types also as arrays: int4[]."
        ),
    ]
    path: Annotated[
        str | None,
        Meta(
            description='Where the value is in the record, with dots into nested objects: "payload.account_id". Default: the column\'s name.'
        ),
    ] = None
    required: Annotated[bool, Meta(description="A record without the field, or with null, becomes a dead letter.")] = (
        False
    )
    default: Annotated[
        str | int | float | bool | None,
        Meta(description="Value when the field is absent (an explicit null stays null)."),
    ] = None
    epoch: Annotated[
        Literal["s", "ms", "us"] | None,
        Meta(
            description="For timestamps: numbers, and numeric strings, are seconds, milliseconds or microseconds since 1970. ISO-8601 text is read as well."
        ),
    ] = None
    assume_utc: Annotated[
        bool, Meta(description="For timestamptz: text without an offset is UTC. Without this it becomes a dead letter.")
    ] = False


class Table(_Options, frozen=True, kw_only=True):
    """The table that a pipeline fills."""

    name: Annotated[str, Meta(min_length=1, description='"table" or "schema.table".')]
    mode: Annotated[
        Literal["append", "insert"],
        Meta(
            description='"append": every record is a row. "insert": a row whose key is already there is a duplicate and changes nothing.'
        ),
    ] = "append"
    key: Annotated[tuple[str, ...], Meta(description="Columns of the key, for insert.")] = ()
    direct: Annotated[
        bool,
        Meta(
            description="Copy straight into the table while its keys are new. false: every batch goes through staging, for topics full of repeats: a failed COPY leaves dead tuples behind."
        ),
    ] = True
    create: Annotated[
        bool, Meta(description="Create the table when it does not exist. An existing table is only checked.")
    ] = False
    ddl: Annotated[
        str | None,
        Meta(
            description="With create: a file of SQL that makes the table, instead of a statement made from the columns. Relative to the configuration file."
        ),
    ] = None


class Pipeline(_Options, frozen=True, kw_only=True):
    """One topic into one table."""

    name: Annotated[
        str,
        Meta(
            pattern="^[A-Za-z0-9_.-]{1,64}$",
            description="Name of the pipeline; the ledger's cursors are kept under it.",
        ),
    ]
    topic: Annotated[str, Meta(pattern="^[A-Za-z0-9._-]{1,249}$", description="Topic to read.")]
    format: Annotated[Literal["json"], Meta(description="Format of the record values.")] = "json"
    start: Annotated[
        str,
        Meta(
            description='Where the very first run begins: "earliest", "latest", "committed" (the group\'s offsets, to take over from another consumer), or an ISO-8601 time.'
        ),
    ] = "earliest"
    batch: Batch = Batch()
    dead_letters: DeadLetterLimits = DeadLetterLimits()
    column: Annotated[tuple[Column, ...], Meta(min_length=1, description="The columns, in table order.")]
    table: Table


class Workers(_Options, frozen=True, kw_only=True):
    """How many processes, and how long they may take."""

    max_workers: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(
            description="Worker processes of this host at most; beyond it a worker carries several partitions. Default: max(4, 2 x cores).",
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


class Status(_Options, frozen=True, kw_only=True):
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

    def __post_init__(self) -> None:
        if self.token is not None:
            msgspec.structs.force_setattr(self, "token", Secret(self.token))


class Log(_Options, frozen=True, kw_only=True):
    """One event, one line, on standard error."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Meta(description="Lowest level that is written. Batches are logged at debug."),
    ] = "info"
    format: Annotated[Literal["auto", "human", "json"], Meta(description='"auto": human on a terminal, else JSON.')] = (
        "auto"
    )


class Config(_Options, frozen=True, kw_only=True):
    """The whole file."""

    kafka: Kafka
    store: Store
    pipeline: Annotated[tuple[Pipeline, ...], Meta(min_length=1)]
    workers: Workers = Workers()
    status: Status = Status()
    log: Log = Log()


def with_addresses(config: Config, bootstrap_servers: str | None, store_url: str | None) -> Config:
    """`config` with "embedded" replaced by the addresses of the servers that were started."""
    kafka = msgspec.structs.replace(config.kafka, bootstrap_servers=bootstrap_servers or config.kafka.bootstrap_servers)
    store = msgspec.structs.replace(config.store, url=store_url or config.store.url)
    return msgspec.structs.replace(config, kafka=kafka, store=store)
