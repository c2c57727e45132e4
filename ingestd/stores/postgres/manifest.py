"""The manifest of a lake in PostgreSQL. Knows no files and no lease."""

import uuid
from collections.abc import Collection, Sequence
from typing import Any

import psycopg

from ingestd.stores.manifest import LakeFile
from ingestd.stores.postgres.ledger import make_tables
from ingestd.stores.statements import load_statements

_SQL = load_statements("lake.sql")
_TABLES = {
    "lakes": (_SQL["create_lakes"],),
    "lake_files": (
        _SQL["create_lake_files"],
        _SQL["index_lake_files_live"],
        _SQL["index_lake_files_unsettled"],
        _SQL["index_lake_files_to_remove"],
    ),
}
_FIELDS = [name for name in LakeFile.__struct_fields__ if name != "id"]


class PostgresManifest:
    """See `ingestd.stores.manifest.Manifest`."""

    def __init__(self, pipeline: str):
        self._pipeline = pipeline

    def prepare(self, connection: psycopg.Connection[Any]) -> None:
        """Create the tables that are missing. Raises: Halt with the statements when this role may not."""
        with connection.cursor() as cursor:
            make_tables(cursor, connection.info.dbname, _TABLES)
            connection.commit()

    def lake_id(self, connection: psycopg.Connection[Any], url: str) -> str:
        """The id of this pipeline's lake, made at the first call; remembers `url`."""
        values = {"pipeline": self._pipeline, "url": url, "lake_id": str(uuid.uuid4())}
        found = connection.execute(_SQL["read_lake"], values).fetchone()
        if found is None or found[1] != url:
            found = connection.execute(_SQL["remember_lake"], values).fetchone()
        connection.commit()
        assert found is not None
        return str(found[0])

    def add(self, cursor: psycopg.Cursor[Any], files: Sequence[LakeFile]) -> None:
        """New files, in one statement."""
        if files:
            values = {name: [getattr(file, name) for file in files] for name in _FIELDS}
            cursor.execute(_SQL["add_files"], {"pipeline": self._pipeline, **values})

    def replace(self, cursor: psycopg.Cursor[Any], removed: Collection[int], by: str = "compaction") -> int:
        """Mark these files REPLACED `by` somebody; how many of them were part of the lake until now."""
        return cursor.execute(_SQL["replace_files"], {**self._ids(removed), "by": by}).rowcount

    def mark_settled(self, connection: psycopg.Connection[Any], ids: Collection[int]) -> None:
        """These files are where readers look. Commits."""
        if ids:
            connection.execute(_SQL["mark_settled"], self._ids(ids))
            connection.commit()

    def unsettled(self, connection: psycopg.Connection[Any], topic: str, partitions: Collection[int]) -> list[LakeFile]:
        """COMMITTED files of these partitions of one topic, oldest first; with no partitions, of the whole lake."""
        chosen = {"topic": topic, "partitions": list(partitions), "all": not partitions}
        return _read(connection, "unsettled", {"pipeline": self._pipeline, **chosen})

    def files(self, connection: psycopg.Connection[Any], older_than_secs: float = 0.0) -> list[LakeFile]:
        """All files that are part of the lake, as of one moment, or those committed so long ago."""
        return _read(connection, "live_files", {"pipeline": self._pipeline, "secs": older_than_secs})

    def _ids(self, ids: Collection[int]) -> dict[str, Any]:
        return {"pipeline": self._pipeline, "ids": list(ids)}


class PostgresReplacedFiles:
    """See `ingestd.stores.manifest.ReplacedFiles`."""

    def __init__(self, pipeline: str):
        self._pipeline = pipeline

    def waiting(self, connection: psycopg.Connection[Any], older_than_secs: float) -> list[LakeFile]:
        """Files replaced so long ago that are not known to be removed."""
        return _read(connection, "files_to_remove", {"pipeline": self._pipeline, "secs": older_than_secs})

    def mark_removed(self, connection: psycopg.Connection[Any], ids: Collection[int]) -> None:
        """These files are gone. Commits."""
        connection.execute(_SQL["mark_removed"], {"pipeline": self._pipeline, "ids": list(ids)})
        connection.commit()


def _read(connection: psycopg.Connection[Any], name: str, values: dict[str, Any]) -> list[LakeFile]:
    query = b"SELECT %s %s" % (_SQL["file_columns"], _SQL[name])
    rows = connection.execute(query, values).fetchall()
    connection.commit()
    return [LakeFile(**dict(zip(LakeFile.__struct_fields__, row, strict=True))) for row in rows]
