"""What of a gate's table a start would meet. Changes nothing: what it tries is rolled back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg

from ingestd.config.options import Pipeline
from ingestd.preflight.findings import Finding, State
from ingestd.stores.postgres.gate_check import check_gate, create_gate, gate_columns, gate_notes


def examine_gate(connection: psycopg.Connection[Any], pipeline: Pipeline) -> Iterator[Finding]:
    """The gate's table as it is, or, with create = true, as it would be: made, checked and rolled back."""
    dedupe = pipeline.dedupe
    assert dedupe is not None
    subject = f"gate {dedupe.table}"
    with connection.transaction(force_rollback=True):
        made = dedupe.create and gate_columns(connection, dedupe) is None
        if made:
            try:
                with connection.transaction():
                    for statement in create_gate(pipeline):
                        connection.execute(statement.encode())
            except psycopg.Error as error:
                said = (str(error).strip().splitlines() or [type(error).__name__])[0]
                mend = "mend that, or let an administrator run: " + " ".join(f"{s};" for s in create_gate(pipeline))
                yield Finding(State.FAIL, subject, f"cannot be created: {said}", mend)
                return
        problems = check_gate(connection, pipeline)
        yield from (Finding(State.FAIL, subject, problem.message, problem.ddl) for problem in problems)
        yield from (Finding(State.WARN, subject, note.message, note.ddl) for note in gate_notes(connection, pipeline))
        if not problems:
            yield Finding(State.OK, subject, "will be created" if made else "fits")
