"""Is the daemon alive, is it making progress: the reasons behind /healthz and /readyz. Pure; knows nothing of HTTP."""

from typing import Annotated

from msgspec import Meta, Struct

from ingestd.board import LaneState
from ingestd.status.sampler import Child, Reading, Snapshot

MEMBERSHIP_SILENT_SECS = 30.0
LOG_END_SILENT_SECS = 120.0
OVERDUE_SECS = 30.0
"""How much longer than `stuck_after` a child may be silent: by then the supervisor should have ended it."""


class Reason(Struct, frozen=True):
    """Why a probe fails, in words and in fields."""

    code: Annotated[str, Meta(description="What is wrong, for programs.")]
    message: Annotated[str, Meta(description="What is wrong, for people.")]
    pipeline: Annotated[str | None, Meta(description="Pipeline it is about.")] = None
    partition: Annotated[int | None, Meta(description="Partition it is about.")] = None


def liveness(snapshot: Snapshot, supervisor_lives: bool, stuck_after_secs: float) -> list[Reason]:
    """Why the daemon should be started anew; empty when it lives.

    A crashed child is the supervisor's business and no reason; a child that it should have ended long ago is one.
    """
    reasons = []
    if not supervisor_lives:
        reasons.append(Reason("supervisor_gone", "the supervisor process is gone"))
    for child in snapshot.children:
        if child.pid and child.beat_age_secs is not None and child.beat_age_secs > stuck_after_secs + OVERDUE_SECS:
            text = f"{child.name} (pid {child.pid}) has not turned its loop for {child.beat_age_secs:.0f} s"
            reasons.append(Reason("child_stuck", text))
    return reasons


def readiness(snapshot: Snapshot, stalled_after_secs: float) -> list[Reason]:
    """Why records are not flowing as they should; empty when all is well. Judged by progress, not by sockets."""
    reasons = [*_membership(snapshot), *_assignment(snapshot, stalled_after_secs)]
    for reading in snapshot.readings:
        reason = _partition(reading, stalled_after_secs)
        if reason:
            reasons.append(reason)
    return reasons


def _membership(snapshot: Snapshot) -> list[Reason]:
    child = next((child for child in snapshot.children if child.name == "membership"), None)
    if child is None or not child.pid:
        return [Reason("membership_down", "the group member is not running; assignments and lag are not followed")]
    if _silent(child):
        text = f"the group member (pid {child.pid}) has been silent for {child.beat_age_secs:.0f} s"
        return [Reason("membership_down", text)]
    return []


def _silent(child: Child) -> bool:
    return child.beat_age_secs is not None and child.beat_age_secs > MEMBERSHIP_SILENT_SECS


def _assignment(snapshot: Snapshot, stalled_after_secs: float) -> list[Reason]:
    if not snapshot.ever_held:
        text = "the Kafka group has not assigned any partition to this host yet"
        return [Reason("not_assigned", text)]
    age = snapshot.log_end_age_secs
    if any(reading.held for reading in snapshot.readings) and age is not None:
        limit = max(LOG_END_SILENT_SECS, stalled_after_secs)
        if age > limit:
            return [Reason("lag_unknown", f"no log end was sampled for {age:.0f} s: the lag shown is old")]
    return []


def _partition(reading: Reading, stalled_after_secs: float) -> Reason | None:
    place = f"{reading.pipeline}: {reading.topic}-{reading.partition}"
    if reading.state is LaneState.HALTED:
        text = f"{place} is halted and waits for a decision: {reading.text or 'see the log'}"
        return Reason("halted", text, reading.pipeline, reading.partition)
    if not reading.held or reading.stalled_secs <= stalled_after_secs:
        return None
    lag = "an unknown number of" if reading.lag_records is None else f"{reading.lag_records:,}"
    state = reading.state.name.lower()
    text = f"{place} ({state}) has {lag} records waiting and has committed nothing for {reading.stalled_secs:.0f} s"
    return Reason("stalled", f"{text}: {reading.text}" if reading.text else text, reading.pipeline, reading.partition)
