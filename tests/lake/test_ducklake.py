"""The DuckLake catalogue, read by DuckDB itself: every snapshot has the ledger's counts, or gives an error."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ingestd.errors import Halt
from ingestd.lake.catalogued import open_catalogued
from tests.lake.ducklake_reader import Reader
from tests.lake.stores import Ask
from tests.query.lakes import MadeLake, event, lake_config

OPTIONS = 'ducklake = "catalogue"'
TABLE = 'l."crm.events"'


def catalogued(directory: Path, url: str, columns: str = "") -> MadeLake:
    return catalogued_file(lake_config(directory, url, columns, OPTIONS))


def attached(url: str) -> Reader:
    if url.startswith("sqlite"):
        path = url.removeprefix("sqlite:///")
        return Reader(f"ATTACH 'ducklake:sqlite:{path}' AS l (READ_ONLY)", "sqlite_scanner")
    options = "READ_ONLY, METADATA_SCHEMA 'catalogue'"
    return Reader(f"ATTACH 'ducklake:postgres:{url}' AS l ({options})", "postgres_scanner")


@pytest.fixture
def made(url: str, tmp_path: Path) -> Iterator[MadeLake]:
    lake = catalogued(tmp_path, url)
    yield lake
    lake.close()


def count(reader: Reader, at: str = "") -> int:
    """Rows as they are in the files, which is not what the catalogue says of them."""
    found: int = reader.rows(f"SELECT count(id + 0) FROM {TABLE} {at}")[0][0]
    return found


def test_every_commit_is_a_snapshot_with_its_rows(made: MadeLake, url: str) -> None:
    with attached(url) as reader:
        for end in (10, 30, 31):
            made.commit([event(n) for n in range(made._end, end)])
            assert count(reader) == end
            assert reader.rows(f"SELECT count(*), min(id), max(id) FROM {TABLE}") == [[end, 0, end - 1]]
        assert [count(reader, f"AT (VERSION => {number})") for number in snapshots(reader)[-3:]] == [10, 30, 31]
        assert reader.rows(f"SELECT id, kind, amount, ts, tags FROM {TABLE} WHERE id = 7") == [
            [7, "b", "0.07", "2026-02-03 04:05:06.000789+00:00", ["x", None]]
        ]


def test_filters_find_every_row_they_should(made: MadeLake, url: str) -> None:
    made.commit([event(n) for n in range(50)])
    made.commit(
        [event(50, kind=None, ts=None), event(51, kind=""), event(52, kind="long " * 100), event(53, kind="ü/%")]
    )
    with attached(url) as reader:
        for where, ids in {
            "kind IS NULL": [50],
            "ts IS NULL": [50],
            "kind = ''": [51],
            "kind LIKE 'long%'": [52],
            "kind = 'ü/%'": [53],
            "id = 17": [17],
            "id > 51": [52, 53],
            "kind = 'a' AND id < 6": [0, 3],
            "amount = 0.49": [49],
            "ts < '2026-02-01' AND id > 46": [48, 52],
            "month(ts) = 2 AND id > 48": [49, 51, 53],
        }.items():
            assert reader.rows(f"SELECT id FROM {TABLE} WHERE {where} ORDER BY id") == [[n] for n in ids], where


def test_a_commit_that_is_not_settled_gives_an_error_and_never_a_smaller_count(made: MadeLake, url: str) -> None:
    made.commit([event(n) for n in range(10)])
    made.commit([event(n) for n in range(10, 20)], settled=False)
    with attached(url) as reader:
        assert "No such file" in str(reader.ask(f"SELECT count(id + 0) FROM {TABLE}"))
        made.settle()
        assert count(reader) == 20


def test_a_transaction_that_is_rolled_back_leaves_nothing(made: MadeLake, url: str) -> None:
    made.commit([event(n) for n in range(10)])
    files = made.write([event(n) for n in range(10, 20)])
    with attached(url) as reader:
        before = snapshots(reader)
        with made.store.side_transaction(keep=False) as tx:
            made.manifest.add(tx.cursor, files)
        assert (snapshots(reader), count(reader)) == (before, 10)
        with made.store.side_transaction() as tx:
            made.manifest.add(tx.cursor, files)
        made.settle()
        assert (len(snapshots(reader)), count(reader)) == (len(before) + 1, 20)


def test_a_merge_is_one_snapshot_and_old_ones_give_errors_once_their_files_are_gone(made: MadeLake, url: str) -> None:
    for start in range(0, 60, 20):
        made.commit([event(n) for n in range(start, start + 20)])
    with attached(url) as reader:
        before = snapshots(reader)
        made.merge()
        merged = snapshots(reader)
        directories = len({file.directory for file in made.manifest.files(made.store.open())})
        assert len(merged) == len(before) + directories  # each directory is a transaction here
        assert count(reader) == 60
        assert len(made.manifest.files(made.store.open())) == directories
        assert reader.rows(f"SELECT count(*) FROM {TABLE}") == [[60]]
        assert "No such file" in str(reader.ask(f"SELECT count(id + 0) FROM {TABLE} AT (VERSION => {before[-1]})"))
        for number in merged[3:]:
            found = reader.ask(f"SELECT count(*) FROM {TABLE} AT (VERSION => {number})")
            assert found == [[60]] or "No such file" in str(found)


def test_snapshots_older_than_an_hour_go_with_their_files(made: MadeLake, url: str, ask: Ask) -> None:
    for start in range(0, 60, 20):
        made.commit([event(n) for n in range(start, start + 20)])
    made.merge()
    with made.store.side_transaction() as tx:
        tx.cursor.execute(f"UPDATE {prefix(url)}ducklake_snapshot SET snapshot_time = '2020-01-01 00:00:00.000+00'")
    made.commit([event(n) for n in range(60, 80)])
    made.merge()
    with attached(url) as reader:
        assert count(reader) == 80
        kept = len(made.manifest.files(made.store.open()))
        ((files, ended),) = ask(f"SELECT count(*), count(end_snapshot) FROM {prefix(url)}ducklake_data_file")
        # Only what the second merge has ended is still there.
        assert (files, ended) == (kept + ended, 2 * kept)
        assert min(snapshots(reader)) > 4


def test_a_new_column_a_wider_type_and_another_order_are_read_by_name(made: MadeLake, url: str, tmp_path: Path) -> None:
    made.commit([event(1)])
    newer = catalogued(tmp_path, url, columns='{ name = "note", type = "text" },')
    newer._end = 1
    newer.commit([event(2, note="new")])
    text = newer.file.read_text()
    text = text.replace(
        '{ name = "kind", type = "text" },', '{ name = "first", type = "text" }, { name = "kind", type = "text" },'
    )
    newer.file.write_text(text.replace("numeric(10,2)", "numeric(12,2)"))
    last = MadeLake(newer.file, prepare=False)
    last.manifest = open_catalogued(last.config.store, last.pipeline)
    last._end = 2
    last.commit([event(3, first="one", note="n")])
    with attached(url) as reader:
        assert reader.rows(f"SELECT id, kind, amount, note, first FROM {TABLE} ORDER BY id") == [
            [1, "b", "0.01", None, None],
            [2, "c", "0.02", "new", None],
            [3, "a", "0.03", "n", "one"],
        ]
        assert reader.rows(f"SELECT id FROM {TABLE} WHERE amount > 0.015 AND id < 3") == [[2]]
    last.close()
    newer.close()


def test_what_was_committed_without_a_catalogue_is_in_it_after_the_next_claim(url: str, tmp_path: Path) -> None:
    bare = MadeLake(lake_config(tmp_path, url))
    bare.commit([event(n) for n in range(10)])
    made = catalogued(tmp_path, url)
    with attached(url) as reader:
        assert count(reader) == 10
        bare.commit([event(n) for n in range(10, 15)])
        bare.merge()
        made.manifest.prepare(made.store.open())
        assert count(reader) == 15
        before = snapshots(reader)
        made.manifest.prepare(made.store.open())
        assert snapshots(reader) == before
    bare.close()
    made.close()


def test_two_pipelines_and_two_workers_share_a_catalogue(database: str, tmp_path: Path) -> None:
    lakes = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        file = lake_config(tmp_path / name, database, options=OPTIONS)
        file.write_text(file.read_text().replace('"crm.events"', f'"{name}"'))
        lakes.append(file)
    makers = [catalogued_file(file, first * 1000) for file in lakes for first in (0, 1)]
    counts: list[int] = []
    with attached(database) as reader, ThreadPoolExecutor(4) as pool:
        work = [pool.submit(commit_many, maker) for maker in makers]
        while not all(one.done() for one in work):
            found = reader.ask("SELECT sum(record_count) FROM __ducklake_metadata_l.catalogue.ducklake_data_file")
            assert isinstance(found, list), found
            counts.append(int(found[0][0] or 0))
        for one in work:
            one.result()
        assert counts == sorted(counts)
        for name in ("one", "two"):
            assert reader.rows(f"SELECT count(*), count(DISTINCT id) FROM l.{name}") == [[100, 100]]
        assert len(snapshots(reader)) == 1 + 4 * 10
    for maker in makers:
        maker.close()


def test_a_catalogue_of_another_version_halts(made: MadeLake, url: str) -> None:
    with made.store.side_transaction() as tx:
        tx.cursor.execute(f"UPDATE {prefix(url)}ducklake_metadata SET value = '2.0' WHERE key = 'version'")
    with pytest.raises(Halt, match="of version 2"):
        made.manifest.prepare(made.store.open())


def catalogued_file(file: Path, start: int = 0) -> MadeLake:
    made = MadeLake(file, prepare=False)
    made.manifest = open_catalogued(made.config.store, made.pipeline)
    made.store.prepare()
    made.manifest.prepare(made.store.open())
    made._end = start
    return made


def commit_many(made: MadeLake) -> None:
    for _ in range(10):
        made.commit([event(n) for n in range(made._end, made._end + 5)])


def prefix(url: str) -> str:
    return "" if url.startswith("sqlite") else "catalogue."


def snapshots(reader: Reader) -> list[int]:
    return [row[0] for row in reader.rows("SELECT snapshot_id FROM ducklake_snapshots('l') ORDER BY 1")]
