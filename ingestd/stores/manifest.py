"""The manifest of a lake, in the store: which files there are, and whose records they hold. Knows no database.

`ingestd.stores.postgres.manifest` and `ingestd.stores.sqlite.manifest` are the manifests.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Protocol

from msgspec import Struct

LAKE_GROUP = "lake"
"""The sink group of a pipeline's lake: its cursor moves with the manifest."""

COMMITTED = "committed"
"""The file is part of the lake, but it may still be among the staged ones."""
SETTLED = "settled"
REPLACED = "replaced"
"""Its rows are in other files, or it was removed by age; kept for the account, no part of the lake."""


class LakeFile(Struct, frozen=True, kw_only=True):
    """One file of the manifest."""

    id: int = 0
    """Given by the store; ascending with the commits of one topic's partition."""
    topic: str
    partition: int | None
    """None for a file that compaction made of several."""
    start: int
    end: int
    """The tile whose commit brought the file; it holds the tile's rows of one directory, or a part of them. Of a
    compacted file the smallest start and the largest end, of nothing else than for looking at."""
    directory: str
    """Relative to the root: "category=x/year=2026", "" without partitions. Percent-encoded as on the disk."""
    name: str
    """The file's name in its directory; its key is `directory`/`name`."""
    staged: str
    """Key of the staged file that settles to it."""
    rows: int
    nbytes: int
    footer: str
    """SHA-256 of the Parquet footer, hexadecimal: tells a file from another of the same name and size."""
    state: str = COMMITTED
    made_by: str = "roll"
    """"roll", "redrive", "compaction"."""
    committed_at: datetime | None = None
    """In UTC. None for a new file: now. Compaction gives the newest of the files it merges, by which retention goes."""

    @property
    def key(self) -> str:
        return f"{self.directory}/{self.name}" if self.directory else self.name


class Manifest(Protocol):
    """The files of one pipeline's lake, over all its topics.

    `cursor` is an open transaction's; `connection` is as the store opens it, and the method commits. Raises what the
    driver raises: call it within `Store.deciding`.
    """

    def prepare(self, connection: Any) -> None:
        """Create the tables that are missing. Raises: Halt with the statements when this role may not."""
        ...

    def lake_id(self, connection: Any, url: str) -> str:
        """The id of this pipeline's lake, made at the first call; remembers `url`.

        Whoever finds another id in the root must halt.
        """
        ...

    def add(self, cursor: Any, files: Sequence[LakeFile]) -> None:
        """New files, in the transaction that moves the lake's cursor (or that redrives, or that compacts)."""
        ...

    def replace(self, cursor: Any, removed: Collection[int], by: str = "compaction") -> int:
        """Mark these files REPLACED; how many of them were part of the lake until now.

        `by` is kept for the account: the compaction that has their rows now, or "retention".
        """
        ...

    def mark_settled(self, connection: Any, ids: Collection[int]) -> None:
        """These files are where readers look; those replaced meanwhile stay so."""
        ...

    def unsettled(self, connection: Any, topic: str, partitions: Collection[int]) -> list[LakeFile]:
        """COMMITTED files of these partitions of one topic, oldest first; with no partitions, of the whole lake."""
        ...

    def files(self, connection: Any, older_than_secs: float = 0.0) -> list[LakeFile]:
        """All files that are part of the lake, COMMITTED and SETTLED, as of one moment; or those of such an age."""
        ...


class ReplacedFiles(Protocol):
    """Files of one pipeline's lake that are no part of it any more, until they are removed from where they are."""

    def waiting(self, connection: Any, older_than_secs: float) -> list[LakeFile]:
        """Those replaced so long ago that are not known to be removed, oldest first."""
        ...

    def mark_removed(self, connection: Any, ids: Collection[int]) -> None:
        """These are gone."""
        ...
