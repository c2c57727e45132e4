"""A pure model of the commit protocol: log, ledger, table, dead letters, two workers and everything that may fail.

Every step between two messages is one transition, so that a fault can fall between any two of them. `explore` walks
every interleaving. Knows no database and no Kafka; tests/stores/test_crash_points.py puts the real ones in their place.
"""

from collections.abc import Iterator
from typing import NamedTuple

_CLAIMS_PER_CAUSE = 3

Place = tuple[int, int]
"""(generation of the topic, offset): a re-created topic gives the same offsets to other records."""


class Variant(NamedTuple):
    """The protocol, or one sabotage of it."""

    cursor_apart: bool = False
    """Rows and dead letters commit first, the cursor in a transaction of its own."""
    dead_apart: bool = False
    """Dead letters are written after the transaction of the rows."""
    fenced_by_epoch: bool = True
    compared_with_start: bool = True
    empty_tiles: bool = True
    """False: `end` is the last record's offset + 1, and what holds no record is not committed."""
    exits_when_lost: bool = True
    """False: a worker that lost its lease claims again."""
    reset_to_latest: bool = False
    """auto.offset.reset = latest instead of error."""
    claims_after_fault: bool = True
    """False: after a broken connection the worker writes the same batch again without asking the ledger."""


class World(NamedTuple):
    """What is tried: the log and how much may go wrong."""

    log: str
    """One letter an offset: r a record, b one that is refused, . a hole (control record, aborted, compacted)."""
    faults: int = 2
    """Crashes, cuts, retention gaps, re-created topics and sources that jump back, in sum."""
    rebalances: int = 1
    variant: Variant = Variant()


class Session(NamedTuple):
    """A database session with its open transaction."""

    number: int
    rows: tuple[Place, ...] = ()
    dead: tuple[Place, ...] = ()
    cursor: int | None = None
    """Where the cursor goes at COMMIT; while it is set the session holds the row's lock."""
    epoch: int = 0
    sent: bool = False
    """COMMIT is on its way."""


class Worker(NamedTuple):
    step: str = "down"
    held: int | None = None
    """Epoch of the lease held before; None for a worker that was just started."""
    epoch: int = 0
    session: int = 0
    before: int = 0
    """Session of the previous holder, still to be ended."""
    start: int = 0
    end: int = 0
    generation: int = 0


class State(NamedTuple):
    workers: tuple[Worker, Worker] = (Worker(), Worker())
    sessions: tuple[Session, ...] = ()
    rows: tuple[Place, ...] = ()
    dead: tuple[Place, ...] = ()
    cursor: int = 0
    epoch: int = 0
    holder: int = 0
    log_start: int = 0
    generation: int = 0
    assigned: int = 0
    faults: int = 0
    rebalances: int = 0
    causes: int = 0
    """Starts and faults so far: as many claims are justified."""
    next_session: int = 1
    violation: str = ""


def explore(world: World) -> tuple[int, set[str]]:
    """(number of states, violations found) over every interleaving."""
    first = State(faults=world.faults, rebalances=world.rebalances)
    seen, stack, found = {first}, [first], set()
    while stack:
        state = stack.pop()
        if state.violation:
            found.add(state.violation)
            continue
        steps = list(_steps(world, state))
        if not steps and (violation := _at_rest(world, state)):
            found.add(violation)
        for following in map(_renumbered, (*steps, *_faults(world, state))):
            if following not in seen:
                seen.add(following)
                stack.append(following)
    return len(seen), found


def _renumbered(state: State) -> State:
    """The same state with its sessions counted from 1, so that histories that differ only in that count once."""
    new = {session.number: n for n, session in enumerate(state.sessions, 1)}
    workers = [w._replace(session=new.get(w.session, 0), before=new.get(w.before, 0)) for w in state.workers]
    return state._replace(
        workers=(workers[0], workers[1]),
        sessions=tuple(session._replace(number=new[session.number]) for session in state.sessions),
        rows=tuple(sorted(state.rows)),
        dead=tuple(sorted(state.dead)),
        holder=new.get(state.holder, 0),
        next_session=len(new) + 1,
    )


def _steps(world: World, state: State) -> Iterator[State]:
    """Everything that goes on by itself."""
    for w in (0, 1):
        worker = state.workers[w]
        step = _STEPS.get(worker.step)
        if step is not None:
            yield from step(world, state, w)
    for session in state.sessions:
        if session.sent:
            yield _apply(state, session)


