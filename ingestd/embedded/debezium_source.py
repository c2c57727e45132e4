"""What Debezium is told about one source database. Knows no process and no REST interface."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit

# How soon Debezium tries again is counted in tens of seconds by default; here a restart must be seen to work.
_FIXED = {
    "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
    "tasks.max": "1",
    "plugin.name": "pgoutput",
    # The default skips truncates in silence.
    "skipped.operations": "none",
    # The default writes null for a value that the connector cannot convert, and goes on.
    "event.converting.failure.handling.mode": "fail",
    "slot.retry.delay.ms": "500",
    "retriable.restart.connector.wait.ms": "1000",
    "poll.interval.ms": "50",
    "topic.creation.default.replication.factor": "1",
    # Connect writes a column's default in place of null unless it is told not to.
    "key.converter.replace.null.with.default": "false",
    "value.converter.replace.null.with.default": "false",
}


@dataclass(frozen=True)
class DebeziumSource:
    """One connector: tables of one PostgreSQL database whose changes go to the topics `PREFIX.SCHEMA.TABLE`.

    `database_url` names a user that may replicate, on a server with `wal_level = logical`. `tables` are regular
    expressions over schema.table, each for the whole name, as Debezium takes them; those that exist at the start are
    published, so a table made later is captured after a restart of the connector only, unless `publish_all` (needs a
    superuser). Slot and publication belong to one connector; both are made when missing and stay in the database.
    `schemas` puts the schema into every key and value. `properties` are Debezium's own, and win over everything here.
    """

    name: str
    database_url: str
    tables: tuple[str, ...] = (r"public\..*",)
    prefix: str = "cdc"
    slot: str = "ingestd"
    publication: str = "ingestd"
    publish_all: bool = False
    partitions: int = 1
    snapshot: str = "initial"
    schemas: bool = False
    heartbeat_secs: float = 0.0
    properties: Mapping[str, str] = field(default_factory=dict)

    def config(self) -> dict[str, str]:
        """The connector's configuration. It holds the password: never log it."""
        schemas = str(self.schemas).lower()
        chosen = {
            **_FIXED,
            **_database(self.database_url),
            "topic.prefix": self.prefix,
            "table.include.list": ",".join(self.tables),
            "slot.name": self.slot,
            "publication.name": self.publication,
            "publication.autocreate.mode": "all_tables" if self.publish_all else "filtered",
            "snapshot.mode": self.snapshot,
            "topic.creation.default.partitions": str(self.partitions),
            "heartbeat.interval.ms": str(round(self.heartbeat_secs * 1000)),
            "key.converter": "org.apache.kafka.connect.json.JsonConverter",
            "key.converter.schemas.enable": schemas,
            "value.converter": "org.apache.kafka.connect.json.JsonConverter",
            "value.converter.schemas.enable": schemas,
        }
        return chosen | dict(self.properties)


def _database(url: str) -> dict[str, str]:
    parts = urlsplit(url)
    found = {
        "database.hostname": parts.hostname or "localhost",
        "database.port": str(parts.port or 5432),
        "database.user": unquote(parts.username or "postgres"),
        # Debezium refuses an absent one even where the server asks for none.
        "database.password": unquote(parts.password or "") or "none",
        "database.dbname": unquote(parts.path.lstrip("/")) or "postgres",
    }
    mode = parse_qs(parts.query).get("sslmode")
    return found | ({"database.sslmode": mode[-1]} if mode else {})
