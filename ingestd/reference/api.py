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
| `/lake` | JSON: name, rows, bytes, files and columns of every lake; 404 when no pipeline has one |
| `/lake/NAME` | rows of the lake of pipeline NAME, described below |

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

_LAKE = """
## rows of a lake

`/lake/NAME` answers from all files that the manifest names at one moment: committed rows, each once.
With no parameters: all columns of the first 1,000 rows, as JSON.

| parameter | meaning |
|---|---|
| `columns=a,b` | only these, in this order; the partitions of the directories are columns too |
| `where=COLUMN=OP:VALUE` | may be repeated: all must hold; the operators are below |
| `order=a,-b` | sorted by a, then by b, the largest first; nulls last. Without it the order is no promise |
| `limit=N` | rows at most, up to `status.lake_max_rows` |
| `format=json` | `{"lake", "columns": [{"name", "type"}], "more", "rows": [{...}]}` |
| `format=csv` | RFC 4180 with headings; null is an empty field |
| `format=arrow` | an Arrow IPC stream (`application/vnd.apache.arrow.stream`) in the types of the lake |

Operators: `eq`, `ne`, `lt`, `le`, `gt`, `ge`; `in` with commas between the values, as in CSV; `prefix` of a text;
`null:true` and `null:false`. In JSON exact numbers and times are texts, times in UTC.
The headers `x-ingestd-rows` and `x-ingestd-more` say how many rows there are and whether more would match; the next
page is asked for by a condition on the column of `order`, such as `where=id=gt:LAST`.
An answer that could not be completed (`status.lake_timeout`) lacks the end of its transfer encoding: clients report an
incomplete read, never a short answer.
400: the question is wrong, in one line. 413: it needs more memory than `status.lake_memory`. 503: two answers are
being made, the store cannot be asked, or the time was over; `retry-after` says when to come again.

```console
$ curl -s 'http://127.0.0.1:8480/lake/crm?columns=event_id,amount&where=event_type=eq:sale&where=year=ge:2026&limit=2'
```
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
    return _HEAD + _LAKE + "".join(map(_section, _STRUCTS)) + render_contract()