def _faults(world: World, state: State) -> Iterator[State]:
    """Everything that may go wrong from here."""
    if state.rebalances:
        yield state._replace(assigned=1 - state.assigned, rebalances=state.rebalances - 1)
    if not state.faults:
        return
    state = state._replace(faults=state.faults - 1, causes=state.causes + 1)
    for w in (0, 1):
        worker = state.workers[w]
        if worker.step in ("down", "halted"):
            continue
        for orphaned in _leave(state, worker.session):
            yield _set(orphaned, w, Worker())
            if worker.step != "claim":
                yield _set(orphaned, w, worker._replace(step=_after_fault(world, worker)))
        if worker.step == "read" and worker.start:
            yield _set(state, w, worker._replace(start=worker.start - 1))  # the source delivers a record again
        if worker.step == "claim" and not _locked(state, 0):  # the claim is committed, its answer is lost
            yield state._replace(epoch=state.epoch + 1)
    if state.log_start < len(world.log) - 1:
        yield state._replace(log_start=state.log_start + 1)
    if not any(session.cursor is not None for session in state.sessions):
        # The topic is created again, and the operator moves the cursor to its beginning.
        first, second = (Worker() if worker.step == "halted" else worker for worker in state.workers)
        fresh = state._replace(workers=(first, second), cursor=0, log_start=0, epoch=state.epoch + 1, holder=0)
        yield fresh._replace(generation=state.generation + 1)


def _after_fault(world: World, worker: Worker) -> str:
    if world.variant.claims_after_fault or worker.step not in ("answer", "commit"):
        return "claim"
    return "again"


def _leave(state: State, number: int) -> Iterator[State]:
    """The session loses its client: it is rolled back, or a COMMIT that is on its way still arrives."""
    session = _session(state, number)
    yield _drop(state, number)
    if session is not None and session.sent:
        yield state


def _start(world: World, state: State, w: int) -> Iterator[State]:
    if state.assigned == w:
        yield _set(state._replace(causes=state.causes + 1), w, Worker("claim"))


def _claim(world: World, state: State, w: int) -> Iterator[State]:
    """Raise the epoch; whoever sits on the cursor's row is ended first, or its COMMIT arrives (`_apply`).

    Ending it and claiming are one step: the other would have to back off, connect and claim in between.
    """
    worker = state.workers[w]
    if locked := _locked(state, 0):
        state = _drop(state, locked.number)
    if worker.held is not None and worker.held != state.epoch:
        yield _lost(world, state, w)
        return
    state = _open(state)
    number = state.next_session - 1
    claimed = state._replace(epoch=state.epoch + 1, holder=number)
    if claimed.epoch > _CLAIMS_PER_CAUSE * state.causes:
        claimed = claimed._replace(violation="claims without end")
    following = Worker("terminate", None, claimed.epoch, number, state.holder, state.cursor, 0, state.generation)
    yield _set(claimed, w, following)


def _terminate(world: World, state: State, w: int) -> Iterator[State]:
    worker = state.workers[w]
    yield _set(_drop(state, worker.before), w, worker._replace(step="check", before=0))


def _check(world: World, state: State, w: int) -> Iterator[State]:
    worker = state.workers[w]
    if worker.generation != state.generation:
        yield _retry(state, w)  # created again since the claim: the next claim tells
    elif worker.start < state.log_start and not world.variant.reset_to_latest:
        yield _set(_drop(state, worker.session), w, Worker("halted"))
    else:
        yield _set(state, w, worker._replace(step="read"))


def _read(world: World, state: State, w: int) -> Iterator[State]:
    """A batch of any size; records of a topic that was created again since may still be in hand."""
    worker, end_of_log = state.workers[w], len(world.log)
    if worker.start < state.log_start and worker.generation == state.generation:
        if world.variant.reset_to_latest:
            yield _set(state, w, worker._replace(step="empty", end=end_of_log))
        else:
            yield _retry(state, w)
        return
    if worker.generation != state.generation:
        yield _retry(state, w)
    ends = set(range(worker.start + 1, end_of_log + 1))
    if not world.variant.empty_tiles:
        ends = {end for end in ends if world.log[end - 1] != "."}
    for end in sorted(ends):
        yield _set(state, w, worker._replace(step="rows", end=end))


def _write_rows(world: World, state: State, w: int) -> Iterator[State]:
    worker = state.workers[w]
    session = _session(state, worker.session)
    if session is None:
        yield _retry(state, w)
        return
    written = _places(world, worker, "r")
    if world.variant.cursor_apart:
        state = state._replace(rows=state.rows + written)
        written = ()
    yield _set(_put(state, session._replace(rows=written)), w, worker._replace(step="dead"))


def _write_dead(world: World, state: State, w: int) -> Iterator[State]:
    worker = state.workers[w]
    session = _session(state, worker.session)
    if session is None:
        yield _retry(state, w)
        return
    dead = () if world.variant.dead_apart else _places(world, worker, "b")
    if world.variant.cursor_apart:
        state = state._replace(dead=state.dead + dead)
        dead = ()
    yield _set(_put(state, session._replace(dead=dead)), w, worker._replace(step="move"))


