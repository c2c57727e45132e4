"""`ingestd verify` by counts: whatever a hand changes in table or ledger is found."""

from typing import Literal

import pytest

from ingestd.accounting.books import count_rows, open_books
from ingestd.config import options as cfg
from ingestd.stores.store import LedgerKey
from tests.accounting.conftest import MakeBooks, records

BAD = {"id": "not a number"}
CHANGES = [{"name": "id", "type": "int8", "required": True}, {"name": "op", "type": "text"}]


def test_repeats_dead_letters_and_batches_are_all_accounted_for(books: MakeBooks) -> None:
    one = books(partitions=(0, 1))
    one.commit([*records(1, 2, 2), BAD, *records(3)])
    one.commit(records(1, 4), start=5)
    one.commit(records(9), partition=1)
    report = one.verify()
    assert (report.problems, report.proof, report.table_rows) == ([], "by counts", 5)
    fates = report.partitions[0].fates
    assert (fates.records, fates.inserted, fates.duplicates, fates.dead) == (7, 4, 2, 1)


def test_row_deleted_by_hand_is_found(books: MakeBooks) -> None:
    one = books()
    one.commit(records(*range(10)))
    one.sql("DELETE FROM orders WHERE id IN (4, 5)")
    (problem,) = one.verify().problems
    assert "2 rows are missing: 10 must be there, 8 are" in problem


@pytest.mark.parametrize("mode", ["append", "insert", "upsert"])
@pytest.mark.parametrize("books", ["postgres"], indirect=True)
def test_row_that_a_trigger_keeps_out_is_not_counted_as_inserted(books: MakeBooks, mode: str) -> None:
    one = books(mode=mode)
    one.sql("CREATE TABLE orders (id bigint PRIMARY KEY)")
    one.sql(
        "CREATE FUNCTION keep_out() RETURNS trigger LANGUAGE plpgsql"
        " AS 'BEGIN RETURN CASE WHEN NEW.id = 2 THEN NULL ELSE NEW END; END'"
    )
    one.sql("CREATE TRIGGER guard BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION keep_out()")
    one.commit(records(1, 2, 3))
    assert one.verify().problems == []
    fates = one.verify().partitions[0].fates
    assert (fates.inserted, fates.duplicates + fates.stale) == (2, 1)


def test_first_batch_with_soft_deletes_is_accounted_for(books: MakeBooks) -> None:
    one = books(mode="upsert", column=CHANGES, delete=cfg.Delete(when={"op": "d"}, how="soft"))
    one.commit([{"id": 1}, {"id": 2, "op": "d"}])
    assert (one.verify().problems, one.verify().table_rows) == ([], 2)


@pytest.mark.parametrize("books", ["postgres"], indirect=True)
def test_rows_from_before_hard_deletes_are_no_strangers_and_a_lost_one_is_found(books: MakeBooks) -> None:
    before = books(mode="upsert", column=CHANGES)
    before.commit([{"id": 1}, {"id": 2}, {"id": 3}])
    one = books(mode="upsert", column=CHANGES, delete=cfg.Delete(when={"op": "d"}, how="hard"))
    one.commit([{"id": 1, "op": "d"}, {"id": 2}, {"id": 4}], start=3)
    report = one.verify()
    assert (report.problems, report.table_rows) == ([], 3)
    assert any("1 rows are from before" in note for note in report.notes)
    one.sql("DELETE FROM orders WHERE id IN (3, 4)")
    (problem,) = one.verify().problems
    assert "1 rows are missing" in problem


@pytest.mark.parametrize("books", ["postgres"], indirect=True)
def test_two_pipelines_that_delete_in_one_table_are_no_lost_rows(books: MakeBooks) -> None:
    hard = cfg.Delete(when={"op": "d"}, how="hard")
    one, other = (books(mode="upsert", column=CHANGES, delete=hard, name=name) for name in "pq")
    for two in (one, other):
        two.commit([{"id": 1}, {"id": 2}])
    other.commit([{"id": 1, "op": "d"}], start=2)
    report = one.verify(None, others=(other.bench.pipeline,))
    assert (report.problems, report.table_rows) == ([], 1)
    assert "not known" in report.notes[-1]


def test_row_inserted_by_hand_is_found(books: MakeBooks) -> None:
    one = books(mode="append")
    one.commit(records(*range(10)))
    one.sql("INSERT INTO orders VALUES (4)")
    (problem,) = one.verify().problems
    assert "1 rows more than were inserted" in problem


def test_dropped_table_is_found(books: MakeBooks) -> None:
    one = books()
    one.commit(records(1))
    one.sql("DROP TABLE orders")
    assert "is gone" in one.verify().problems[0]


