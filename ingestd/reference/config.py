"""docs/config.md, rendered from the option structs. Knows only those."""

import inspect
import json
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct

from ingestd.config import options as cfg
from ingestd.config.checks.options import GUARDED_PROPERTIES

_SECTIONS: tuple[tuple[str, type[Struct]], ...] = (
    ("[kafka]", cfg.Kafka),
    ("[store]", cfg.Store),
    ("[[pipeline]]", cfg.Pipeline),
    ("[[pipeline.column]]", cfg.Column),
    ("[pipeline.table]", cfg.Table),
    ("[pipeline.batch]", cfg.Batch),
    ("[pipeline.table.delete]", cfg.Delete),
    ("[pipeline.dedupe]", cfg.Dedupe),
    ("[pipeline.lake]", cfg.Lake),
    ("[pipeline.lake.roll]", cfg.Roll),
    ("[pipeline.lake.compact]", cfg.Compaction),
    ("[pipeline.cdc]", cfg.Cdc),
    ("[pipeline.medallion]", cfg.Medallion),
    ("[[pipeline.medallion.table]]", cfg.MedallionTable),
    ("[[pipeline.contract]]", cfg.Contract),
    ("[pipeline.query]", cfg.Query),
    ("[[pipeline.query.column]]", cfg.QueryColumn),
    ("[pipeline.dead_letters]", cfg.DeadLetters),
    ("[schema_registry]", cfg.SchemaRegistry),
    ("[workers]", cfg.Workers),
    ("[status]", cfg.Status),
    ("[log]", cfg.Log),
)

EXAMPLE = """[kafka]
bootstrap_servers = "${KAFKA_BOOTSTRAP_SERVERS:-localhost:9092}"
group_id = "ingestd-orders"

[kafka.properties]
security.protocol = "SASL_SSL"
sasl.mechanism = "SCRAM-SHA-512"
sasl.username = "ingestd"
sasl.password = "${KAFKA_PASSWORD}"

[store]
url = "postgresql://ingestd:${POSTGRES_PASSWORD}@db.example:5432/shop?sslmode=require"
synchronous_commit = "off"
lock_timeout = "30s"

[[pipeline]]
name = "orders"
topic = "shop.orders"
format = "json"
start = "2026-01-01T00:00:00Z"
batch = { max_rows = 25_000, max_bytes = "16MiB", max_wait = "100ms" }
dead_letters = { max_ratio = 0.05, max_run = 1000 }
column = [
  { name = "order_id", type = "uuid", required = true },
  { name = "customer", path = "customer.id", type = "text", required = true },
  { name = "total", type = "numeric(12,2)", required = true },
  { name = "currency", type = "varchar(3)", default = "EUR" },
  { name = "items", type = "jsonb" },
  { name = "tags", type = "text[]" },
  { name = "placed_at", type = "timestamptz", epoch = "ms", required = true },
]

[pipeline.table]
name = "shop.orders"
mode = "insert"
key = ["order_id"]
create = true

[workers]
max_workers = 4
prefetch = "16MiB"
drain_timeout = "10s"

[status]
listen = "0.0.0.0:8480"
token = "${INGESTD_STATUS_TOKEN}"
stalled_after = "60s"

[log]
level = "info"
format = "json"
"""
"""Valid as it stands; tests load it."""

