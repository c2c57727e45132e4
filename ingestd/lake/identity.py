"""Whether a root is the lake of this ledger. Knows no files and no database."""

from typing import Any

from ingestd.errors import Halt
from ingestd.lake.place import IDENTITY, Place
from ingestd.stores.manifest import Manifest


def check_identity(place: Place, manifest: Manifest, connection: Any) -> None:
    """The root carries the id that the ledger knows; a new and empty root of a lake without files gets it.

    Raises: Halt when the root is another lake's, or empty where files should be (a disk that is not mounted), or
    holds something else; Retryable when it cannot be read now.
    """
    wanted = manifest.lake_id(connection, place.url)
    found = place.identity("")
    if not found:
        files = len(manifest.files(connection))
        if files:
            raise Halt(
                f"{place.url}: {IDENTITY} is missing, but the ledger knows {files} files of this lake; mount or "
                f'restore the root, or put back {IDENTITY} with {{"lake_id": "{wanted}"}} if the files are there'
            )
        found = place.identity(wanted)
    if not found:
        raise Halt(f"{place.url}: is not empty and no lake; give lake.path an empty directory")
    if found != wanted:
        raise Halt(
            f"{place.url}: is lake {found}, but the ledger knows {wanted}; another ledger writes here: give this one "
            "an empty lake.path, or the store that belongs to the lake"
        )
