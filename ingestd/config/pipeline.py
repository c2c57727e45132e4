"""The options of one pipeline: table, gate, dead letters. Knows nothing of how they are used."""

from typing import Annotated, Literal

from msgspec import Meta

from ingestd.config.cdc import Cdc
from ingestd.config.column import Column
from ingestd.config.lake import Lake
from ingestd.config.medallion import Medallion
from ingestd.config.query import Query
from ingestd.config.types import Bytes, Options, Secs


class Batch(Options, frozen=True, kw_only=True):
    """How much is committed together. A lone record commits at once; a backlog fills batches."""

    max_rows: Annotated[
        int, Meta(ge=1, le=1_000_000, description="Records of a batch at most; with SQLite the default is 100,000.")
    ] = 25_000
    max_bytes: Annotated[Bytes, Meta(description="Payload bytes of a batch at most (one record may exceed it).")] = (
        Bytes(16 * 1024 * 1024)
    )
    max_wait: Annotated[
        Secs, Meta(description="How long a batch may go on filling while more records are at hand.")
    ] = Secs(0.1)


class DeadLetters(Options, frozen=True, kw_only=True):
    """Where refused records go besides ingestd.dead_letters, and when refusing must stop.

    A bad deploy of a producer must halt the partition, not drain a topic into the dead letters.
    """

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
    topic: Annotated[
        Annotated[str, Meta(pattern="^[A-Za-z0-9._-]{1,249}$")] | None,
        Meta(
            description="Also send every dead letter to this topic, payload and key unchanged, with its origin and reason as headers. Sent from the table, so none is lost; after a crash one may be sent twice.",
        ),
    ] = None
    parquet: Annotated[
        str | None,
        Meta(
            description="Also write dead letters as Parquet files into this directory (relative to the working directory), for DuckDB and the like: at most one a minute."
        ),
    ] = None


class Delete(Options, frozen=True, kw_only=True):
    """Which records of an upsert delete, and what that does."""

    when: Annotated[
        dict[str, str | int | float | bool],
        Meta(
            description='A record deletes when these fields (by path; each must be read by a column) have these values: { event_type = "delete" }.'
        ),
    ] = {}
    tombstone: Annotated[
        bool,
        Meta(
            description="A record without a value deletes; the table's key is read from the record's key: a JSON object with the key columns' fields, or the text of the only one."
        ),
    ] = False
    how: Annotated[
        Literal["soft", "hard"],
        Meta(
            description='"soft": the row stays; fields that the deleting record has are written, the others kept. "hard": the row goes, and ingestd remembers the key, so that an older upsert that comes late does not bring it back.'
        ),
    ]
    mark: Annotated[
        str | None,
        Meta(
            description="For soft: a boolean column of the table that is true for deleted rows and false again after an upsert."
        ),
    ] = None
    retention: Annotated[
        Secs | None,
        Meta(
            description="For hard: how long deleted keys are remembered; default for ever. An upsert older than the delete that comes later than this brings the row back."
        ),
    ] = None


class Dedupe(Options, frozen=True, kw_only=True):
    """The gate: a table of seen keys, filled in the transaction of the rows, in front of every sink of the pipeline."""

    table: Annotated[str, Meta(min_length=1, description='Table of the seen keys: "table" or "schema.table".')]
    key: Annotated[
        str | tuple[str, ...],
        Meta(description="Column, or columns, whose value may come once; each is required."),
    ]
    create: Annotated[bool, Meta(description="Create the table when it does not exist.")] = False
    retention: Annotated[
        Secs | None,
        Meta(
            description="How long keys are remembered; default for ever. A repeat that comes later than this counts as new."
        ),
    ] = None


class Table(Options, frozen=True, kw_only=True):
    """The table that a pipeline fills."""

    name: Annotated[str, Meta(min_length=1, description='"table" or "schema.table".')]
    mode: Annotated[
        Literal["append", "insert", "upsert"],
        Meta(
            description='"append": every record is a row. "insert": a row whose key is already there is a duplicate and changes nothing. "upsert": one row for each key, from its latest record.'
        ),
    ] = "append"
    key: Annotated[tuple[str, ...], Meta(description="Columns of the key, for insert and upsert.")] = ()
    version: Annotated[
        str | tuple[str, ...],
        Meta(
            description='For upsert: the column, or columns, that tell which record of a key is later; an older one never overwrites a newer. Of equals the later offset wins. "offset": order of the partition.'
        ),
    ] = "offset"
    delete: Annotated[Delete | None, Meta(description="Which records delete. See `[pipeline.table.delete]`.")] = None
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
            description="With create: a file of SQL that makes the table, instead of a statement made from the columns. Relative to the configuration file; {store} in the name becomes sqlite or postgresql."
        ),
    ] = None


