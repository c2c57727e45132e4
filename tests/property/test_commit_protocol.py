"""The crash model of the commit protocol: the protocol survives every interleaving, and each sabotage is caught."""

import pytest

from tests.property.protocol_model import Variant, World, explore

WORLDS = {
    "one_record_two_faults": World("r", faults=2),
    "refused_record_then_hole": World("b.", faults=1),
    "hole_then_record": World(".r", faults=1),
    "record_refused_record_hole": World("rb.", faults=1),
    "two_rebalances": World("r", faults=1, rebalances=2),
}

SABOTAGED = {
    "cursor_in_its_own_transaction": ("doubled", "r", Variant(cursor_apart=True)),
    "dead_letters_committed_apart": ("lost", "b", Variant(dead_apart=True)),
    "cursor_not_fenced_by_epoch": ("a fenced worker committed", "rr", Variant(fenced_by_epoch=False)),
    "cursor_not_compared_with_start": ("doubled", "rr", Variant(compared_with_start=False)),
    "same_batch_again_without_a_claim": (
        "doubled",
        "r",
        Variant(claims_after_fault=False, compared_with_start=False),
    ),
    "end_is_last_offset_plus_one": ("stands still", "r.", Variant(empty_tiles=False)),
    "lost_lease_is_claimed_again": ("claims without end", "r", Variant(exits_when_lost=False)),
    "reset_to_latest": ("lost", "rr", Variant(reset_to_latest=True)),
}
"""Name -> (what the model must find, log, variant)."""


@pytest.mark.parametrize("name", WORLDS)
def test_rows_dead_letters_and_cursor_tile_the_log_after_every_interleaving(name: str) -> None:
    states, violations = explore(WORLDS[name])
    assert not violations
    assert states > 10_000


@pytest.mark.parametrize("name", SABOTAGED)
def test_model_catches_the_sabotage(name: str) -> None:
    expected, log, variant = SABOTAGED[name]
    _, violations = explore(World(log, faults=1, variant=variant))
    assert expected in violations
