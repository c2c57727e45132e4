"""Shows the first download on the terminal. Knows nothing of where the bytes come from."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from ingestd.embedded.jars import Download


@contextmanager
def shown_on(console: Console) -> Iterator[Callable[[Download], None]]:
    """What to pass as `progress`: a bar on a terminal, a line for each quarter elsewhere, nothing with a warm cache."""
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn(), console=console
    )
    tasks: dict[str, TaskID] = {}
    quarters: set[tuple[str, int]] = set()

    def draw(download: Download) -> None:
        if not tasks:
            bar.start()
        if download.what not in tasks:
            tasks[download.what] = bar.add_task(download.what, total=download.total_bytes)
        bar.update(tasks[download.what], completed=download.done_bytes)

    def write(download: Download) -> None:
        quarter = download.what, 4 * download.done_bytes // download.total_bytes
        if quarter not in quarters:
            quarters.add(quarter)
            console.print(str(download), highlight=False)

    try:
        yield draw if console.is_terminal else write
    finally:
        if tasks:
            bar.stop()
