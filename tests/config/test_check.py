"""`ingestd check` against the real broker and the real database."""

import socket
import time
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from ingestd.embedded.kafka import KafkaServer
from ingestd.embedded.postgres import PostgresServer
from ingestd.stores.postgres.ledger import make_ledger
from tests.config.check_command import Answer, run_check, write_config
from tests.config.pooler import transaction_pooler
from tests.fix_servers import MakeTopic

FITTING = "CREATE TABLE events (id text PRIMARY KEY, amount numeric(10,2) NOT NULL, seen_at timestamptz DEFAULT now())"


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def execute(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def failures(answer: Answer) -> list[str]:
    return [found["subject"] for found in answer.findings if found["state"] == "FAIL"]


def login_url(postgres: PostgresServer, database: str, user: str, password: str) -> str:
    name = psycopg.conninfo.conninfo_to_dict(database)["dbname"]
    return f"postgresql://{user}:{password}@127.0.0.1:{postgres.port}/{name}"


@pytest.fixture
def role(postgres: PostgresServer) -> str:
    name = f"check_{time.monotonic_ns()}"
    execute(postgres.url(), f"CREATE ROLE {name} LOGIN PASSWORD 'right-password'")
    return name


def test_everything_fits(kafka: KafkaServer, topic: MakeTopic, database: str, tmp_path: Path) -> None:
    execute(database, FITTING)
    path = write_config(tmp_path, servers=kafka.bootstrap_servers, topic=topic(3), url=database)
    answer = run_check(path)
    assert answer.code == 0, answer.text
    assert {found["state"] for found in answer.findings} == {"ok"}
    assert any("3 partitions" in found["message"] for found in answer.findings)


def test_missing_topic_says_how_to_make_it(kafka: KafkaServer, tmp_path: Path) -> None:
    answer = run_check(write_config(tmp_path, servers=kafka.bootstrap_servers, topic="nobody-made-this"))
    assert answer.code == 3
    (found,) = answer.of("topic nobody-made-this")
    assert found["message"] == "topic not found"
    assert f"--bootstrap-server {kafka.bootstrap_servers} --create --topic nobody-made-this" in found["mend"]


def test_closed_broker_port_is_connection_refused_and_does_not_wait(tmp_path: Path) -> None:
    began = time.monotonic()
    answer = run_check(write_config(tmp_path, servers=f"127.0.0.1:{closed_port()}"))
    assert answer.code == 3
    assert failures(answer) == ["broker"]
    assert answer.of("broker")[0]["message"].startswith("connection refused")
    assert time.monotonic() - began < 10


def test_taking_over_from_a_group_without_offsets_is_a_warning(
    kafka: KafkaServer, topic: MakeTopic, tmp_path: Path
) -> None:
    name = topic()
    answer = run_check(write_config(tmp_path, servers=kafka.bootstrap_servers, topic=name, start="committed"))
    assert answer.code == 0
    assert [found["state"] for found in answer.of(f"group check-{name}")] == ["warn"]


def test_broker_that_knows_no_sasl_refuses_the_login(kafka: KafkaServer, tmp_path: Path) -> None:
    login = '"security.protocol" = "SASL_PLAINTEXT", "sasl.mechanism" = "PLAIN", "sasl.username" = "u"'
    path = write_config(tmp_path, servers=kafka.bootstrap_servers, properties=f'{login}, "sasl.password" = "swordfish"')
    answer = run_check(path)
    assert answer.code == 3
    assert failures(answer) in (["broker"], ["broker login"])
    assert "swordfish" not in answer.text


@pytest.mark.parametrize(
    "written", ['"security.protocl" = "SSL"', '"security.protocol" = "nonsense"', '"socket.timeout.ms" = 1']
)
def test_unknown_property_or_value_is_a_configuration_problem(tmp_path: Path, written: str) -> None:
    answer = run_check(write_config(tmp_path, servers="127.0.0.1:1", properties=written))
    assert answer.code == 2
    assert written.split('"')[1] in answer.text


def test_closed_database_port_is_connection_refused(tmp_path: Path) -> None:
    answer = run_check(write_config(tmp_path, url=f"postgresql://u:p@127.0.0.1:{closed_port()}/db"))
    assert answer.code == 3
    assert answer.of("database host")[0]["message"].startswith("connection refused")


def test_unknown_host_is_named(tmp_path: Path) -> None:
    answer = run_check(write_config(tmp_path, url="postgresql://u:p@no-such-host.invalid/db"))
    assert answer.code == 3
    assert answer.of("database host")[0]["message"].startswith("host not found")


def test_silent_host_is_given_up_after_seconds(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        answer = run_check(write_config(tmp_path, url=f"postgresql://u:p@127.0.0.1:{silent.getsockname()[1]}/db"))
    assert answer.of("database host")[0]["message"].startswith("no answer")
    assert time.monotonic() - began < 9


def test_wrong_password_is_authentication_failed_and_stays_unseen(
    postgres: PostgresServer, database: str, role: str, tmp_path: Path
) -> None:
    answer = run_check(write_config(tmp_path, url=login_url(postgres, database, role, "wrong-password")))
    assert answer.code == 3
    assert failures(answer) == ["login"]
    assert answer.of("login")[0]["message"].startswith("authentication failed")
    assert "wrong-password" not in answer.text


def test_missing_database_is_named_with_the_statement(postgres: PostgresServer, tmp_path: Path) -> None:
    answer = run_check(write_config(tmp_path, url=postgres.url("no_such_db")))
    assert answer.code == 3
    (found,) = answer.of("database")
    assert found["message"] == "database does not exist: no_such_db"
    assert 'CREATE DATABASE "no_such_db";' in found["mend"]


def test_role_without_privileges_gets_the_grants(
    postgres: PostgresServer, database: str, role: str, tmp_path: Path
) -> None:
    execute(database, FITTING)
    path = write_config(tmp_path, url=login_url(postgres, database, role, "right-password"))
    answer = run_check(path)
    assert answer.code == 3
    assert set(failures(answer)) == {"ledger", "table events"}
    execute(database, *[found["mend"] for found in answer.findings if found["state"] == "FAIL"])
    assert run_check(path).code == 0


def test_ledger_without_privileges_gets_the_grants(
    postgres: PostgresServer, database: str, role: str, tmp_path: Path
) -> None:
    execute(database, FITTING, f"GRANT SELECT, INSERT ON events TO {role}")
    with psycopg.connect(database) as connection, connection.cursor() as cursor:
        make_ledger(cursor, "here")
    path = write_config(tmp_path, url=login_url(postgres, database, role, "right-password"))
    answer = run_check(path)
    assert failures(answer) == ["ledger"]
    execute(database, answer.of("ledger")[0]["mend"])
    assert run_check(path).code == 0


def test_missing_table_is_made_by_the_printed_statement(database: str, tmp_path: Path) -> None:
    path = write_config(tmp_path, url=database)
    answer = run_check(path)
    assert failures(answer) == ["table events"]
    execute(database, answer.of("table events")[0]["mend"])
    assert run_check(path).code == 0


def test_table_that_will_be_created_is_tried_and_taken_back(database: str, tmp_path: Path) -> None:
    table = 'name = "events"\nmode = "insert"\nkey = ["id"]\ncreate = true'
    answer = run_check(write_config(tmp_path, url=database, table=table))
    assert answer.code == 0, answer.text
    assert answer.of("table events")[0]["message"] == "will be created"
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT to_regclass('events')").fetchone() == (None,)


def test_ddl_that_does_not_fit_the_columns_is_found_before_the_first_start(database: str, tmp_path: Path) -> None:
    (tmp_path / "t.sql").write_text("CREATE TABLE events (id text PRIMARY KEY, amount integer)")
    table = 'name = "events"\nmode = "insert"\nkey = ["id"]\ncreate = true\nddl = "t.sql"'
    answer = run_check(write_config(tmp_path, url=database, table=table))
    assert answer.code == 3
    assert 'column "amount" of events is integer' in answer.of("table events")[0]["message"]


def test_memory_of_another_key_is_not_first_found_by_the_daemon(database: str, tmp_path: Path) -> None:
    table = 'name = "events"\nmode = "upsert"\nkey = ["id"]\ncreate = true'
    path = write_config(tmp_path, url=database, table=f'{table}\ndelete = {{ how = "hard", tombstone = true }}')
    assert run_check(path).code == 0
    execute(database, "CREATE SCHEMA ingestd", "CREATE TABLE ingestd.versions_events (k1 bigint)")
    (found,) = run_check(path).of("memory of deletes")
    assert "it has k1 bigint, wanted k1 text" in found["message"]


def test_names_of_a_database_that_is_not_utf8_are_not_garbled(postgres: PostgresServer, tmp_path: Path) -> None:
    execute(postgres.url(), "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    try:
        table = 'name = "lä"\nmode = "append"'
        execute(postgres.url("latin") + "?client_encoding=utf8", 'CREATE TABLE "lä" (id text, amount numeric(10,2))')
        answer = run_check(write_config(tmp_path, url=postgres.url("latin"), table=table))
        assert answer.of("table lä")[0]["message"] == "fits, 2 columns"
    finally:
        execute(postgres.url(), "DROP DATABASE latin")


def test_search_path_without_a_schema_is_not_called_a_missing_schema_public(database: str, tmp_path: Path) -> None:
    name = psycopg.conninfo.conninfo_to_dict(database)["dbname"]
    execute(database, f'ALTER DATABASE "{name}" SET search_path = nowhere')
    table = 'name = "events"\nmode = "append"\ncreate = true'
    answer = run_check(write_config(tmp_path, url=database, table=table))
    assert "no schema of the search path exists" in answer.of("table events")[0]["message"]


def test_missing_schema_is_made_by_the_printed_statement(database: str, tmp_path: Path) -> None:
    table = 'name = "sink.events"\nmode = "insert"\nkey = ["id"]\ncreate = true'
    path = write_config(tmp_path, url=database, table=table)
    answer = run_check(path)
    assert answer.code == 3
    execute(database, answer.of("table sink.events")[0]["mend"])
    assert run_check(path).code == 0


def test_standby_like_database_is_refused(database: str, tmp_path: Path) -> None:
    name = psycopg.conninfo.conninfo_to_dict(database)["dbname"]
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(sql.Identifier(str(name)))
        )
    answer = run_check(write_config(tmp_path, url=database))
    assert "is read-only" in answer.of("database")[0]["message"]


def test_transaction_pooling_proxy_is_refused(postgres: PostgresServer, database: str, tmp_path: Path) -> None:
    name = str(psycopg.conninfo.conninfo_to_dict(database)["dbname"])
    execute(database, FITTING)
    with transaction_pooler(postgres.port, name) as port:
        answer = run_check(write_config(tmp_path, url=f"postgresql://postgres@127.0.0.1:{port}/{name}"))
    assert failures(answer) == ["connection"]
    assert "pool_mode = session" in answer.of("connection")[0]["mend"]


def test_wrong_url_parameter_is_a_configuration_problem(tmp_path: Path) -> None:
    answer = run_check(write_config(tmp_path, url="postgresql://u:swordfish@h/db?no_such_option=1"))
    assert answer.code == 2
    assert "swordfish" not in answer.text


def test_offline_connects_to_nothing(tmp_path: Path) -> None:
    path = write_config(tmp_path, servers="127.0.0.1:1", url="postgresql://u@127.0.0.1:1/db")
    answer = run_check(path, "--offline")
    assert answer.code == 0
    assert [found["subject"] for found in answer.findings] == ["configuration"]


def test_embedded_servers_need_nothing(tmp_path: Path) -> None:
    assert run_check(write_config(tmp_path)).code == 0


def test_every_problem_of_the_file_is_a_line(tmp_path: Path) -> None:
    path = write_config(tmp_path, topic="no topic", columns='{ name = "id", type = "strng" }')
    answer = run_check(path)
    assert answer.code == 2
    assert len(answer.findings) == 3, answer.text