NO_TABLE = Table(name="")
"""Of a pipeline that only has a lake."""


class Contract(Options, frozen=True, kw_only=True):
    """One version of the records, side by side with others; all flow into the same table."""

    version: Annotated[
        str | int, Meta(description="Value of the pipeline's version_field in the records of this version.")
    ]
    column: Annotated[
        tuple[Column, ...],
        Meta(
            min_length=1,
            description="Columns of this version. They are columns of the table as `[[pipeline.column]]` declares it, of the same type, with their own path and rules; one that is left out takes its default.",
        ),
    ]


class Pipeline(Options, frozen=True, kw_only=True):
    """One topic, or many of a kind, into a table, a lake, or both."""

    name: Annotated[
        str,
        Meta(
            pattern="^[A-Za-z0-9_.-]{1,64}$",
            description="Name of the pipeline; the ledger's cursors are kept under it.",
        ),
    ]
    topic: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z0-9._*, -]{1,2000}$",
            description='Topic to read; or several: "a,b,c", or by a pattern: "cdc.public.*". Of several topics each fills the table that `table.name` makes of it ("{table}", "{schema}", "{topic}"); they share the lake.',
        ),
    ]
    format: Annotated[
        Literal["json", "json_schema", "avro", "protobuf", "msgpack", "raw"],
        Meta(
            description='Format of the record values. json_schema, avro and protobuf need `[schema_registry]`; "raw": the value as it is, for one column of type bytea, text or jsonb.'
        ),
    ] = "json"
    start: Annotated[
        str,
        Meta(
            description='Where the very first run begins: "earliest", "latest", "committed" (the group\'s offsets, to take over from another consumer), or an ISO-8601 time.'
        ),
    ] = "earliest"
    batch: Batch = Batch()
    dead_letters: DeadLetters = DeadLetters()
    on_bad: Annotated[
        Literal["dead_letter", "strip", "replace", "null"],
        Meta(
            description='A value that cannot be stored: "dead_letter" refuses the record; "strip" removes, "replace" puts U+FFFD for, NUL characters, lone surrogates and invalid UTF-8 in texts; "null" writes null where the column may be null. Where a policy cannot help, the record is a dead letter.'
        ),
    ] = "dead_letter"
    unknown_fields: Annotated[
        Literal["ignore", "keep", "dead_letter"],
        Meta(description="Fields that no column reads: left out, kept in `unknown_column`, or refused."),
    ] = "ignore"
    unknown_column: Annotated[
        str | None, Meta(description='With unknown_fields = "keep": the jsonb column of the table that takes them.')
    ] = None
    on_new_field: Annotated[
        Literal["ignore", "evolve"],
        Meta(
            description='"evolve": a top-level field that no column reads becomes a new nullable column of the table (text, int8, float8, bool or jsonb, by its first values; later ones of another type are dead letters). At most 100 for a table; a column that somebody else has made is never filled. While the table is locked the partition waits, so that no value is lost.'
        ),
    ] = "ignore"
    version_field: Annotated[
        str | None,
        Meta(
            description="Field that names the version of a record's contract; see `[[pipeline.contract]]`. Without the field, or with null in it, the pipeline's own columns hold; a version that no contract has is a dead letter."
        ),
    ] = None
    contract: Annotated[
        tuple[Contract, ...],
        Meta(description="Versions besides the columns of the pipeline, chosen by version_field."),
    ] = ()
    dedupe: Annotated[Dedupe | None, Meta(description="The gate. See `[pipeline.dedupe]`.")] = None
    cdc: Annotated[Cdc | None, Meta(description="The values are Debezium's change events. See `[pipeline.cdc]`.")] = (
        None
    )
    column: Annotated[
        tuple[Column, ...],
        Meta(description='The columns, in table order; needed unless `cdc.columns = "from_events"`.'),
    ] = ()
    table: Annotated[Table, Meta(description="The table to fill; not needed with a lake.")] = NO_TABLE
    lake: Annotated[Lake | None, Meta(description="Parquet files to write. See `[pipeline.lake]`.")] = None
    medallion: Annotated[
        Medallion | None,
        Meta(description="Stage and current tables out of a bronze lake. See `[pipeline.medallion]`."),
    ] = None
    query: Annotated[Query | None, Meta(description="What `ingestd query` shows. See `[pipeline.query]`.")] = None

    def has_table(self) -> bool:
        """Whether there is a table; a pipeline without one has a lake."""
        return self.table != NO_TABLE
