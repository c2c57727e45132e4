"""Files of a lake against its manifest: gone, cut off, changed, doubled, or somebody else's. Knows no database."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Struct

from ingestd.errors import Retryable
from ingestd.lake.merging.turnover import is_sign
from ingestd.lake.place import Place
from ingestd.lake.places.together import together
from ingestd.lake.writing.footer import Footer, NoFooter, read_footer
from ingestd.stores.manifest import COMMITTED, LakeFile

_BATCH_ROWS = 1 << 16
_MOST_NAMED = 100


class _Found(Struct):
    """What is wrong, and what is worth knowing."""

    problems: list[str]
    notes: list[str]


def examine_files(
    place: Place, live: Sequence[LakeFile], gone: Sequence[LakeFile], waiting: set[int], deep: bool
) -> tuple[list[str], list[str]]:
    """(problems, notes) of the files of a manifest and of every *.parquet file that is there.

    `live` are part of the lake; `gone` were replaced, those in `waiting` perhaps still there. `deep`: read every row.
    Raises: Retryable or Halt when the place cannot be read.
    """
    there = {found.key: found.nbytes for found in place.list() if found.key.endswith(".parquet")}
    found = _Found([], [])
    found.problems += filter(None, together(partial(_damage, place, there, deep), live))
    unsettled = [file for file in live if file.state == COMMITTED]
    if unsettled:
        what = "its next claim, or the next compaction, shows them"
        found.notes.append(f"{len(unsettled)} files are committed and not yet where readers look; {what}")
    _strangers(place, there, live, gone, waiting, found)
    return found.problems, found.notes


def _damage(place: Place, there: Mapping[str, int], deep: bool, file: LakeFile) -> str | None:
    """What is wrong with one file of the lake; None when it is as it was committed."""
    keys = [file.staged, file.key] if file.state == COMMITTED else [file.key]
    for key in keys:
        if key == file.key and key not in there:
            continue
        try:
            with closing(place.read(key)) as opened:
                problem = _compare(opened, file, deep)
        except FileNotFoundError:
            continue
        return None if problem is None else f"{key}: {problem}"
    return f"{file.key}: is gone, with {file.rows} rows"


def _compare(opened: Any, file: LakeFile, deep: bool) -> str | None:
    size = opened.size()
    if size != file.nbytes:
        return f"has {size} bytes, not the {file.nbytes} that were committed: it was cut off or changed"
    try:
        footer = read_footer(opened)
    except NoFooter as error:
        return f"was changed: {error}"
    if footer.sha256 != file.footer:
        return "was changed: its footer is not the one that was committed"
    if footer.rows != file.rows:
        return f"has {footer.rows} rows, not {file.rows}"
    return _read_all(opened, file) if deep else None


def _read_all(opened: Any, file: LakeFile) -> str | None:
    rows = 0
    try:
        parquet = pq.ParquetFile(opened, pre_buffer=False, page_checksum_verification=True)
        for batch in parquet.iter_batches(_BATCH_ROWS):
            rows += batch.num_rows
            batch.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        return f"was changed: it cannot be read beyond row {rows}: {str(error).splitlines()[0]}"
    return None if rows == file.rows else f"holds {rows} rows, not {file.rows}"


def _strangers(
    place: Place,
    there: Mapping[str, int],
    live: Sequence[LakeFile],
    gone: Sequence[LakeFile],
    waiting: set[int],
    found: _Found,
) -> None:
    """Files that are no part of the lake, which a plain glob reads all the same."""
    known = {file.key for file in live}
    replaced = {file.key: file for file in gone}
    by_footer = {file.footer: file for file in live}
    strangers = sorted(there.keys() - known)
    late = [key for key in strangers if key in replaced and replaced[key].id in waiting]
    if late:
        found.notes.append(f"{len(late)} files were replaced or are too old, and wait to be removed")
    for key in [key for key in strangers if key not in late][:_MOST_NAMED]:
        if is_sign(PurePosixPath(key).name):
            found.notes.append(f"{key}: marks a compaction that was interrupted; `ingestd lake compact` ends it")
        elif key in replaced:
            rows = replaced[key].rows
            found.problems.append(f"{key}: was replaced or too old, and is there again: {rows} rows too many")
        else:
            found.problems.append(f"{key}: {_stranger(place, key, by_footer)}")


def _stranger(place: Place, key: str, by_footer: Mapping[str, LakeFile]) -> str:
    footer = _footer(place, key)
    if footer is None:
        return "is no part of the lake, and no Parquet file either; move it away"
    copied = by_footer.get(footer.sha256)
    if copied is not None:
        return f"is a copy of {copied.key}: its {footer.rows} rows are there twice for whoever globs; remove it"
    return f"is no part of the lake: {footer.rows} rows too many for whoever globs; move it away"


def _footer(place: Place, key: str) -> Footer | None:
    try:
        with closing(place.read(key)) as opened:
            return read_footer(opened)
    except (NoFooter, FileNotFoundError, Retryable):
        return None
