"""`python -m tests.medallion.crashing TEMPLATE SCRATCH`: kill -9 at every step of stage and current, then go on.

A process of its own that starts no thread, so that it may fork: one child dies, the next one finishes and checks.
Prints the number of steps; raises for the first one after which something is wrong.
"""

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ingestd.config import options as cfg
from ingestd.medallion import current, stage
from ingestd.medallion.chain import Chain
from ingestd.stores.sqlite.medallion import SqliteMedallion
from ingestd.stores.sqlite.store import SqliteStore
from tests.medallion.conftest import contents
from tests.medallion.conftest import current as rows_of
from tests.medallion.source import bronze


def make(root: Path) -> None:
    """Stage and current, as the commands do it."""
    chain = Chain(cfg.Store(url=f"sqlite:///{root}/metadata.db"), bronze(root, bucket_bytes=cfg.Bytes(512)))
    list(chain.stage())
    list(chain.current())
    chain.close()


def die_at(step: int) -> None:
    """From now on the process dies at this step: before something that changes a name or the ledger, and so after the
    thing before."""
    taken = [0]

    def count() -> None:
        taken[0] += 1
        if taken[0] == step:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(owner: Any, name: str) -> None:
        was: Callable[..., Any] = getattr(owner, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            count()
            return was(*args, **kwargs)

        setattr(owner, name, counted)

    for name in ("rename", "link", "mkdir", "unlink", "rmdir"):
        around(os, name)
    for name in ("write", "commit"):
        around(SqliteMedallion, name)
    around(SqliteStore, "_require_in_place")  # right before COMMIT
    around(current, "exchange")
    around(current, "make_durable")
    around(stage, "make_durable")


def fork(body: Callable[[], None]) -> int:
    """How the child that ran it ended."""
    if (pid := os.fork()) == 0:
        code = 1
        try:
            body()
            code = 0
        finally:
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def check(root: Path, old: Any, new: Any) -> None:
    """Readers see the old rows or the new ones; finished, all is as if nothing had happened."""
    seen = rows_of(root)
    assert seen in (old, new), f"readers saw {seen}"
    make(root)
    assert rows_of(root) == new
    before = contents(root / "stage", root / "current")
    make(root)
    assert contents(root / "stage", root / "current") == before
    staged = sorted(str(path.relative_to(root)) for path in (root / "stage").rglob("*.parquet"))
    assert len(staged) == int((root / "expected").read_text()), staged


def main(template: Path, scratch: Path) -> int:
    """Steps until nothing is left to die in."""
    finished = scratch / "finished"
    shutil.copytree(template, finished)
    assert fork(lambda: make(finished)) == 0

    def note() -> None:
        files = len(list((finished / "stage").rglob("*.parquet")))
        (template / "expected").write_text(str(files))
        (template / "old.txt").write_text(repr(rows_of(template)))
        (template / "new.txt").write_text(repr(rows_of(finished)))

    assert fork(note) == 0
    old, new = (eval((template / name).read_text()) for name in ("old.txt", "new.txt"))
    assert old != new
    for step in range(1, 100_000):
        root = scratch / f"step-{step}"
        shutil.copytree(template, root)

        def run(step: int = step, root: Path = root) -> None:
            die_at(step)
            make(root)

        died = fork(run)
        assert died in (0, -signal.SIGKILL), f"step {step}: exit {died}"
        assert fork(lambda root=root: check(root, old, new)) == 0, f"after step {step}"  # type: ignore[misc]
        shutil.rmtree(root)
        if died == 0:
            return step - 1
    raise AssertionError("no end")


if __name__ == "__main__":
    print(main(Path(sys.argv[1]), Path(sys.argv[2])))
