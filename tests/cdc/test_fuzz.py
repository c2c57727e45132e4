"""A short run of the fuzz of `python -m tests.cdc.fuzz`: random changes and killed workers, equal at rest."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ingestd.embedded.kafka import KafkaServer
from tests.cdc.changes import Changes
from tests.cdc.copying import MARKS, Copies, Source, open_source
from tests.cdc.fuzz import SQLITE_SAMPLES, fuzz
from tests.fix_debezium import Debezium

pytestmark = pytest.mark.e2e


@pytest.fixture
def source(source_database: str) -> Iterator[Source]:
    with open_source(source_database) as connection:
        connection.execute(f"CREATE TABLE {MARKS} (id int PRIMARY KEY, n int)".encode())
        yield connection


@pytest.mark.parametrize("store", ["postgresql", "sqlite"])
def test_random_changes_leave_no_difference_at_rest(
    store: str, request: pytest.FixtureRequest, kafka: KafkaServer, debezium: Debezium, source: Source, tmp_path: Path
) -> None:
    sqlite = store == "sqlite"
    url = f"sqlite:///{tmp_path}/copy.db" if sqlite else request.getfixturevalue("database")
    changes = Changes(source, 5, SQLITE_SAMPLES if sqlite else None)
    changes.make_tables()
    captured = debezium(schemas=True)
    copies = Copies(tmp_path, kafka.bootstrap_servers, captured.prefix, url)
    daemon = copies.start()
    try:
        copies.rest(source)
        found = fuzz(source, copies, changes, 5, 8)
        assert found.different == [], str(found)
        assert found.done["transactions"] > 30
    finally:
        daemon.destroy()
