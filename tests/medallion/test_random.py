"""Whatever is done to a table, in whatever runs, merged whenever: current equals it, with every event accounted for."""

import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingestd.config import options as cfg
from ingestd.medallion.chain import Chain
from ingestd.medallion.current import Merged
from tests.medallion.conftest import current
from tests.medallion.source import Customers, Runs, bronze

IDS = st.integers(0, 5)
NAMES = st.one_of(st.none(), st.text(max_size=3))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), IDS, NAMES),
        st.tuples(st.just("write"), IDS, NAMES),
        st.tuples(st.just("notes"), IDS, NAMES),
        st.tuples(st.just("delete"), IDS),
        st.tuples(st.just("move"), IDS, IDS),
        st.tuples(st.just("truncate")),
        st.tuples(st.just("snapshot")),
        st.tuples(st.just("run")),
        st.tuples(st.just("merge")),
    ),
    max_size=30,
)


def _do(source: Customers, step: tuple[object, ...]) -> None:
    what, *given = step
    if what == "truncate":
        source.truncate()
    elif what == "snapshot":
        for key, row in list(source.rows.items()):
            source.create(key, op="r", **{name: value for name, value in row.items() if name != "id"})
    else:
        id = given[0]
        assert isinstance(id, int)
        value = given[1] if len(given) > 1 else None
        there = id in source.rows
        if what == "write":
            source.update(id, name=value) if there else source.create(id, name=value, notes=f"of {value}")
        elif what == "notes" and there:
            source.update(id, notes=value)
        elif what == "delete" and there:
            source.delete(id)
        elif what == "move" and there and isinstance(value, int) and value not in source.rows:
            source.change_key(id, value)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS)
def test_current_equals_the_source(steps: list[tuple[object, ...]]) -> None:
    root = Path(tempfile.mkdtemp(prefix="ingestd-medallion-"))
    store = cfg.Store(url=f"sqlite:///{root}/metadata.db", synchronous_commit="off")
    runs, source = Runs(root, store), Customers()
    chain = Chain(store, bronze(root, bucket_bytes=cfg.Bytes(2048)))
    source.create(0, name="first", notes=None)
    written = 0
    try:
        for step in [*steps, ("run",), ("merge",)]:
            if step[0] == "run":
                written += len(events := source.take())
                runs.past(events)
            elif step[0] == "merge":
                list(chain.stage())
                assert all(isinstance(found, Merged) and not found.missing for found in chain.current())
            else:
                _do(source, step)
        assert current(root) == source.rows
        standing = chain.standing()
        assert sum(unit.events for unit in standing.units) == written
        assert all(unit.events == unit.rows + unit.dead + unit.ignored for unit in standing.units)
    finally:
        chain.close()
        shutil.rmtree(root)
