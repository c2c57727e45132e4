"""A lake in a bucket of S3 or of a server that speaks it. Knows no manifest and no Parquet.

Endpoint, region and credentials are those that boto3 finds: AWS_* of the environment, AWS_ENDPOINT_URL_S3, profiles,
roles. They are looked up once.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
from boto3.s3.transfer import TransferConfig, create_transfer_manager
from botocore.config import Config
from botocore.exceptions import ClientError

from ingestd.errors import Halt
from ingestd.lake.place import IDENTITY, STAGING, Listed
from ingestd.lake.places.faults import faults
from ingestd.lake.places.s3_errors import NO_CONDITIONS, TAKEN, code_of, s3_errors
from ingestd.lake.places.spool import Spool

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_MIB = 1 << 20
_UPLOADED_PART = 32 * _MIB
"""Of 10,000 at most: enough for 320 GB."""
_COPIED_PART = 512 * _MIB
"""The server copies up to 5 GB in one request, but not always within a timeout."""
_CONCURRENT = 4
_CLIENT = Config(
    connect_timeout=5,
    read_timeout=30,
    retries={"mode": "standard", "total_max_attempts": 4},
    tcp_keepalive=True,
    user_agent_extra="ingestd",
)


def open_client(url: str) -> S3Client:
    """A client by the usual AWS settings. Raises: Halt, naming `url`, when they are no use."""
    try:
        with s3_errors(url):
            return boto3.session.Session().client("s3", config=_CLIENT)
    except ValueError as error:
        raise Halt(f"{url}: {error}; mend AWS_ENDPOINT_URL_S3") from error


class S3Place:
    """A prefix of a bucket. A staged file is written to local disk, below TMPDIR, and uploaded when it is sealed."""

    def __init__(
        self,
        url: str,
        client: S3Client | None = None,
        uploaded_part: int = _UPLOADED_PART,
        copied_part: int = _COPIED_PART,
    ):
        """`url`: "s3://bucket/prefix". Files of two parts, in bytes, or more go in parts; 5 MiB is the least.

        Raises: Halt when the AWS settings are no use.
        """
        self._upload, self._copy = (
            TransferConfig(multipart_threshold=2 * part, multipart_chunksize=part, max_concurrency=_CONCURRENT)
            for part in (uploaded_part, copied_part)
        )
        parts = urlsplit(url)
        self._bucket = parts.netloc
        self._prefix = parts.path.strip("/") + "/" if parts.path.strip("/") else ""
        self._spool = Spool()
        self._s3 = client or open_client(self.url)

    @property
    def url(self) -> str:
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    @property
    def lock(self) -> Path | None:
        return None

    def scratch(self, key: str) -> Path:
        self._at(key)
        return self._spool.create(key)

    def seal(self, scratch: Path, key: str) -> None:
        if scratch.exists():
            what = f"{self.url}/{key}: upload"
            # Its own exceptions: upload_file() makes one text of them. Parts that were sent are aborted on an error.
            with s3_errors(what), faults(what), create_transfer_manager(self._s3, self._upload) as transfer:
                transfer.upload(str(scratch), self._bucket, self._at(key)).result()
            scratch.unlink(missing_ok=True)
        elif not self._exists(key):
            raise AssertionError(f"{self.url}/{key}: neither the scratch file nor the staged one is there")

    def publish(self, staged: str, key: str) -> bool:
        source = {"Bucket": self._bucket, "Key": self._at(staged)}
        try:
            # The server copies; the same bytes again when it was done before.
            with s3_errors(f"{self.url}/{key}: copy"), create_transfer_manager(self._s3, self._copy) as transfer:
                transfer.copy(source, self._bucket, self._at(key)).result()
        except FileNotFoundError:
            return self._exists(key)
        self.remove(staged)
        return True

    def remove(self, key: str) -> None:
        try:
            with s3_errors(f"{self.url}/{key}: remove"):
                self._s3.delete_object(Bucket=self._bucket, Key=self._at(key))
        except FileNotFoundError:
            pass

    def list(self, prefix: str = "") -> Iterator[Listed]:
        start = self._at(prefix) + "/" if prefix else self._prefix
        with s3_errors(f"{self.url}: list"):
            for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=start):
                for found in page.get("Contents", []):
                    key = found["Key"].removeprefix(self._prefix)
                    staged = key.startswith(f"{STAGING}/") and not prefix.startswith(STAGING)
                    if key != IDENTITY and not staged and not key.endswith("/"):
                        yield Listed(key, found["Size"], found["LastModified"].astimezone(UTC))

    def read(self, key: str) -> Any:
        import pyarrow as pa

        with s3_errors(f"{self.url}/{key}: read"):
            found = self._s3.head_object(Bucket=self._bucket, Key=self._at(key))
        return pa.PythonFile(_Object(self._s3, self._bucket, self._at(key), found["ContentLength"]), mode="r")

    def identity(self, wanted: str) -> str:
        found = self._identity()
        if found or not wanted or any(True for _ in self.list()):
            return found
        body = json.dumps({"lake_id": wanted}).encode() + b"\n"
        with s3_errors(f"{self.url}/{IDENTITY}: make"):
            try:
                self._s3.put_object(Bucket=self._bucket, Key=self._at(IDENTITY), Body=body, IfNoneMatch="*")
            except ClientError as error:
                if code_of(error) in NO_CONDITIONS:
                    self._s3.put_object(Bucket=self._bucket, Key=self._at(IDENTITY), Body=body)
                elif code_of(error) not in TAKEN:
                    raise
        return self._identity()

    def abort_orphaned_uploads(self, older_than_secs: float) -> int:
        limit, aborted = datetime.now(UTC) - timedelta(seconds=older_than_secs), 0
        with s3_errors(f"{self.url}: abort uploads"):
            pages = self._s3.get_paginator("list_multipart_uploads").paginate(Bucket=self._bucket, Prefix=self._prefix)
            old = [
                (upload["Key"], upload["UploadId"])
                for page in pages
                for upload in page.get("Uploads", [])
                if upload["Initiated"] < limit
            ]
        for key, upload_id in old:
            try:
                with s3_errors(f"s3://{self._bucket}/{key}: abort upload"):
                    self._s3.abort_multipart_upload(Bucket=self._bucket, Key=key, UploadId=upload_id)
                aborted += 1
            except FileNotFoundError:
                pass
        return aborted

    def _identity(self) -> str:
        what = f"{self.url}/{IDENTITY}"
        try:
            with s3_errors(f"{what}: read"):
                body = self._s3.get_object(Bucket=self._bucket, Key=self._at(IDENTITY))["Body"].read()
        except FileNotFoundError:
            return ""
        try:
            found = json.loads(body)["lake_id"]
        except (ValueError, KeyError, TypeError):
            found = None
        if not isinstance(found, str) or not found:
            raise Halt(f"{what}: is not readable as a lake's identity; restore it from a backup")
        return found

    def _exists(self, key: str) -> bool:
        try:
            with s3_errors(f"{self.url}/{key}: look"):
                self._s3.head_object(Bucket=self._bucket, Key=self._at(key))
        except FileNotFoundError:
            return False
        return True

    def _at(self, key: str) -> str:
        if not key or any(part in ("", ".", "..") or "\0" in part for part in key.split("/")):
            raise ValueError(f"{key!r} is no key of a lake")
        return self._prefix + key


class _Object(io.RawIOBase):
    """An object for random access; every read is a request, and Parquet asks for few and large ranges."""

    def __init__(self, client: S3Client, bucket: str, key: str, size: int):
        super().__init__()
        self._client, self._bucket, self._key, self._size = client, bucket, key, size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        end = self._size if size is None or size < 0 else min(self._size, self._position + size)
        if end <= self._position:
            return b""
        asked = f"bytes={self._position}-{end - 1}"
        with s3_errors(f"s3://{self._bucket}/{self._key}: read"):
            found = self._client.get_object(Bucket=self._bucket, Key=self._key, Range=asked)["Body"].read()
        self._position += len(found)
        return found
