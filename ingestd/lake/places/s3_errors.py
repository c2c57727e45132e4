"""What an error of S3 means for a partition: wait, or ask a person. Knows no keys and no files."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from botocore import exceptions as boto
from botocore.exceptions import ClientError

from ingestd.errors import Halt, IngestdError, Retryable

NOT_FOUND = frozenset({"404", "NoSuchKey", "NotFound"})
TAKEN = frozenset({"412", "PreconditionFailed", "409", "ConditionalRequestConflict"})
"""Answers to a conditional PUT when there is an object, or somebody else just makes one."""
NO_CONDITIONS = frozenset({"501", "NotImplemented", "InvalidArgument", "InvalidRequest"})
"""Answers to a conditional PUT of servers that know none."""

_CREDENTIALS = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or a role for this host"
_FOR_A_PERSON = {
    "NoSuchBucket": "create the bucket, or mend lake.path and AWS_ENDPOINT_URL_S3",
    "InvalidBucketName": "mend the bucket's name in lake.path",
    "PermanentRedirect": "the bucket is in another region; set AWS_REGION",
    "AuthorizationHeaderMalformed": "the bucket is in another region; set AWS_REGION",
    "IllegalLocationConstraintException": "the bucket is in another region; set AWS_REGION",
    "InvalidAccessKeyId": f"the access key is not known; {_CREDENTIALS}",
    "SignatureDoesNotMatch": f"the secret key is wrong; {_CREDENTIALS}",
    "ExpiredToken": f"the session has expired; {_CREDENTIALS}",
    "InvalidToken": f"the session token is not valid; {_CREDENTIALS}",
    "RequestTimeTooSkewed": "this host's clock is wrong; set it",
    "KeyTooLongError": "take a shorter prefix or fewer partitions",
}
_MAY_NOT = "these credentials may not; allow s3:GetObject, PutObject, DeleteObject, AbortMultipartUpload and ListBucket"


@contextlib.contextmanager
def s3_errors(what: str) -> Iterator[None]:
    """Raises: FileNotFoundError for an object that is not there; Retryable or Halt for all else that S3 refuses."""
    try:
        yield
    except ClientError as error:
        if code_of(error) in NOT_FOUND:
            raise FileNotFoundError(what) from error
        raise _answered(error, what) from error
    except boto.BotoCoreError as error:
        raise _unanswered(error, what) from error


def code_of(error: ClientError) -> str:
    """The server's word for it; the status of answers without a body."""
    return str(error.response.get("Error", {}).get("Code", ""))


def _answered(error: ClientError, what: str) -> IngestdError:
    code, response = code_of(error), _Response(error.response)
    if code in _FOR_A_PERSON:
        return Halt(f"{what}: {code}: {_FOR_A_PERSON[code]}")
    if response.status in (401, 403):
        return Halt(f"{what}: {code}: {_MAY_NOT}")
    if response.status == 301:
        return Halt(f"{what}: {code}: {_FOR_A_PERSON['PermanentRedirect']}")
    said = f"{code} ({response.status})" if str(response.status) != code else code
    return Retryable(f"{what}: the object store answers {said} {response.message}".rstrip() + "; the partition waits")


class _Response:
    def __init__(self, response: Any):
        self.status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        self.message = " ".join(str(response.get("Error", {}).get("Message", "")).split())[:200]


_NO_CREDENTIALS = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.UnauthorizedSSOTokenError,
    boto.TokenRetrievalError,
    boto.SSOTokenLoadError,
)
_WRONG_SETTINGS = (
    boto.ProfileNotFound,
    boto.ConfigNotFound,
    boto.ConfigParseError,
    boto.InvalidConfigError,
    boto.NoRegionError,
    boto.InvalidRegionError,
    boto.InvalidProxiesConfigError,
    boto.ParamValidationError,
)


def _unanswered(error: Exception, what: str) -> IngestdError:
    said = " ".join(str(error).split())
    if isinstance(error, _NO_CREDENTIALS):
        return Halt(f"{what}: no credentials; {_CREDENTIALS}")
    if isinstance(error, _WRONG_SETTINGS):
        return Halt(f"{what}: {said}; mend the AWS settings of this host")
    if isinstance(error, boto.SSLError) and "CERTIFICATE_VERIFY_FAILED" in said:
        return Halt(f"{what}: the object store's certificate is not trusted; set AWS_CA_BUNDLE")
    return Retryable(f"{what}: the object store cannot be reached ({said}); the partition waits")
