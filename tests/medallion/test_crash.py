"""kill -9 at any step of stage and current: readers see the old rows or the new, and the next start finishes."""

import subprocess
import sys
from pathlib import Path

from ingestd.config import options as cfg
from tests.medallion.source import Customers, Runs


def test_killed_at_every_step_of_stage_and_current(tmp_path: Path) -> None:
    template, scratch = tmp_path / "template", tmp_path / "scratch"
    template.mkdir()
    scratch.mkdir()
    runs = Runs(template, cfg.Store(url=f"sqlite:///{template}/metadata.db"))
    source = Customers()
    for number in range(12):
        source.create(number, name=f"{number:040x}", notes="n")
    runs.past(source.take())
    made = "from pathlib import Path; from tests.medallion.crashing import make; make(Path({!r}))"
    subprocess.run([sys.executable, "-c", made.format(str(template))], check=True, timeout=60)
    source.update(3, name="three")
    source.delete(4)
    source.raw('{"id": 5}', "no json")
    runs.past(source.take())
    done = subprocess.run(
        [sys.executable, "-m", "tests.medallion.crashing", str(template), str(scratch)],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout) > 25
