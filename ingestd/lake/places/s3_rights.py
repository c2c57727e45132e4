"""Whether these credentials may do in a bucket what a lake needs. Knows no manifest and no files."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError

from ingestd.lake.place import STAGING
from ingestd.lake.places.s3 import open_client
from ingestd.lake.places.s3_errors import s3_errors

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def prove_rights(url: str) -> None:
    """List, and begin an upload in parts that is aborted at once, so that nothing is left; `url` as in `lake.path`.

    The right to delete is proved only where a bucket keeps no versions: elsewhere it would leave a marker behind.
    Raises: Halt when something may not be done; Retryable when the object store does not answer.
    """
    client = open_client(url)
    parts = urlsplit(url)
    bucket, key = parts.netloc, f"{parts.path.strip('/')}/{STAGING}/check".lstrip("/")
    with s3_errors(f"{url}: list"):
        client.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1)
    with s3_errors(f"{url}: list uploads"):
        client.list_multipart_uploads(Bucket=bucket, Prefix=key, MaxUploads=1)
    with s3_errors(f"{url}: write"):
        made = client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
    with s3_errors(f"{url}: abort an upload"):
        client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=made)
    if not _may_keep_versions(client, bucket):
        with s3_errors(f"{url}: delete"):
            client.delete_object(Bucket=bucket, Key=key)


def _may_keep_versions(client: S3Client, bucket: str) -> bool:
    """True also where these credentials may not ask; a server that knows no versions keeps none."""
    try:
        return "Status" in client.get_bucket_versioning(Bucket=bucket)
    except ClientError as error:
        return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 403
    except BotoCoreError:
        return True
