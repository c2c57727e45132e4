"""`ingestd verify` per record: the table tells where its rows came from."""

import pytest

from ingestd.accounting.account import LogSpan
from tests.accounting.conftest import MakeBooks, records

BAD = {"id": "not a number"}


@pytest.mark.parametrize("mode", ["append", "insert"])
def test_offset_without_a_row_is_named(books: MakeBooks, mode: str) -> None:
    one = books(lineage=True, mode=mode, partitions=(0, 2))
    one.commit([*records(*range(10)), BAD])
    one.commit(records(*range(100, 120)), partition=2)
    assert (one.verify().problems, one.verify().proof) == ([], "per record")
    one.sql("DELETE FROM orders WHERE id BETWEEN 104 AND 109 OR id = 3")
    report = one.verify()
    assert any(
        "7 offsets are neither a row nor a dead letter: orders-0: 3; orders-2: 4..9" in p for p in report.problems
    )
    assert report.proof == "by counts"


def test_rows_of_a_second_pipeline_of_the_topic_are_no_strangers(books: MakeBooks) -> None:
    one, other = (books(lineage=True, name=name) for name in "pq")
    one.commit(records(1, 2))
    other.commit(records(1, 2))
    assert other.verify(None, others=(one.bench.pipeline,)).problems == []


def test_row_that_came_from_nowhere_is_named(books: MakeBooks) -> None:
    """Also when another was deleted, so that the number of rows is right."""
    one = books(lineage=True)
    one.commit(records(*range(5)))
    one.sql("DELETE FROM orders WHERE id = 2")
    one.sql("INSERT INTO orders VALUES (99, 0, 1000)")
    problems = one.verify().problems
    assert any("1 rows come from no committed offset: orders-0 offset 1000" in problem for problem in problems)
    assert any("orders-0: 2" in problem for problem in problems)


def test_offset_that_is_there_twice_is_named(books: MakeBooks) -> None:
    one = books(lineage=True, mode="append")
    one.commit(records(*range(5)))
    one.sql("INSERT INTO orders VALUES (99, 0, 3)")
    assert any("orders-0: 3: there more than once" in problem for problem in one.verify().problems)


def test_dead_letter_deleted_by_hand_is_named(books: MakeBooks) -> None:
    one = books(lineage=True)
    one.commit([*records(0, 1), BAD, *records(3)])
    one.sql("DELETE FROM ingestd.dead_letters")
    assert any("1 offsets are neither a row nor a dead letter: orders-0: 2" in p for p in one.verify().problems)


def test_dropped_dead_letters_are_not_lost_rows(books: MakeBooks) -> None:
    one = books(lineage=True)
    one.commit([*records(0, 1), BAD, *records(3)])
    one.sql("DELETE FROM ingestd.dead_letters")
    one.sql("UPDATE ingestd.cursors SET dropped = 1")
    assert (one.verify().problems, one.verify().proof) == ([], "per record")
    one.sql("DELETE FROM orders WHERE id = 3")
    assert any("among these 2 (1 dropped dead letters aside)" in problem for problem in one.verify().problems)


def test_counted_duplicates_are_not_lost_rows(books: MakeBooks) -> None:
    one = books(lineage=True)
    one.commit(records(1, 2, 1, 2, 3))
    assert (one.verify().problems, one.verify().proof) == ([], "per record")
    one.sql("DELETE FROM orders WHERE id = 3")
    assert any("1 offsets are unaccounted for, among these 3" in problem for problem in one.verify().problems)


def test_append_after_a_rewind_has_each_offset_once(books: MakeBooks) -> None:
    one = books(lineage=True, mode="append")
    one.commit(records(*range(5)))
    one.sql("UPDATE ingestd.cursors SET next_offset = 2")
    one.claim([0])
    one.sql("UPDATE ingestd.ranges SET ended_by = 'reset to 2 by somebody@somewhere'")
    one.commit(records(2, 3, 4, 5), start=2)
    assert (one.verify().problems, one.verify().table_rows) == ([], 6)


def test_log_tells_holes_from_losses(books: MakeBooks) -> None:
    """The counters cannot: offsets without a record look the same."""
    one = books(lineage=True, mode="append")
    one.commit(records(*range(10)))
    one.sql("DELETE FROM orders WHERE id IN (4, 5)")
    one.sql("UPDATE ingestd.cursors SET records = 8, inserted = 8")
    assert one.verify().problems == []
    assert one.verify().partitions[0].assumed_holes == 2

    (problem, named) = one.verify(lambda partition, span: LogSpan(0, 10, [])).problems
    assert "the log has 10 records in 0..9; 2 records are in no count" in problem
    assert "orders-0: 4..5" in named

    report = one.verify(lambda partition, span: LogSpan(0, 10, [(4, 6)]))
    assert (report.problems, report.proof) == ([], "per record")
    assert (report.partitions[0].assumed_holes, report.partitions[0].proved_holes) == (0, 2)
