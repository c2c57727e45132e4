"""One set of counters, wherever they are written down."""

import re

import pytest

from ingestd.accounting.ranges import Fates
from ingestd.batch import Counts
from ingestd.stores.statements import load_statements


@pytest.mark.parametrize("file", ["ledger.sql", "sqlite_ledger.sql"])
@pytest.mark.parametrize("table", ["cursors", "ranges"])
def test_ledger_has_a_column_for_every_counter_in_the_same_order(file: str, table: str) -> None:
    text = load_statements(file)[f"create_{table}"].decode()
    columns = re.findall(r"^ +(\w+) ", text, re.MULTILINE)
    counters = Fates.__struct_fields__
    assert [column for column in columns if column in counters] == list(counters)


def test_what_a_transaction_counts_is_what_is_accounted_for() -> None:
    assert Fates.__struct_fields__[: len(Counts.__struct_fields__)] == Counts.__struct_fields__
