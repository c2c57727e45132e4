"""The manifest of a lake in an SQLite file. Knows no files of the lake and no lease."""

import json
import sqlite3
import uuid
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any

from msgspec import structs

from ingestd.config.store_url import sqlite_lock_path
from ingestd.stores.manifest import LakeFile
from ingestd.stores.sqlite.file import begin
from ingestd.stores.sqlite.turns import Turns
from ingestd.stores.statements import load_statements

_SQL = {name: text.decode() for name, text in load_statements("lake.sql").items()}
_TABLES = (
    "sqlite_create_lakes",
    "sqlite_create_lake_files",
    "sqlite_index_lake_files_live",
    "sqlite_index_lake_files_unsettled",
    "sqlite_index_lake_files_to_remove",
)


class SqliteManifest:
    """See `ingestd.stores.manifest.Manifest`."""

    def __init__(self, pipeline: str):
        self._pipeline = pipeline
        self._turns: Turns | None = None

    def prepare(self, connection: sqlite3.Connection) -> None:
        """Create the tables that are missing."""
        if connection.execute("PRAGMA table_info(ingestd_lake_files)").fetchone():
            return
        begin(connection)
        for name in _TABLES:
            connection.execute(_SQL[name])
        connection.execute("COMMIT")

    def lake_id(self, connection: sqlite3.Connection, url: str) -> str:
        """The id of this pipeline's lake, made at the first call; remembers `url`."""
        values = {"pipeline": self._pipeline, "url": url, "lake_id": str(uuid.uuid4())}
        found = connection.execute(_SQL["sqlite_read_lake"], values).fetchone()
        if found is None or found[1] != url:
            found = begin(connection).execute(_SQL["sqlite_remember_lake"], values).fetchone()
            connection.execute("COMMIT")
        return str(found[0])

    def add(self, cursor: sqlite3.Cursor, files: Sequence[LakeFile]) -> None:
        """New files."""
        for file in files:
            values = structs.asdict(file) | {"committed_at": file.committed_at and _written(file.committed_at)}
            cursor.execute(_SQL["sqlite_add_file"], {"pipeline": self._pipeline, **values})

    def replace(self, cursor: sqlite3.Cursor, removed: Collection[int], by: str = "compaction") -> int:
        """Mark these files REPLACED `by` somebody; how many of them were part of the lake until now."""
        return cursor.execute(_SQL["sqlite_replace_files"], {**self._ids(removed), "by": by}).rowcount

    def mark_settled(self, connection: sqlite3.Connection, ids: Collection[int]) -> None:
        """These files are where readers look. Commits, when it is this worker's turn to write."""
        if not ids:
            return
        if self._turns is None:
            paths = {name: path for _, name, path in connection.execute("PRAGMA database_list")}
            self._turns = Turns(sqlite_lock_path(paths["main"]))
        with self._turns.turn():
            begin(connection).execute(_SQL["sqlite_mark_settled"], self._ids(ids))
            connection.execute("COMMIT")

    def unsettled(self, connection: sqlite3.Connection, topic: str, partitions: Collection[int]) -> list[LakeFile]:
        """COMMITTED files of these partitions of one topic, oldest first; with no partitions, of the whole lake."""
        chosen = {"topic": topic, "partitions": json.dumps(list(partitions)), "all": not partitions}
        return _read(connection, "sqlite_unsettled", {"pipeline": self._pipeline, **chosen})

    def files(self, connection: sqlite3.Connection, older_than_secs: float = 0.0) -> list[LakeFile]:
        """All files that are part of the lake, as of one moment, or those committed so long ago."""
        values = {"pipeline": self._pipeline, "ago": f"-{older_than_secs} seconds"}
        return _read(connection, "sqlite_live_files", values)

    def _ids(self, ids: Collection[int]) -> dict[str, Any]:
        return {"pipeline": self._pipeline, "ids": json.dumps(list(ids))}


class SqliteReplacedFiles:
    """See `ingestd.stores.manifest.ReplacedFiles`."""

    def __init__(self, pipeline: str):
        self._pipeline = pipeline

    def waiting(self, connection: sqlite3.Connection, older_than_secs: float) -> list[LakeFile]:
        """Files replaced so long ago that are not known to be removed."""
        values = {"pipeline": self._pipeline, "ago": f"-{older_than_secs} seconds"}
        return _read(connection, "sqlite_files_to_remove", values)

    def mark_removed(self, connection: sqlite3.Connection, ids: Collection[int]) -> None:
        """These files are gone. Commits."""
        begin(connection).execute(
            _SQL["sqlite_mark_removed"], {"pipeline": self._pipeline, "ids": json.dumps(list(ids))}
        )
        connection.execute("COMMIT")


def _read(connection: sqlite3.Connection, name: str, values: dict[str, Any]) -> list[LakeFile]:
    rows = connection.execute(f"SELECT {_SQL['file_columns']} {_SQL[name]}", values).fetchall()
    files = [dict(zip(LakeFile.__struct_fields__, row, strict=True)) for row in rows]
    return [LakeFile(**file | {"committed_at": datetime.fromisoformat(file["committed_at"])}) for file in files]


def _written(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
