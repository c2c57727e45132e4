"""What a lease does with a lake, and a pipeline that has none. Knows no files."""

from collections.abc import Sequence
from typing import Protocol

from ingestd.batch import Rows
from ingestd.config import options as cfg
from ingestd.stores.store import Claimed


class Source(Protocol):
    """Where a first run begins; see `ingestd.source.kafka.KafkaSource`."""

    def start_offsets(self, partitions: Sequence[int], start: str) -> dict[int, int]: ...


class Lake(Protocol):
    """What a lease does with the lake; `ingestd.worker.lake.LakeGroup` says what each means."""

    def claim(
        self, pipeline: cfg.Pipeline, source: Source, table: Sequence[Claimed], topic_id: str
    ) -> dict[int, Claimed]: ...
    def divide(self, parts: list[Rows]) -> tuple[list[Rows], list[Rows]]: ...
    def add_past(self, parts: Sequence[Rows]) -> None: ...
    def turn(self) -> None: ...
    def stop(self) -> None: ...
    def close(self) -> None: ...


class NoLake:
    """Of a pipeline without a lake."""

    def claim(
        self, pipeline: cfg.Pipeline, source: Source, table: Sequence[Claimed], topic_id: str
    ) -> dict[int, Claimed]:
        """There is no cursor."""
        return {}

    def divide(self, parts: list[Rows]) -> tuple[list[Rows], list[Rows]]:
        """Nothing is of the past."""
        return [], parts

    def add_past(self, parts: Sequence[Rows]) -> None:
        """There is none."""

    def turn(self) -> None:
        """Nothing is open."""

    def stop(self) -> None:
        """Nothing is open."""

    def close(self) -> None:
        """Nothing is open."""
