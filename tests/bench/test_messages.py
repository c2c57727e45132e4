"""What the producers make: repeatable, exact, and referring to users that exist."""

import re
import uuid
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from bench.hostile import CHECK_KINDS, DECODE_KINDS, Fields, Hostile, Messages, kinds_named
from bench.problem import Problem
from bench.transactions import Transactions, spare_users
from bench.users import read_user_ids, write_users
from ingestd.demo.load import Pace
from ingestd.demo.sales import Sales

TRANSACTION_FIELDS = Fields("amount", "merchant")


class Transaction(msgspec.Struct, forbid_unknown_fields=True):
    tx_id: uuid.UUID
    user_id: uuid.UUID
    amount: Decimal
    currency: str
    merchant: str
    category: str
    timestamp: datetime
    source_system: str
    transaction_type: str
    processing_time_ms: int


class Sale(msgspec.Struct, forbid_unknown_fields=True):
    id: uuid.UUID
    ts: datetime
    store_id: str
    amount_usd: Decimal
    channel: str


def seeded_transactions() -> Messages:
    return Transactions(spare_users(7), seed=7, start=1_767_225_600)


def seeded_sales() -> Messages:
    return Sales(seed=7, start=1_767_225_600)


def seeded_hostile() -> Messages:
    return Hostile(seeded_transactions(), TRANSACTION_FIELDS, 0.1, kinds_named("all"), seed=7)


@pytest.mark.parametrize("make", [seeded_transactions, seeded_sales, seeded_hostile])
def test_same_seed_makes_the_same_messages_however_they_are_cut(make: Callable[[], Messages]) -> None:
    whole = make().take(2500)
    pieces = make()
    cut = [message for count in (1, 999, 3, 1497) for message in pieces.take(count)]
    assert cut == whole


def test_without_a_seed_no_id_repeats_between_two_producers() -> None:
    ids = {value[10:46] for _ in range(2) for _, value in Transactions(spare_users(None)).take(2000)}
    assert len(ids) == 4000


def test_transactions_have_the_contract_s_fields_and_exact_cents() -> None:
    users = spare_users(1)
    for key, value in Transactions(users, seed=1).take(2000):
        transaction = msgspec.json.decode(value, type=Transaction)
        assert str(transaction.user_id) in users
        assert key.decode() == str(transaction.user_id)
        assert re.search(rb'"amount":\d+\.\d\d,', value)
        assert transaction.timestamp.utcoffset() is not None
        assert transaction.tx_id.version == 4


def test_sales_have_the_contract_s_fields_and_exact_cents() -> None:
    for key, value in Sales(seed=1).take(2000):
        sale = msgspec.json.decode(value, type=Sale)
        assert key.decode() == sale.store_id
        assert re.search(rb'"amount_usd":\d+\.\d\d,', value)
        assert sale.amount_usd > 0


def test_times_follow_the_clock_and_never_go_back() -> None:
    sales = Sales()
    times = [msgspec.json.decode(value, type=Sale).ts for _ in range(200) for _, value in sales.take(5)]
    assert times == sorted(set(times))
    assert abs(times[-1].timestamp() - datetime.now().timestamp()) < 5


@pytest.mark.parametrize(("share", "count", "bad"), [(0.01, 100_000, 1000), (0.6, 1000, 600), (1.0, 100, 100)])
def test_hostile_share_is_exact_and_spread_over_the_kinds(share: float, count: int, bad: int) -> None:
    hostile = Hostile(seeded_transactions(), TRANSACTION_FIELDS, share, kinds_named("decode"), seed=3)
    changed = [
        value != good
        for (_, value), (_, good) in zip(hostile.take(count), seeded_transactions().take(count), strict=True)
    ]
    assert sum(changed) == hostile.counts.total() == bad
    assert max(hostile.counts.values()) - min(hostile.counts.values()) <= 1


@pytest.mark.parametrize("kind", DECODE_KINDS)
def test_decode_kinds_break_the_contract(kind: str) -> None:
    (message,) = Hostile(seeded_transactions(), TRANSACTION_FIELDS, 1, (kind,)).take(1)
    assert not fits_the_table(message[1])


@pytest.mark.parametrize("kind", CHECK_KINDS)
def test_check_kinds_decode_but_break_the_check(kind: str) -> None:
    (message,) = Hostile(seeded_transactions(), TRANSACTION_FIELDS, 1, (kind,)).take(1)
    assert fits_the_table(message[1])
    assert msgspec.json.decode(message[1], type=Transaction).amount <= 0


def fits_the_table(value: bytes) -> bool:
    """Whether numeric(10,2) and text can hold the record, said independently of the daemon's decoder."""
    try:
        record = msgspec.json.decode(value, type=Transaction)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return False
    exact = record.amount == record.amount.quantize(Decimal("0.01")) if abs(record.amount) < 10**8 else False
    return exact and "\0" not in record.merchant


def test_unknown_kind_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="wrong_type"):
        kinds_named("nonsense")


def test_users_file_is_repeatable_and_read_back_in_order(tmp_path: Path) -> None:
    write_users(tmp_path / "a.csv", 300, seed=5)
    write_users(tmp_path / "b.csv", 300, seed=5)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    ids = read_user_ids(tmp_path / "a.csv")
    assert len(set(ids)) == 300
    assert {user for user, _ in Transactions(ids, seed=1).take(5000)} == {user.encode() for user in ids}


def test_users_file_without_the_column_says_how_to_make_one(tmp_path: Path) -> None:
    (tmp_path / "users.csv").write_text("name\nAda\n")
    with pytest.raises(Problem, match="no column user_id; make one with: python -m bench users"):
        read_user_ids(tmp_path / "users.csv")


def test_pace_grants_the_rate_in_slices_and_makes_good_one_second_at_most() -> None:
    now = [0.0]
    pace = Pace(50_000, clock=lambda: now[0])
    granted = 0
    for _ in range(1000):
        now[0] += 0.001
        slice_count = pace.due(10_000)
        assert 49 <= slice_count <= 51
        granted += slice_count
    assert granted in (49_999, 50_000)
    now[0] += 10
    assert pace.due(10**9) == 50_000
