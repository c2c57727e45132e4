"""Real changes of a real source through a real Debezium into copies that follow its tables: equal at rest."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from ingestd.embedded.kafka import KafkaServer
from tests.cdc.copying import MARKS, Copies, Source, differences, form, open_source, sqlite_form
from tests.e2e.running import ingestd
from tests.fix_debezium import Debezium

pytestmark = pytest.mark.e2e

BIG = "repeat('x', 10000)"


@pytest.fixture
def source(source_database: str) -> Iterator[Source]:
    with open_source(source_database) as connection:
        connection.execute(f"CREATE TABLE {MARKS} (id int PRIMARY KEY, n int)".encode())
        yield connection


@pytest.fixture(params=["postgresql", "sqlite"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/copy.db" if request.param == "sqlite" else request.getfixturevalue("database")


def changed(source: Source) -> None:
    """Everything that may happen to a table, in an order in which each step would show in the end."""
    run = source.execute
    run("UPDATE t SET note = NULL, n = -1.5 WHERE id = 2")
    run("DELETE FROM t WHERE id = 3")
    run("UPDATE t SET n = n + 1 WHERE id = 1")  # its big value is not in the event
    run("UPDATE t SET id = 40 WHERE id = 4")
    with source.transaction():
        run("UPDATE t SET id = id + 1000 WHERE id BETWEEN 5 AND 6")
        run("UPDATE t SET id = 6 WHERE id = 1005")  # the key that another row just left
    with source.transaction(force_rollback=True):
        run("DELETE FROM t")
    more = "ADD COLUMN grade int NOT NULL DEFAULT 7, ADD COLUMN said text DEFAULT 'a \"b\", {\\}', ADD COLUMN x int"
    run(f"ALTER TABLE t {more}".encode())
    run("INSERT INTO t (id, note) VALUES (50, 'later')")
    run("UPDATE t SET grade = 8 WHERE id = 2")
    run("ALTER TABLE t ALTER COLUMN grade TYPE bigint, ALTER COLUMN n TYPE numeric(14,4)")
    run("INSERT INTO t (id, grade, n) VALUES (51, 9223372036854775807, 1234567890.1234)")
    run("ALTER TABLE t DROP COLUMN x")
    run("INSERT INTO t (id, said) VALUES (52, NULL)")
    run("TRUNCATE emptied")
    run("INSERT INTO emptied VALUES (2, 'again'), (9, 'new')")
    run("TRUNCATE emptied, cleared")
    run("INSERT INTO emptied VALUES (2, 'once more')")


@pytest.mark.parametrize("partitions", [1])
def test_a_copy_is_equal_to_its_source_whatever_happens_there(
    kafka: KafkaServer, debezium: Debezium, source: Source, store_url: str, tmp_path: Path, partitions: int
) -> None:
    run = source.execute
    run("CREATE TABLE t (id int PRIMARY KEY, note text, n numeric(10,2), at timestamptz DEFAULT now(), raw bytea)")
    run("ALTER TABLE t ALTER note SET STORAGE EXTERNAL")
    # Without its big value a row that changes its key would need REPLICA IDENTITY FULL.
    notes = f"CASE WHEN g BETWEEN 4 AND 6 THEN 'small' ELSE {BIG} || g END"
    rows = f"SELECT g, {notes}, g / 4.0, '\\x00ff' FROM generate_series(1, 9) g"
    run(f"INSERT INTO t (id, note, n, raw) {rows}".encode())
    run("CREATE TABLE emptied (id int PRIMARY KEY, v text)")
    run("INSERT INTO emptied VALUES (1, 'a'), (2, 'b')")
    run("CREATE TABLE cleared (id int PRIMARY KEY)")
    run("INSERT INTO cleared VALUES (1)")
    captured = debezium(schemas=True, publish_all=True, partitions=partitions)
    copies = Copies(tmp_path, kafka.bootstrap_servers, captured.prefix, store_url)
    daemon = copies.start()
    try:
        copies.rest(source)
        changed(source)
        with psycopg.connect(source.info.dsn, autocommit=False) as long:
            long.execute("INSERT INTO t (id, note) VALUES (60, 'of a long transaction')")
            long.execute("UPDATE t SET n = 6 WHERE id = 9")
            run("UPDATE t SET n = 7 WHERE id = 8")
            run("CREATE TABLE later (a int, b uuid DEFAULT gen_random_uuid(), v jsonb, PRIMARY KEY (b, a))")
            run("INSERT INTO later VALUES (1, DEFAULT, '{\"k\": 1}'), (2, DEFAULT, NULL)")
            copies.rest(source)
            long.execute("DELETE FROM t WHERE id = 7")
            long.commit()
        copies.rest(source)
        check = sqlite_form if copies.is_sqlite else form
        assert differences(copies, source, ["t", "emptied", "cleared", "later"], check) == []
        assert not daemon.events("partition halted")
        assert daemon.end() == 0
        said = ingestd("verify", "--config", copies.file)
        assert said.returncode == 0, said.stdout + said.stderr
        said = ingestd("check", "--config", copies.file)
        assert said.returncode == 0, said.stdout + said.stderr
    finally:
        daemon.destroy()


def halts(copies: Copies) -> list[str]:
    assert copies.daemon is not None
    return [str(event["reason"]) for event in copies.daemon.events("partition halted")]


def test_what_no_copy_can_follow_halts_its_topic_alone(
    kafka: KafkaServer, debezium: Debezium, source: Source, database: str, tmp_path: Path
) -> None:
    run = source.execute
    run("CREATE TABLE t (id int PRIMARY KEY, n int, note text)")
    run("INSERT INTO t SELECT g, g, 'x' FROM generate_series(1, 40) g")
    run("CREATE TABLE keyed (id int PRIMARY KEY, other int NOT NULL)")
    run("INSERT INTO keyed VALUES (1, 1), (2, 2)")
    captured = debezium(schemas=True, publish_all=True, partitions=2)
    copies = Copies(tmp_path, kafka.bootstrap_servers, captured.prefix, database)
    daemon = copies.start()
    try:
        copies.rest(source)
        # Both partitions' workers see each version; events of before bring no column of after.
        run("DELETE FROM t WHERE id > 30")
        run("ALTER TABLE t ADD COLUMN grade numeric(6,2) DEFAULT 1.5")
        run("INSERT INTO t (id, n) SELECT g, g FROM generate_series(31, 60) g")
        run("ALTER TABLE t ALTER COLUMN id TYPE bigint, ALTER COLUMN n TYPE numeric(8,1)")
        run("INSERT INTO t (id, n) SELECT g + 5000000000, g + 0.5 FROM generate_series(1, 30) g")
        run("UPDATE t SET note = 'y' WHERE id < 10")
        copies.rest(source)
        assert differences(copies, source, ["t", "keyed"], form) == []
        assert halts(copies) == []
        run("ALTER TABLE keyed DROP CONSTRAINT keyed_pkey, ADD PRIMARY KEY (other, id)")
        run("UPDATE keyed SET id = 7 WHERE id = 1")
        run("TRUNCATE t")
        run("CREATE TABLE keyless (a int)")
        run("INSERT INTO keyless VALUES (1)")
        daemon.wait(lambda: len({event["topic"] for event in daemon.events("partition halted")}) == 3, "the halts")
        said = "\n".join(halts(copies))
        assert "primary key is now (other, id), not (id)" in said
        assert "have no common order" in said
        assert "has no primary key" in said
        assert copies.ask("SELECT count(*) FROM copy.t") == [(90,)]
    finally:
        daemon.destroy()
