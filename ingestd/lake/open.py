"""The place of a lake, by its path. Knows no files."""

from ingestd.config import options as cfg
from ingestd.errors import Halt
from ingestd.lake.place import Place


def open_place(lake: cfg.Lake) -> Place:
    """The root that `lake.path` names; nothing is read or made yet.

    Raises: Halt when S3 is not installed, or its settings are no use.
    """
    if lake.path.startswith("s3://"):
        try:
            from ingestd.lake.places.s3 import S3Place
        except ModuleNotFoundError as error:
            raise Halt(f"{lake.path}: {error.name} is not installed; pip install 'ingestd[s3]'") from error
        return S3Place(lake.path)
    from ingestd.lake.places.local import LocalPlace

    return LocalPlace(lake.path)
