"""Which files of a lake are merged with which. Knows no disk and no store."""

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase

from msgspec import Struct

from ingestd.config.lake import Compaction
from ingestd.stores.manifest import SETTLED, LakeFile


class Group(Struct, frozen=True):
    """Files of one directory and one topic that become one file."""

    directory: str
    topic: str
    files: tuple[LakeFile, ...]
    """Oldest first; two at least."""

    @property
    def nbytes(self) -> int:
        return sum(file.nbytes for file in self.files)


def plan(files: Iterable[LakeFile], options: Compaction, directories: str = "*") -> list[Group]:
    """The groups of small files, directory by directory, each of about the target's size.

    `files` are the manifest's; those that are not settled have their turn later. `directories`: a shell pattern of
    directories as the lake names them, in which "*" also stands for "/".
    """
    small: dict[tuple[str, str], list[LakeFile]] = {}
    for file in sorted(files, key=lambda one: one.id):
        if (
            file.state == SETTLED
            and file.nbytes < options.target_bytes / 2
            and fnmatchcase(file.directory, directories)
        ):
            small.setdefault((file.directory, file.topic), []).append(file)
    return [
        Group(directory, topic, tuple(group))
        for (directory, topic), found in sorted(small.items())
        if len(found) >= options.min_files
        for group in _groups(found, options.target_bytes)
        if len(group) > 1
    ]


def _groups(files: list[LakeFile], target_bytes: int) -> Iterator[list[LakeFile]]:
    group: list[LakeFile] = []
    for file in files:
        group.append(file)
        if sum(one.nbytes for one in group) >= target_bytes:
            yield group
            group = []
    yield group