def _skip(world: World, state: State, w: int) -> Iterator[State]:
    """A batch without a record: only the cursor moves."""
    yield _set(state, w, state.workers[w]._replace(step="move"))


def _move(world: World, state: State, w: int) -> Iterator[State]:
    """The cursor's update waits for its lock, then finds the row as ours or not."""
    worker = state.workers[w]
    session = _session(state, worker.session)
    if session is None:
        yield _retry(state, w)
    elif _locked(state, worker.session):
        return
    elif (world.variant.fenced_by_epoch and worker.epoch != state.epoch) or (
        world.variant.compared_with_start and worker.start != state.cursor
    ):
        yield _lost(world, state, w)
    else:
        moved = session._replace(cursor=worker.end, epoch=worker.epoch)
        yield _set(_put(state, moved), w, worker._replace(step="commit"))


def _commit(world: World, state: State, w: int) -> Iterator[State]:
    worker = state.workers[w]
    session = _session(state, worker.session)
    if session is None:
        yield _retry(state, w)
    else:
        yield _set(_put(state, session._replace(sent=True)), w, worker._replace(step="answer"))


def _answer(world: World, state: State, w: int) -> Iterator[State]:
    """Ended before the answer: only the ledger knows whether it arrived."""
    worker = state.workers[w]
    session = _session(state, worker.session)
    if session is None:
        yield _retry(state, w)
    elif not session.sent:
        step = "late" if world.variant.dead_apart else "read"
        yield _set(state, w, worker._replace(step=step, start=worker.end if step == "read" else worker.start))


def _write_late(world: World, state: State, w: int) -> Iterator[State]:
    worker = state.workers[w]
    later = state._replace(dead=state.dead + _places(world, worker, "b"))
    yield _set(later, w, worker._replace(step="read", start=worker.end))


def _again(world: World, state: State, w: int) -> Iterator[State]:
    state = _open(state)
    yield _set(state, w, state.workers[w]._replace(step="rows", session=state.next_session - 1))


_STEPS = {
    "down": _start,
    "claim": _claim,
    "terminate": _terminate,
    "check": _check,
    "read": _read,
    "rows": _write_rows,
    "dead": _write_dead,
    "empty": _skip,
    "move": _move,
    "commit": _commit,
    "answer": _answer,
    "late": _write_late,
    "again": _again,
}


def _apply(state: State, session: Session) -> State:
    """COMMIT arrives: everything of the session becomes visible at once."""
    assert session.cursor is not None
    fenced = "" if session.epoch == state.epoch else "a fenced worker committed"
    done = _put(state, Session(session.number))
    return done._replace(
        rows=state.rows + session.rows,
        dead=state.dead + session.dead,
        cursor=session.cursor,
        violation=fenced or state.violation,
    )


def _at_rest(world: World, state: State) -> str:
    """What is wrong when nothing moves any more: rows, dead letters and cursor must tile the log."""
    for letter, written in (("r", state.rows), ("b", state.dead)):
        if len(set(written)) < len(written):
            return "doubled"
        expected = {(state.generation, n) for n in range(state.cursor) if world.log[n] == letter}
        if expected != {place for place in written if place[0] == state.generation}:
            return "lost"
    # Halted with a reason that has gone since: retention passed the offset between its claim and its check, while
    # another worker had fenced it and read on. Nothing is lost, a person looks.
    halted = state.workers[state.assigned].step == "halted"
    return "" if halted or state.cursor == len(world.log) else "stands still"


def _places(world: World, worker: Worker, letter: str) -> tuple[Place, ...]:
    return tuple((worker.generation, n) for n in range(worker.start, worker.end) if world.log[n] == letter)


def _lost(world: World, state: State, w: int) -> State:
    state = _drop(state, state.workers[w].session)
    return _set(state, w, Worker() if world.variant.exits_when_lost else Worker("claim"))


def _retry(state: State, w: int) -> State:
    worker = state.workers[w]
    return _set(_drop(state, worker.session), w, Worker("claim", worker.epoch))


def _open(state: State) -> State:
    opened = (*state.sessions, Session(state.next_session))
    return state._replace(sessions=opened, next_session=state.next_session + 1)


def _session(state: State, number: int) -> Session | None:
    return next((session for session in state.sessions if session.number == number), None)


def _locked(state: State, but: int) -> Session | None:
    """The session that holds the cursor's row."""
    return next((s for s in state.sessions if s.cursor is not None and s.number != but), None)


def _drop(state: State, number: int) -> State:
    return state._replace(sessions=tuple(session for session in state.sessions if session.number != number))


def _put(state: State, changed: Session) -> State:
    return state._replace(sessions=tuple(changed if s.number == changed.number else s for s in state.sessions))


def _set(state: State, w: int, worker: Worker) -> State:
    first, second = state.workers
    return state._replace(workers=(worker, second) if w == 0 else (first, worker))
