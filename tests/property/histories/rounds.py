"""Runs a number of histories with Hypothesis. Knows no store."""

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.property.histories.machine import Histories
from tests.property.histories.places import Place

_STEPS = 25


def run(place: Place, histories: int, seed: int | None = None, shrink: bool = False) -> None:
    """So many histories; the same ones each time, also without a seed. Raises: what the first bad one raises."""

    def machine() -> Histories:
        return Histories(place)

    if seed is not None:
        machine._hypothesis_internal_use_seed = seed  # type: ignore[attr-defined]
    run_state_machine_as_test(
        machine,  # type: ignore[arg-type]
        settings=settings(
            max_examples=histories,
            stateful_step_count=_STEPS,
            deadline=None,
            database=None,
            derandomize=seed is None,
            # Reducing a history takes minutes on a real server: only when asked for.
            phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
