"""The manifest of a lake as it is at one moment, for those who only read. Knows no file of a lake."""

from ingestd.config import options as cfg
from ingestd.errors import StartupError
from ingestd.stores.manifest import LakeFile
from ingestd.stores.open import open_manifest, open_reading

_NO_TABLE = ("42P01", "no such table")
"""How PostgreSQL and SQLite say that a table is not there."""


def live_files(options: cfg.Store, pipeline: cfg.Pipeline) -> list[LakeFile]:
    """The files of the pipeline's lake, all of one moment; none when nothing was ever written.

    Changes nothing, makes no table. Raises: StartupError, Retryable or Halt when the store cannot be asked.
    """
    try:
        with open_reading(options) as connection:
            return open_manifest(options, pipeline).files(connection)
    except StartupError as error:
        if any(sign in str(error) for sign in _NO_TABLE):
            return []
        raise
