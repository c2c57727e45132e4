"""Random histories end as their records one by one, on both stores. Long: python -m tests.property.histories."""

from contextlib import closing
from pathlib import Path

from tests.property.histories.places import PostgresPlace, SqlitePlace
from tests.property.histories.rounds import run


def test_no_history_on_sqlite_ends_otherwise_than_its_records_one_by_one(tmp_path: Path) -> None:
    with closing(SqlitePlace(str(tmp_path / "silver.db"))) as place:
        run(place, 60)


def test_no_history_on_postgres_ends_otherwise_than_its_records_one_by_one(database: str) -> None:
    with closing(PostgresPlace(database)) as place:
        run(place, 25)
