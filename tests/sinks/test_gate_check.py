"""Whether a table serves as a gate; every printed statement is run and must mend it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ingestd.config import options as cfg
from ingestd.config.file import load
from ingestd.errors import Halt
from ingestd.preflight.findings import State
from ingestd.preflight.postgres import examine_postgres
from ingestd.preflight.postgres_gate import examine_gate
from ingestd.sinks.postgres.gate import PostgresGate
from ingestd.stores.postgres.gate_check import check_gate
from tests.sinks.contracts import ask, pipeline_of

Connection = psycopg.Connection[tuple[Any, ...]]
FITS = 'CREATE TABLE seen (event text PRIMARY KEY, topic text, partition int, "offset" bigint, seen_at timestamptz'


def _pipeline(create: bool = False, retention: str | None = None, kind: str = "text") -> cfg.Pipeline:
    dedupe: dict[str, Any] = {
        "table": "seen",
        "key": "event",
        "create": create,
        "retention": cfg.Secs(3600) if retention else None,
    }
    return pipeline_of({"id": "text", "event": kind}, dedupe=dedupe)


@pytest.fixture
def connection(database: str) -> Iterator[Connection]:
    with psycopg.connect(database, autocommit=True) as opened:
        yield opened


@pytest.mark.parametrize(
    ("ddl", "retention", "messages"),
    [
        ("SELECT 1", None, ["table seen of the gate does not exist"]),
        ("SELECT 1", "1h", ["table seen of the gate does not exist"]),
        ("CREATE TABLE seen (who text)", None, ['no column "event"', "no unique index on exactly (event)"][:1]),
        (FITS.replace(" PRIMARY KEY", "") + ")", None, ["no unique index on exactly (event)"]),
        (FITS.replace("event text", "event varchar(5)") + ")", None, ['"event" of seen is character varying(5)']),
        (FITS.replace('"offset" bigint', '"offset" int') + ")", None, ['"offset" of seen is integer']),
        (FITS.replace('"offset" bigint, ', "") + ")", None, ['has no column "offset"']),
        (FITS + ", who text NOT NULL)", None, ['"who" of seen is NOT NULL, has no default']),
        (FITS.replace("seen_at", "at") + ")", "1h", ['no column "seen_at"']),
        ("CREATE TABLE seen (event text PRIMARY KEY)", "1h", ['no column "seen_at"']),
    ],
)
def test_table_that_is_no_gate_halts_with_the_statement_that_mends_it(
    connection: Connection, database: str, ddl: str, retention: str | None, messages: list[str]
) -> None:
    connection.execute(ddl.encode())
    pipeline = _pipeline(retention=retention)
    with psycopg.connect(database) as session, pytest.raises(Halt) as halt:
        PostgresGate(pipeline).attach(session)
    assert all(message in str(halt.value) for message in messages), str(halt.value)
    for _ in range(2):  # an index can only be named when its column is there
        for problem in check_gate(connection, pipeline):
            assert problem.ddl in str(halt.value) or "unique index" in problem.message
            connection.execute(problem.ddl.encode())
    assert check_gate(connection, pipeline) == []
    with psycopg.connect(database) as session:
        PostgresGate(pipeline).attach(session)


@pytest.mark.parametrize(
    "ddl",
    [
        FITS + ")",
        FITS + ", note text DEFAULT 'x', n int GENERATED ALWAYS AS IDENTITY)",
        "CREATE TABLE seen (event varchar UNIQUE)",
        "CREATE TABLE seen (event text, seen_at bigint DEFAULT 0, UNIQUE (event))",
        FITS.replace(" PRIMARY KEY", "") + ", PRIMARY KEY (event)) PARTITION BY HASH (event)",
    ],
)
def test_table_that_serves_has_no_problem(connection: Connection, ddl: str) -> None:
    connection.execute(ddl.encode())
    assert check_gate(connection, _pipeline()) == []


def test_retention_without_the_privilege_to_forget_is_found(database: str, connection: Connection) -> None:
    role = f"gate_{database.rsplit('/', 1)[1]}"
    connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'w'".encode())
    try:
        connection.execute((FITS + ")").encode())
        connection.execute(f"GRANT SELECT, INSERT ON seen TO {role}".encode())
        url = psycopg.conninfo.make_conninfo(database, user=role, password="w")
        with psycopg.connect(url, autocommit=True) as limited:
            assert check_gate(limited, _pipeline()) == []
            (problem,) = check_gate(limited, _pipeline(retention="1h"))
            assert "no privilege: UPDATE, DELETE" in problem.message
            connection.execute(problem.ddl.encode())
            assert check_gate(limited, _pipeline(retention="1h")) == []
    finally:
        connection.execute(f"DROP OWNED BY {role}".encode())
        connection.execute(f"DROP ROLE {role}".encode())


def test_check_says_what_the_gate_would_meet_and_changes_nothing(connection: Connection, database: str) -> None:
    found = [(f.state, f.message) for f in examine_gate(connection, _pipeline(create=True, retention="1h"))]
    assert found == [(State.OK, "will be created")]
    assert ask(database, "SELECT to_regclass('seen')") == [(None,)]
    (missing,) = examine_gate(connection, _pipeline())
    assert (missing.state, missing.subject) == (State.FAIL, "gate seen")
    assert missing.mend.startswith('CREATE TABLE IF NOT EXISTS "seen"')
    connection.execute("CREATE TABLE seen (event text PRIMARY KEY)")
    warned, fits = examine_gate(connection, _pipeline())
    assert (warned.state, fits.state) == (State.WARN, State.OK)
    assert "does not tell which record brought a key" in warned.message
    connection.execute(warned.mend.encode())
    assert [f.state for f in examine_gate(connection, _pipeline())] == [State.OK]


def test_check_says_why_the_gate_cannot_be_made(connection: Connection) -> None:
    dedupe = {"table": "nowhere.seen", "key": "event", "create": True}
    (found,) = examine_gate(connection, pipeline_of({"id": "text", "event": "text"}, dedupe=dedupe))
    assert found.state is State.FAIL
    assert 'cannot be created: schema "nowhere" does not exist' in found.message


def test_ingestd_check_names_the_gates_problem(database: str, tmp_path: Path) -> None:
    column = '{ name = "id", type = "text", required = true }'
    (tmp_path / "c.toml").write_text(
        f'[kafka]\nbootstrap_servers = "localhost:1"\ngroup_id = "g"\n[store]\nurl = "{database}"\n'
        f'[[pipeline]]\nname = "p"\ntopic = "t"\ncolumn = [{column}]\ndedupe = {{ table = "seen", key = "id" }}\n'
        'table = { name = "orders", mode = "insert", key = ["id"], create = true }\n'
    )
    found = {finding.subject: finding for finding in examine_postgres(load(tmp_path / "c.toml", {}))}
    assert found["table orders"].state is State.OK
    assert found["gate seen"].state is State.FAIL
    assert "write dedupe.create = true, or create it" in found["gate seen"].message