_HEAD = """# Configuration

Generated from `ingestd/config/options.py` by `python -m ingestd.reference.config`; do not edit.
`ingestd check --config FILE` reports every mistake of a file at once, with its line, and checks the servers.
`ingestd check --offline` does the first part only.
Unknown options are errors.

## Values

- A **size** is a number of bytes, or text such as `"512kB"`, `"16MiB"` (kB, MB, GB: 1000; KiB, MiB, GiB: 1024).
- A **duration** is a number of seconds, or text such as `"50ms"`, `"2s"`, `"5m"`, `"1h"`, `"1d"`.
- In every text, `${NAME}` is the environment variable NAME, `${NAME:-default}` its value or else the default (which may
  hold variables itself), and `$$` a dollar sign. A variable that is not set and has no default is an error.
  A variable may also stand for a number or for true and false: `port = "${PORT}"`.
- Variables come from the environment, then from a file `.env` beside the configuration, then from `.env` in the working
  directory. In `.env`, a value stands for itself: no variables in it.
- In the `user:password@` part of a URL, values of variables are percent-encoded by ingestd: the variable holds the
  password as it is.

Secrets (the password in `store.url`, `status.token`, and librdkafka properties such as `sasl.password`,
`ssl.key.password`, `ssl.key.pem`, `sasl.oauthbearer.config`) appear in no log, page, metric or error.
"""

_TAIL = """
## librdkafka properties that ingestd keeps for itself

`kafka.properties` takes every property of librdkafka except those that guard exactly-once or have their own option:
{guarded}.

## A complete example

```toml
{example}```
"""


def render() -> str:
    """The whole page, as docs/config.md must be."""
    guarded = ", ".join(f"`{name}`" for name in GUARDED_PROPERTIES)
    sections = "".join(_section(title, options) for title, options in _SECTIONS)
    return _HEAD + sections + _TAIL.format(guarded=guarded, example=EXAMPLE)


def _section(title: str, options: type[Struct]) -> str:
    hints = get_type_hints(options, include_extras=True)
    lines = [
        f"\n## `{title}`\n\n{inspect.getdoc(options)}\n",
        "\n| option | type | default | description |\n|---|---|---|---|\n",
    ]
    for field in msgspec.structs.fields(options):
        cells = (f"`{field.name}`", _kind(hints[field.name]), _default(field), _description(field.name, hints))
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n")
    return "".join(lines)


def _description(name: str, hints: dict[str, Any]) -> str:
    for note in getattr(hints[name], "__metadata__", ()):
        if isinstance(note, Meta) and note.description:
            return note.description
    inner = hints[name]
    return f"See `[pipeline.{name}]`." if isinstance(inner, type) and issubclass(inner, Struct) else ""


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "required"
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    if isinstance(value, cfg.Bytes):
        return f"`{_size(value)}`"
    if isinstance(value, cfg.Secs):
        return f"`{_duration(value)}`"
    if value is None or value == () or isinstance(value, dict | Struct):
        return ""
    return f"`{json.dumps(value)}`"


def _size(size: int) -> str:
    return f'"{size // 1024**2}MiB"' if size % 1024**2 == 0 else str(size)


def _duration(secs: float) -> str:
    if secs < 1:
        return f'"{secs * 1000:g}ms"'
    return f'"{secs / 60:g}m"' if secs >= 120 and secs % 60 == 0 else f'"{secs:g}s"'


def _kind(hint: Any) -> str:
    """The type of an option in words."""
    if get_origin(hint) is Annotated:
        kind, notes = get_args(hint)[0], [note for note in hint.__metadata__ if isinstance(note, Meta)]
        limits = [f">= {note.ge:,}" for note in notes if note.ge is not None]
        limits += [f"<= {note.le:,}" for note in notes if note.le is not None]
        return _kind(kind) + (f" {', '.join(limits)}" if limits else "")
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(_kind(inner) for inner in get_args(hint) if inner is not types.NoneType)
    if get_origin(hint) is Literal:
        return ", ".join(f'`"{choice}"`' for choice in get_args(hint))
    if get_origin(hint) is tuple:
        return f"list of {_kind(get_args(hint)[0])}"
    if get_origin(hint) is dict:
        return "table of text, number, true or false"
    names = {
        cfg.Bytes: "size",
        cfg.Secs: "duration",
        str: "text",
        int: "integer",
        float: "number",
        bool: "true or false",
    }
    return names.get(hint, "table")


if __name__ == "__main__":
    print(render(), end="")
