"""When the object store fails in the middle nothing is lost or half there, and the error says who must do what."""

import http.server
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ingestd.errors import Halt, Retryable
from ingestd.lake.places.s3 import S3Place
from tests.fix_proxy import Proxy
from tests.fix_s3 import QUICK, S3Server

# The first one may build the object store.
pytestmark = pytest.mark.timeout(900)

STAGED = "_staging/p/t-0/x.parquet.staged"
FINAL = "d=a/x.parquet"
PART = 5 << 20
BODY = os.urandom(1 << 20) * 12


def sealed(place: S3Place, text: bytes = b"rows") -> None:
    scratch = place.scratch(STAGED)
    scratch.write_bytes(text)
    place.seal(scratch, STAGED)


def content(place: S3Place, key: str) -> bytes:
    with place.read(key) as file:
        return bytes(file.read())


@pytest.fixture
def proxy(aws: S3Server) -> Iterator[Proxy]:
    found = Proxy("127.0.0.1", aws.port)
    yield found
    found.resume()
    found.stop()


def through(proxy: Proxy, aws: S3Server, url: str, **more: Any) -> S3Place:
    return S3Place(url, aws.client(endpoint_url=f"http://127.0.0.1:{proxy.port}"), **more)


def test_a_large_file_goes_and_is_copied_in_parts(aws: S3Server, s3_url: str) -> None:
    place = S3Place(s3_url, aws.client(), uploaded_part=PART, copied_part=PART)
    sealed(place, BODY)
    assert content(place, STAGED) == BODY
    assert place.publish(STAGED, FINAL)
    assert content(place, FINAL) == BODY
    assert [found.key for found in place.list("_staging")] == []
    assert place.abort_orphaned_uploads(-60) == 0


def test_a_server_that_is_killed_in_the_middle_of_an_upload_leaves_no_file_and_the_rows_go_again(
    aws: S3Server, s3_url: str, proxy: Proxy
) -> None:
    aws.must_be_durable()
    place = through(proxy, aws, s3_url, uploaded_part=PART)
    scratch = place.scratch(STAGED)
    scratch.write_bytes(BODY)
    sent = proxy.cut_after(7 << 20)

    def kill() -> None:
        assert sent.wait(30)
        aws.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        with pytest.raises(Retryable, match="upload: the object store"):
            place.seal(scratch, STAGED)
    finally:
        killer.join()
        aws.start()
    again = S3Place(s3_url, uploaded_part=PART)
    assert list(again.list("_staging")) == []
    assert again.abort_orphaned_uploads(3600) == 0, "a young one may be in progress"
    assert again.abort_orphaned_uploads(-60) == 1
    assert again.abort_orphaned_uploads(-60) == 0
    place.seal(scratch, STAGED)
    assert content(again, STAGED) == BODY
    assert not scratch.exists()


def test_an_upload_that_fails_is_aborted_at_once_when_the_server_lives(
    aws: S3Server, s3_url: str, proxy: Proxy
) -> None:
    once = aws.client(
        endpoint_url=f"http://127.0.0.1:{proxy.port}",
        config=QUICK.merge(type(QUICK)(retries={"total_max_attempts": 1})),
    )
    place = S3Place(s3_url, once, uploaded_part=PART)
    scratch = place.scratch(STAGED)
    scratch.write_bytes(BODY)
    proxy.cut_after(7 << 20)
    with pytest.raises(Retryable):
        place.seal(scratch, STAGED)
    assert place.abort_orphaned_uploads(-60) == 0
    place.seal(scratch, STAGED)


def test_a_store_that_does_not_answer_is_waited_for(aws: S3Server, s3_url: str, proxy: Proxy) -> None:
    place = through(proxy, aws, s3_url)
    sealed(place)
    proxy.stall()
    with pytest.raises(Retryable, match=r"cannot be reached .*the partition waits"):
        place.publish(STAGED, FINAL)
    proxy.resume()
    assert place.publish(STAGED, FINAL)
    proxy.stop()
    with pytest.raises(Retryable, match="cannot be reached"):
        sealed(place)


