"""Answers one request about lakes in a process of its own, which may take its time, its memory, and be killed.

Reads an `Order` from standard input, which its parent keeps open as long as it wants the answer. Writes one line of
JSON, a `Head`, and then the body. Loads DuckDB; the status process does not.
"""

from __future__ import annotations

import csv
import io
import os
import pickle
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import IO, Any

import msgspec
import orjson
from msgspec import Struct

from ingestd.config.options import Pipeline, Store
from ingestd.errors import IngestdError
from ingestd.lake.engine import require_duckdb
from ingestd.status.lake_question import BadQuestion, Question, statement

NICE = 5
"""The workers go first."""


class Order(Struct):
    """What the parent wants."""

    store: Store
    pipelines: Sequence[Pipeline]
    """That have lakes; the one of the question, or all."""
    question: Question | None
    """None: the list of lakes."""
    memory_bytes: int


class Head(Struct, kw_only=True):
    """What comes before the body."""

    status: int = 200
    content_type: str = "text/plain; charset=utf-8"
    rows: int | None = None
    more: bool = False
    """Whether there are more rows than were asked for."""


def main(given: IO[bytes], out: IO[bytes]) -> None:
    """Read the order, write the answer."""
    order: Order = pickle.loads(given.read(int.from_bytes(given.read(8), "big")))
    threading.Thread(target=_end_with_parent, args=(given.fileno(),), daemon=True).start()
    os.nice(NICE)
    try:
        require_duckdb()
        _list(order, out) if order.question is None else _rows(order, order.question, out)
    except BrokenPipeError:
        pass
    except IngestdError as error:
        _fail(out, _status(error), str(error))


def _end_with_parent(given: int) -> None:
    # Not by the buffered file: its lock would be held when the interpreter ends.
    os.read(given, 1)
    os._exit(1)


def _status(error: IngestdError) -> int:
    if isinstance(error, BadQuestion):
        return 400
    if "ingestd.lake.reading.session" not in sys.modules:
        return 503
    from ingestd.lake.reading.session import Refused, TooMuch

    if isinstance(error, TooMuch):
        return 413
    return 400 if isinstance(error, Refused) else 503


def _fail(out: IO[bytes], status: int, said: str) -> None:
    _head(out, Head(status=status))
    out.write(said.encode() + b"\n")
    out.flush()


def _head(out: IO[bytes], head: Head) -> None:
    out.write(msgspec.json.encode(head) + b"\n")


def _limits(order: Order) -> Any:
    from ingestd.lake.reading.session import Limits

    return Limits(memory_bytes=order.memory_bytes, spill_bytes=16 * order.memory_bytes, threads=2)


def _list(order: Order, out: IO[bytes]) -> None:
    from ingestd.lake.reading.ask import asking
    from ingestd.stores.reading import live_files

    found = []
    for pipeline in order.pipelines:
        files = live_files(order.store, pipeline)
        lake: dict[str, Any] = {
            "name": pipeline.name,
            "rows": sum(file.rows for file in files),
            "bytes": sum(file.nbytes for file in files),
            "files": len(files),
        }
        try:
            with asking(order.store, pipeline, lambda session: session.columns(), _limits(order)) as columns:
                lake["columns"] = [{"name": name, "type": kind} for name, kind in columns]
        except IngestdError as error:
            lake |= {"columns": [], "error": str(error)}
        found.append(lake)
    _head(out, Head(content_type="application/json"))
    out.write(orjson.dumps({"lakes": found}, option=orjson.OPT_APPEND_NEWLINE))
    out.flush()


def _rows(order: Order, question: Question, out: IO[bytes]) -> None:
    from ingestd.lake.reading.ask import asking
    from ingestd.lake.reading.session import Answer, Session

    def ask(session: Session) -> Answer:
        text, values = statement(question, session.columns())
        # One row more tells whether there are more.
        return session.ask(text, values, question.limit + 1)

    with asking(order.store, order.pipelines[0], ask, _limits(order)) as answer:
        count = answer.count()
        head = Head(rows=min(count, question.limit), more=count > question.limit)
        batches = answer.batches(texts=question.format != "arrow", limit=question.limit)
        match question.format:
            case "arrow":
                head.content_type = "application/vnd.apache.arrow.stream"
                _head(out, head)
                _write_arrow(batches, out)
            case "csv":
                head.content_type = "text/csv; charset=utf-8; header=present"
                _head(out, head)
                for line in _csv([name for name, _ in answer.columns], batches):
                    out.write(line.encode())
            case _:
                head.content_type = "application/json"
                _head(out, head)
                for piece in _json(question.pipeline, answer.columns, head.more, batches):
                    out.write(piece)
    out.flush()


def _write_arrow(batches: Any, out: IO[bytes]) -> None:
    import pyarrow as pa

    with pa.ipc.new_stream(out, batches.schema) as stream:
        for batch in batches:
            stream.write_batch(batch)


def _csv(names: Sequence[str], batches: Any) -> Iterator[str]:
    """RFC 4180; null is an empty field."""
    text = io.StringIO()
    lines = csv.writer(text)
    lines.writerow(names)
    for batch in batches:
        columns = [column.to_pylist() for column in batch.columns]
        lines.writerows(["" if value is None else _text(value) for value in row] for row in zip(*columns, strict=True))
        yield text.getvalue()
        text.seek(0)
        text.truncate()
    yield text.getvalue()


def _json(name: str, columns: Sequence[tuple[str, str]], more: bool, batches: Any) -> Iterator[bytes]:
    described = [{"name": column, "type": kind} for column, kind in columns]
    head = orjson.dumps({"lake": name, "columns": described, "more": more})
    yield head[:-1] + b',"rows":['
    first = True
    for batch in batches:
        rows = batch.to_pylist()
        if rows:
            body = orjson.dumps(rows, default=_text)
            yield (b"" if first else b",") + b"\n" + body[1:-1]
            first = False
    yield b"\n]}\n"


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes | memoryview):
        return f"\\x{bytes(value).hex()}"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return orjson.dumps(value, default=_text).decode()
    return str(value)


if __name__ == "__main__":
    main(sys.stdin.buffer, sys.stdout.buffer)
