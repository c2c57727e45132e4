"""docs/api.md, rendered from the structs of the JSON view and the contract API. Knows only those."""

import types
import typing

import msgspec
from msgspec import Meta, Struct

from ingestd.reference.contract import render_contract
from ingestd.status.health import Reason
from ingestd.status.lake import LakeView
from ingestd.status.view import ChildView, HistoryView, PartitionView, PipelineView, StatusView, TotalView

_HEAD = """# The status server

Generated from `ingestd/status/view.py` and `ingestd/contract`; do not edit.

| path | answer |
|---|---|
| `/` | the page |
| `/api/partitions` | JSON, described below |
| `/metrics` | Prometheus text; see metrics.md |
| `/healthz` | 200 while the supervisor lives and has not let a stuck child be; else 503 |
| `/readyz` | 200 while records flow; else 503 with `{"ready": false, "reasons": [...]}` |

Only GET and HEAD. With `status.token` every path but `/healthz` needs `Authorization: Bearer TOKEN`;
a browser opens `/?token=TOKEN` once and has a cookie from then on.
On loopback the Host header must be localhost, 127.0.0.1, [::1] or the address of `status.listen`.

`/readyz` judges by progress. The codes of its reasons:

| code | when |
|---|---|
| `halted` | a partition waits for a person's decision |
| `stalled` | a partition has lag, or has not been claimed, and has committed nothing for `status.stalled_after` |
| `membership_down` | the member of the Kafka group is gone, or silent for 30 s |
| `not_assigned` | since its start this host was given no partition; a host that gave its partitions away is ready |
| `lag_unknown` | no log end was sampled for two minutes (or `status.stalled_after`, when that is longer) |
"""

_STRUCTS: tuple[type[Struct], ...] = (
    StatusView,
    Reason,
    TotalView,
    HistoryView,
    PipelineView,
    LakeView,
    PartitionView,
    ChildView,
)
_PLACES = {
    StatusView: "the answer of `/api/partitions`",
    Reason: "an item of `reasons`",
    TotalView: "`total`",
    HistoryView: "`total.history`",
    PipelineView: "an item of `pipelines`",
    LakeView: "`pipelines[].lake`",
    PartitionView: "an item of `pipelines[].partitions`",
    ChildView: "an item of `children`",
}
_JSON_NAMES: dict[object, str] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    type(None): "null",
    list: "array",
    dict: "object",
}


def _json_type(hint: object) -> str:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return " or ".join(_json_type(one) for one in typing.get_args(hint))
    return _JSON_NAMES.get(typing.get_origin(hint) or hint, "object")


def _field_line(name: str, hint: object) -> str:
    bare, meta = hint, ""
    if typing.get_origin(hint) is typing.Annotated:
        bare, *notes = typing.get_args(hint)
        meta = next((note.description or "" for note in notes if isinstance(note, Meta)), "")
    return f"| `{name}` | {_json_type(bare)} | {meta} |\n"


def _section(struct: type[Struct]) -> str:
    hints = typing.get_type_hints(struct, include_extras=True)
    lines = "".join(_field_line(field.name, hints[field.name]) for field in msgspec.structs.fields(struct))
    words = (struct.__doc__ or "").strip().splitlines()[0]
    return f"\n## {_PLACES[struct]}\n\n{words}\n\n| field | type | meaning |\n|---|---|---|\n{lines}"


def render() -> str:
    """The whole page, as docs/api.md must be."""
    return _HEAD + "".join(map(_section, _STRUCTS)) + render_contract()
