"""What a run has read and written so far, out of the board. Knows no store."""

from collections.abc import Sequence

from ingestd.board import Board, Lane
from ingestd.config.pipeline import Pipeline

_COUNTS = {
    "records": Lane.RECORDS,
    "bytes": Lane.BYTES,
    "dead": Lane.DEAD,
    "lake_files": Lane.LAKE_FILES,
    "lake_rows": Lane.LAKE_ROWS,
}


def run_counts(pipelines: Sequence[Pipeline], board: Board) -> dict[str, dict[str, int]]:
    """By pipeline, over all partitions that this host has carried in this run."""
    counts = {pipeline.name: dict.fromkeys(_COUNTS, 0) for pipeline in pipelines}
    for lane in board.taken_lanes():
        cells = board.lane(lane)
        of_pipeline = counts[pipelines[cells[Lane.PIPELINE]].name]
        for name, cell in _COUNTS.items():
            of_pipeline[name] += cells[cell]
    return counts
