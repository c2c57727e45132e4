"""The lake of a worker's pipeline, or none: loads what writes Parquet only where there is one. Knows no files."""

from typing import Any

from ingestd.config import options as cfg
from ingestd.worker.lanes import WorkerBoard
from ingestd.worker.no_lake import Lake, NoLake


def open_lake(config: cfg.Config, pipeline: cfg.Pipeline, lanes: WorkerBoard, log: Any) -> tuple[Lake, Any]:
    """The lake, and the same as `worker.writer.Follower` of the table; None where nobody follows."""
    if pipeline.lake is None:
        return NoLake(), None
    from ingestd.worker.lake import LakeGroup

    lake = LakeGroup(config, pipeline, lanes, log)
    return lake, lake