def test_dead_letter_deleted_by_hand_is_found(books: MakeBooks) -> None:
    one = books()
    one.commit([BAD, *records(1), BAD])
    one.sql('DELETE FROM ingestd.dead_letters WHERE "offset" = 2')
    (problem,) = one.verify().problems
    assert "orders-0: 1 dead letters are missing: 2 must be there, 1 are" in problem


def test_dead_letter_that_stands_for_another_is_found(books: MakeBooks) -> None:
    """One deleted, one made up: the count alone would be right."""
    one = books()
    one.commit([BAD, *records(1)])
    one.sql('UPDATE ingestd.dead_letters SET "offset" = 77')
    assert any("dead letters at offsets never read: 77" in problem for problem in one.verify().problems)


@pytest.mark.parametrize("claimed", [False, True])
def test_cursor_moved_forward_by_hand_is_found_and_what_was_never_read_named(books: MakeBooks, claimed: bool) -> None:
    """Before the daemon has noticed, and for ever after."""
    one = books()
    one.commit(records(*range(10)))
    one.sql("UPDATE ingestd.cursors SET next_offset = 14")
    if claimed:
        one.claim([0])
        one.commit(records(14, 15), start=14)
    (problem,) = one.verify().problems
    assert "moved by hand from 10 forward to 14" in problem
    assert "never read: 10..13" in problem


@pytest.mark.parametrize("claimed", [False, True])
def test_cursor_moved_back_by_hand_is_found(books: MakeBooks, claimed: bool) -> None:
    one = books(mode="append")
    one.commit(records(*range(10)))
    one.sql("UPDATE ingestd.cursors SET next_offset = 7")
    if claimed:
        one.claim([0])
        one.commit(records(7, 8, 9, 10), start=7)
    (problem,) = one.verify().problems
    assert "moved by hand from 10 back to 7" in problem
    assert "7..9 are read again" in problem


def test_rewind_by_decision_is_no_loss(books: MakeBooks) -> None:
    """Dead letters of the second reading replace those of the first."""
    one = books()
    one.commit([*records(1, 2), BAD, *records(3)])
    one.sql("UPDATE ingestd.cursors SET next_offset = 1")
    one.claim([0])
    one.sql("UPDATE ingestd.ranges SET ended_by = 'reset to 1 by somebody@somewhere'")
    one.commit([*records(2), BAD, *records(3)], start=1)
    report = one.verify()
    assert report.problems == []
    assert any("1..3 read again by decision (reset to 1 by somebody@somewhere)" in note for note in report.notes)


def test_counter_changed_by_hand_is_found(books: MakeBooks) -> None:
    one = books()
    one.commit(records(1, 2, 3))
    one.sql("UPDATE ingestd.cursors SET duplicates = 1")
    assert "3 records were delivered and 4 have a fate" in one.verify().problems[0]


def test_table_that_was_emptied_and_rebuilt_is_accounted_for(books: MakeBooks) -> None:
    one = books(mode="append")
    one.commit(records(1, 2, 3))
    one.sql("TRUNCATE orders")
    one.sql("UPDATE ingestd.cursors SET next_offset = 0, replay_below = 0")
    one.claim([0])
    one.sql("UPDATE ingestd.ranges SET ended_by = 'rebuild from 0 by somebody@somewhere'")
    one.commit(records(1, 2, 3))
    assert (one.verify().problems, one.verify().table_rows) == ([], 3)


def test_commit_between_two_questions_is_not_half_seen(books: MakeBooks) -> None:
    """Or a running daemon would look like one that loses rows."""
    one = books()
    one.commit(records(0, 1))
    key = LedgerKey(one.bench.pipeline.name, one.bench.pipeline.topic)
    with open_books(one.store) as snapshot:
        before = snapshot.ranges(key)
        one.commit(records(2, 3), start=2)
        assert count_rows(snapshot, "orders") == 2
        assert snapshot.ranges(key) == before
    assert (one.verify().problems, one.verify().table_rows) == ([], 4)


@pytest.mark.parametrize("how", ["soft", "hard"])
def test_upserts_and_deletes_are_accounted_for_and_a_lost_row_is_found(
    books: MakeBooks, how: Literal["soft", "hard"]
) -> None:
    one = books(mode="upsert", column=CHANGES, delete=cfg.Delete(when={"op": "d"}, how=how))
    one.commit([{"id": 1}, {"id": 2}, {"id": 1, "op": "x"}, {"id": 3}, {"id": 4}])
    one.commit([{"id": 2, "op": "d"}, {"id": 3, "op": "d"}, {"id": 3}, {"id": 5, "op": "d"}], start=5)
    report = one.verify()
    assert report.problems == []
    assert report.table_rows == (5 if how == "soft" else 3)
    one.sql("DELETE FROM orders WHERE id = 4")
    (problem,) = one.verify().problems
    assert "1 rows are missing" in problem
