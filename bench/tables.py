"""The two tables that rows are measured into: the sketch's and the contract's. Knows nothing of processes."""

from typing import Any, NamedTuple

import pyarrow as pa


class Target(NamedTuple):
    """A table: its columns as SQL and as the pipeline's declaration, and as Arrow for the COPY limit."""

    name: str
    table: str
    sql_columns: str
    toml_columns: tuple[str, ...]
    arrow: pa.Schema
    fields: tuple[str, ...]
    """The records' field of each Arrow column."""

    def create(self, check: bool = False) -> str:
        """The statement that makes the table."""
        extra = ", CHECK (amount > 0)" if check else ""
        return f"CREATE TABLE {self.table} ({self.sql_columns}{extra})"

    def pipeline(self, topic: str, staged: bool = False) -> str:
        """The [[pipeline]] section for `topic`."""
        lines = "".join(f"  {{ {column} }},\n" for column in self.toml_columns)
        return (
            f'[[pipeline]]\nname = "bench"\ntopic = "{topic}"\ncolumn = [\n{lines}]\n\n'
            f'[pipeline.table]\nname = "{self.table}"\nmode = "insert"\nkey = ["tx_id"]\n'
            f"direct = {str(not staged).lower()}\n"
        )


def _column(name: str, kind: str, path: str | None = None) -> str:
    where = f', path = "{path}"' if path else ""
    return f'name = "{name}", type = "{kind}", required = true{where}'


def _arrow(*columns: tuple[str, Any]) -> pa.Schema:
    return pa.schema([pa.field(name, kind) for name, kind in columns])


SKETCH = Target(
    "sketch",
    "q",
    'tx_id text COLLATE "C" PRIMARY KEY, user_id text, amount float8, currency text, merchant text, category text, '
    "ts timestamptz, source_system text, transaction_type text, processing_time_ms int, "
    "ingested_at timestamptz DEFAULT now()",
    (
        _column("tx_id", "text"),
        _column("user_id", "text"),
        _column("amount", "float8"),
        _column("currency", "text"),
        _column("merchant", "text"),
        _column("category", "text"),
        _column("ts", "timestamptz", path="timestamp"),
        _column("source_system", "text"),
        _column("transaction_type", "text"),
        _column("processing_time_ms", "int4"),
    ),
    _arrow(
        ("tx_id", pa.string()),
        ("user_id", pa.string()),
        ("amount", pa.float64()),
        ("currency", pa.string()),
        ("merchant", pa.string()),
        ("category", pa.string()),
        ("ts", pa.timestamp("us", "UTC")),
        ("source_system", pa.string()),
        ("transaction_type", pa.string()),
        ("processing_time_ms", pa.int32()),
    ),
    (
        *("tx_id", "user_id", "amount", "currency", "merchant", "category", "timestamp"),
        *("source_system", "transaction_type", "processing_time_ms"),
    ),
)

CONTRACT = Target(
    "contract",
    "transactions_sink",
    "tx_id VARCHAR PRIMARY KEY, user_id VARCHAR NOT NULL, amount DECIMAL(10,2) NOT NULL, currency VARCHAR(3) NOT NULL, "
    "merchant VARCHAR(255) NOT NULL, category VARCHAR(100) NOT NULL, timestamp TIMESTAMP NOT NULL, "
    "ingested_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP",
    (
        _column("tx_id", "varchar"),
        _column("user_id", "varchar"),
        _column("amount", "numeric(10,2)"),
        _column("currency", "varchar(3)"),
        _column("merchant", "varchar(255)"),
        _column("category", "varchar(100)"),
        _column("timestamp", "timestamp"),
    ),
    _arrow(
        ("tx_id", pa.string()),
        ("user_id", pa.string()),
        ("amount", pa.decimal128(10, 2)),
        ("currency", pa.string()),
        ("merchant", pa.string()),
        ("category", pa.string()),
        ("timestamp", pa.timestamp("us")),
    ),
    ("tx_id", "user_id", "amount", "currency", "merchant", "category", "timestamp"),
)

TARGETS = {target.name: target for target in (SKETCH, CONTRACT)}
