"""Where a lake's files are: what a directory and an object store both offer. Knows no manifest and no Parquet.

Keys are relative to the root, with "/" between their parts, on every system.
"""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct

STAGING = "_staging"
"""Below the root: what is no part of the lake yet. Hive readers pass over names that begin with "_"."""


IDENTITY = "_ingestd.json"
"""At the root: {"lake_id": uuid}, which the ledger knows as well."""


class Listed(Struct, frozen=True):
    """A file that is there."""

    key: str
    nbytes: int
    modified: datetime


class Place(Protocol):
    """The root of one lake. Every method may raise Retryable (environment) or Halt (no permission, no such bucket)."""

    @property
    def url(self) -> str:
        """The root as the configuration names it; holds no secret."""
        ...

    @property
    def lock(self) -> Path | None:
        """The file whose flock settling shares and an exchange of directories holds alone (`places.turns`).

        None where no directory is ever exchanged: an object store.
        """
        ...

    def scratch(self, key: str) -> Path:
        """A local path to write the staged file `key` at; made exclusively, its directories too.

        Of a directory it is the staged file itself; an object store uploads it when it is sealed.
        Raises: FileExistsError when there is one of that name, a defect of whoever named it.
        """
        ...

    def seal(self, scratch: Path, key: str) -> None:
        """Make the finished file durable as the staged file `key`: fsync (and rename), or upload. Idempotent."""
        ...

    def publish(self, staged: str, key: str) -> bool:
        """Move a sealed file to where readers look. True when it is there, also when it was before; idempotent.

        False when neither is there: somebody removed it, or compaction has replaced it meanwhile (ask the manifest).
        """
        ...

    def remove(self, key: str) -> None:
        """Nothing of that name is there any more, nor what only it needed; no error when nothing was."""
        ...

    def list(self, prefix: str = "") -> Iterator[Listed]:
        """Every file below the directory `prefix`, in no order; staged ones only when `prefix` is among the staged.

        Neither `_ingestd.json` nor the lock is among them.
        """
        ...

    def read(self, key: str) -> Any:
        """The file for random access, as `pyarrow.parquet` takes it (a `pyarrow.NativeFile`).

        Raises: FileNotFoundError.
        """
        ...

    def identity(self, wanted: str) -> str:
        """The id in the root's `_ingestd.json`; "" when there is none.

        When `wanted` is not "" and the root is new and empty, the file is made with it; when two do so at once, both
        get the id of the one that came first.
        """
        ...

    def abort_orphaned_uploads(self, older_than_secs: float) -> int:
        """End uploads in parts that nobody has finished for so long, which cost money; how many there were.

        Take a day: an upload in progress must not be among them. Of a directory there are none.
        """
        ...
