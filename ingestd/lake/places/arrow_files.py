"""The files of an object store as Arrow's data sets open them. Knows no query."""

from __future__ import annotations

from typing import Any

import pyarrow.fs as pafs

from ingestd.lake.reading.readable import Readable


class KeyFiles(pafs.FileSystemHandler):  # type: ignore[misc]
    """A file system of exactly the keys of one moment; nothing is listed, nothing can be written."""

    def __init__(self, source: Readable):
        self._place = source.place
        self._sizes = {key: file.nbytes for key, file in zip(source.keys, source.files, strict=True)}

    def file_system(self) -> pafs.PyFileSystem:
        """What a data set takes."""
        return pafs.PyFileSystem(self)

    def get_type_name(self) -> str:
        return "ingestd-lake"

    def normalize_path(self, path: str) -> str:
        return path

    def get_file_info(self, paths: list[str]) -> list[pafs.FileInfo]:
        return [self._info(path) for path in paths]

    def open_input_file(self, path: str) -> Any:
        if path not in self._sizes:
            raise FileNotFoundError(path)
        return self._place.read(path)

    open_input_stream = open_input_file

    def _info(self, path: str) -> pafs.FileInfo:
        if path in self._sizes:
            return pafs.FileInfo(path, pafs.FileType.File, size=self._sizes[path])
        return pafs.FileInfo(path, pafs.FileType.NotFound)

    def _refuse(self, *_: Any) -> Any:
        raise PermissionError("a lake can be read only")

    get_file_info_selector = create_dir = delete_dir = delete_dir_contents = delete_root_dir_contents = _refuse
    delete_file = move = copy_file = open_output_stream = open_append_stream = _refuse