def test_a_copy_whose_answer_was_lost_is_made_again(aws: S3Server, s3_url: str, proxy: Proxy) -> None:
    place = through(proxy, aws, s3_url)
    sealed(place)
    client, bucket = aws.client(), s3_url.split("/")[2]
    root = s3_url.removeprefix(f"s3://{bucket}/")
    client.copy_object(Bucket=bucket, Key=f"{root}/{FINAL}", CopySource={"Bucket": bucket, "Key": f"{root}/{STAGED}"})
    assert S3Place(s3_url).publish(STAGED, FINAL), "copied, but not deleted"
    assert list(place.list("_staging")) == []
    assert content(place, FINAL) == b"rows"


def test_a_delete_that_fails_leaves_a_file_that_the_next_host_publishes_again(
    aws: S3Server, s3_url: str, proxy: Proxy
) -> None:
    place = through(proxy, aws, s3_url)
    sealed(place)
    fired = proxy.cut_when(lambda sent: sent.startswith(b"DELETE"))
    other = S3Place(s3_url)
    try:
        place.publish(STAGED, FINAL)
    except Retryable:
        assert other.publish(STAGED, FINAL)
    assert fired.is_set()
    assert ([found.key for found in other.list()], list(other.list("_staging"))) == ([FINAL], [])


class Refusing(http.server.BaseHTTPRequestHandler):
    """Answers everything with the server's `answer`: (status, code)."""

    asked = 0

    def answer(self) -> None:
        status, code = self.server.answer  # type: ignore[attr-defined]
        type(self).asked += 1
        body = f"<Error><Code>{code}</Code><Message>said\nso</Message></Error>".encode()
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = answer

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def refusing() -> Iterator[http.server.ThreadingHTTPServer]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(
    ("status", "code", "decision", "said"),
    [
        (503, "SlowDown", Retryable, r"SlowDown \(503\) said so; the partition waits"),
        (500, "InternalError", Retryable, "the partition waits"),
        (429, "TooManyRequests", Retryable, "the partition waits"),
        (507, "XMinioStorageFull", Retryable, "the partition waits"),
        (403, "AccessDenied", Halt, "s3:GetObject"),
        (403, "InvalidAccessKeyId", Halt, "AWS_ACCESS_KEY_ID"),
        (403, "SignatureDoesNotMatch", Halt, "secret key is wrong"),
        (403, "RequestTimeTooSkewed", Halt, "clock"),
        (400, "ExpiredToken", Halt, "session has expired"),
        (404, "NoSuchBucket", Halt, "create the bucket"),
    ],
)
def test_what_the_store_answers_decides_between_waiting_and_halting(
    aws: S3Server, refusing: Any, status: int, code: str, decision: type, said: str
) -> None:
    refusing.answer = status, code
    place = S3Place("s3://bucket", aws.client(endpoint_url=f"http://127.0.0.1:{refusing.server_port}"))
    scratch = place.scratch(STAGED)
    scratch.write_bytes(b"rows")
    with pytest.raises(decision, match=said) as raised:
        place.seal(scratch, STAGED)
    assert type(raised.value) is decision
    assert str(raised.value).startswith(f"s3://bucket/{STAGED}: upload: ") and "\n" not in str(raised.value)
    assert scratch.read_bytes() == b"rows", "it is sent again"


def test_settings_that_are_no_use_halt_and_say_which(
    aws: S3Server, s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Halt, match="create the bucket"):
        S3Place("s3://no-such-bucket-here/x").identity("id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
    with pytest.raises(Halt) as halted:
        S3Place(s3_url).identity("id")
    assert "AWS_ACCESS_KEY_ID" in str(halted.value) and "wrong-secret" not in str(halted.value)
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(Halt, match="no credentials; set AWS_ACCESS_KEY_ID"):
        S3Place(s3_url).identity("id")
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(Halt, match=r"nobody.*AWS settings"):
        S3Place(s3_url)
    monkeypatch.delenv("AWS_PROFILE")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "no url")
    with pytest.raises(Halt, match="AWS_ENDPOINT_URL_S3"):
        S3Place(s3_url)


def test_a_profile_names_credentials_and_endpoint(
    aws: S3Server, s3_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    keys = f"aws_access_key_id = {aws.access}\naws_secret_access_key = {aws.secret}\n"
    (tmp_path / "no-config").write_text(f"[profile lake]\nregion = {aws.region}\nendpoint_url = {aws.endpoint}\n{keys}")
    for name in (
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_ENDPOINT_URL_S3",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
    ):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_PROFILE", "lake")
    assert S3Place(s3_url).identity("id") == "id"
