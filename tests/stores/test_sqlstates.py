"""The decision for every class of SQLSTATE, on errors that the real server raised where it can be made to."""

import psycopg
import pytest

from ingestd.errors import Halt, IngestdError, Retryable
from ingestd.stores.faults import RowsRefused, UnknownFault
from ingestd.stores.postgres.errors import Verdict, decide, verdict
from ingestd.stores.postgres.store import connect

_RAISED = {
    # statement -> (SQLSTATE, decision)
    "SELECT 'x'::int": ("22P02", RowsRefused),
    "SELECT 1 / 0": ("22012", RowsRefused),
    "SELECT 99999::int2": ("22003", RowsRefused),
    "SELECT 'long'::varchar::jsonb": ("22P02", RowsRefused),
    "INSERT INTO t VALUES (1), (1)": ("23505", RowsRefused),
    "INSERT INTO t VALUES (NULL)": ("23502", RowsRefused),
    "INSERT INTO narrow VALUES (200)": ("44000", RowsRefused),
    "DO $$ BEGIN RAISE 'x'; END $$": ("P0001", RowsRefused),
    "INSERT INTO t VALUES (1), (1) ON CONFLICT (a) DO UPDATE SET a = 2": ("21000", RowsRefused),
    "INSERT INTO wide SELECT string_agg(md5(i::text), '') FROM generate_series(1, 400) i": ("54000", RowsRefused),
    "SELECT (repeat('[', 100000) || repeat(']', 100000))::jsonb": ("54001", RowsRefused),
    "DO $$ BEGIN RAISE 'x' USING ERRCODE = '40001'; END $$": ("40001", Retryable),
    "SET LOCAL statement_timeout = 1; SELECT pg_sleep(5)": ("57014", Retryable),
    "SET LOCAL default_transaction_read_only = on; SET TRANSACTION READ ONLY; INSERT INTO t VALUES (1)": (
        "25006",
        Retryable,
    ),
    "SELECT pg_terminate_backend(pg_backend_pid())": ("57P01", Retryable),
    "CREATE DATABASE inside": ("25001", Retryable),
    "LOCK TABLE t; DROP DATABASE template1": ("25001", Retryable),
    "SELECT * FROM missing": ("42P01", Halt),
    "SELECT missing FROM t": ("42703", Halt),
    "SET ROLE nobody_at_all": ("22023", RowsRefused),
    "CREATE TABLE missing.t (a int)": ("3F000", Halt),
    "DO $$ BEGIN RAISE 'x' USING ERRCODE = 'XX000'; END $$": ("XX000", UnknownFault),
    "DO $$ BEGIN ASSERT false; END $$": ("P0004", UnknownFault),
}


@pytest.mark.parametrize("statement", _RAISED)
def test_error_of_the_server_gets_its_decision(database: str, statement: str) -> None:
    sqlstate, decision = _RAISED[statement]
    with connect(database, "test") as connection:
        connection.execute("CREATE TABLE t (a int PRIMARY KEY); CREATE TABLE wide (a text PRIMARY KEY)")
        connection.execute("CREATE VIEW narrow AS SELECT a FROM t WHERE a < 100 WITH CHECK OPTION")
        connection.commit()
        with pytest.raises(psycopg.Error) as raised:
            connection.execute(statement.encode())
        connection.close()
    assert raised.value.sqlstate == sqlstate
    decided = decide(raised.value, "here")
    assert type(decided) is decision
    assert "\n" not in str(decided)


@pytest.mark.parametrize(
    ("sqlstate", "expected"),
    [
        (None, Verdict.RETRY),
        ("53100", Verdict.RETRY),
        ("53300", Verdict.RETRY),
        ("55P03", Verdict.RETRY),
        ("57P03", Verdict.RETRY),
        ("58030", Verdict.RETRY),
        ("08006", Verdict.RETRY),
        ("40P01", Verdict.RETRY),
        ("28P01", Verdict.HALT),
        ("3D000", Verdict.HALT),
        ("42501", Verdict.HALT),
        ("54023", Verdict.UNKNOWN),
        ("0A000", Verdict.UNKNOWN),
        ("P0002", Verdict.UNKNOWN),
        ("ZZZZZ", Verdict.UNKNOWN),
    ],
)
def test_class_that_a_test_cannot_raise_has_its_verdict(sqlstate: str | None, expected: Verdict) -> None:
    assert verdict(sqlstate) is expected


def test_serialization_failure_is_retried(database: str) -> None:
    with connect(database, "one") as one, connect(database, "other") as other:
        one.execute("CREATE TABLE t (a int); INSERT INTO t VALUES (1)")
        one.commit()
        for session in (one, other):
            session.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            session.execute("SELECT a FROM t")
        one.execute("UPDATE t SET a = 2")
        one.commit()
        with pytest.raises(psycopg.errors.SerializationFailure) as raised:
            other.execute("UPDATE t SET a = 3")
    assert type(decide(raised.value, "here")) is Retryable


def test_detail_of_an_error_with_row_contents_is_not_said(database: str) -> None:
    with connect(database, "test") as connection:
        connection.execute("CREATE TABLE t (a text PRIMARY KEY)")
        with pytest.raises(psycopg.Error) as raised:
            connection.execute("INSERT INTO t VALUES ('secret'), ('secret')")
    assert "secret" not in str(decide(raised.value, "here"))


@pytest.mark.parametrize(
    ("change", "decision"),
    [
        ({"user": "nobody_at_all", "password": "very-secret"}, Halt),
        ({"dbname": "no_such_database"}, Halt),
        ({"port": "1"}, Retryable),
    ],
)
def test_refused_connection_gets_its_decision_and_shows_no_password(
    database: str, change: dict[str, str], decision: type[IngestdError]
) -> None:
    url = psycopg.conninfo.make_conninfo(database, **change)
    with pytest.raises(decision) as refused:
        connect(url, "test")
    assert "very-secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("change", "decision", "said"),
    [
        ("CONNECTION LIMIT 0", Retryable, "too many connections for role"),
        ("PASSWORD 'another'", Halt, "password authentication failed"),
        ("NOLOGIN", Halt, "is not permitted to log in"),
    ],
)
def test_login_that_the_role_no_longer_has_gets_its_decision(
    database: str, change: str, decision: type[IngestdError], said: str
) -> None:
    """53300, 28P01, 28000: libpq gives the words only. Too many sessions end by themselves, a password does not."""
    role = f"login_{database.rsplit('/', 1)[1]}"
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'very-secret'".encode())
        try:
            url = psycopg.conninfo.make_conninfo(database, user=role, password="very-secret")
            connect(url, "test").close()
            admin.execute(f"ALTER ROLE {role} {change}".encode())
            with pytest.raises(decision) as refused:
                connect(url, "test")
        finally:
            admin.execute(f"DROP ROLE {role}".encode())
    assert said in str(refused.value)
    assert "very-secret" not in str(refused.value)


def test_database_without_a_free_connection_is_retried(database: str) -> None:
    name = database.rsplit("/", 1)[1]
    role = f"login_{name}"
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'w'".encode())
        admin.execute(f"ALTER DATABASE {name} CONNECTION LIMIT 0".encode())
        try:
            with pytest.raises(Retryable, match="too many connections for database"):
                connect(psycopg.conninfo.make_conninfo(database, user=role, password="w"), "test")
        finally:
            admin.execute(f"DROP ROLE {role}".encode())
