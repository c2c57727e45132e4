"""`ingestd check` says in one line whether files may be made where a lake is, and leaves nothing there."""

import http.client
import http.server
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ingestd.config import options as cfg
from ingestd.lake.open import open_place
from ingestd.preflight.findings import Finding, State
from ingestd.preflight.lake import examine_lakes
from tests.fix_s3 import S3Server
from tests.lake.small import lake_pipeline

# The first one may build the object store.
pytestmark = pytest.mark.timeout(900)


def _check(path: Path | str) -> Finding:
    kafka = cfg.Kafka(bootstrap_servers="x", group_id="g")
    config = cfg.Config(kafka=kafka, store=cfg.Store(url="sqlite:///x.db"), pipeline=(lake_pipeline(path),))
    (found,) = examine_lakes(config)
    assert "\n" not in found.message
    return found


def _everything(aws: S3Server, bucket: str) -> tuple[Any, ...]:
    client = aws.client()
    objects = client.list_objects_v2(Bucket=bucket)
    uploads = client.list_multipart_uploads(Bucket=bucket)
    return tuple(found.get(kind) for found in (objects, uploads) for kind in ("Contents", "Uploads"))


@pytest.mark.parametrize("kind", ["directory", "bucket"])
def test_place_is_said_to_be_empty_then_a_lake_then_somebody_elses(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    path = str(tmp_path / "root") if kind == "directory" else str(request.getfixturevalue("s3_url"))
    found = _check(path)
    assert (found.state, found.message) == (State.OK, f"{path} is empty, and files may be made there")
    lake = lake_pipeline(path).lake
    assert lake is not None
    place = open_place(lake)
    assert list(place.list()) == list(place.list("_staging")) == []
    place.identity("some-id")
    found = _check(path)
    assert (found.state, found.message) == (State.OK, f"{path} is lake some-id, and files may be made there")
    scratch = place.scratch("_staging/p/x.staged")
    scratch.write_bytes(b"x")
    place.seal(scratch, "_staging/p/x.staged")
    place.publish("_staging/p/x.staged", "x.parquet")
    place.remove("_ingestd.json")
    found = _check(path)
    assert found.state == State.FAIL and "not empty and no lake" in found.message


def test_nothing_is_left_in_a_bucket(aws: S3Server, s3_url: str) -> None:
    before = _everything(aws, bucket := s3_url.split("/")[2])
    assert _check(s3_url).state == State.OK
    assert _everything(aws, bucket) == before == (None,) * 4


class _Gate(http.server.BaseHTTPRequestHandler):
    """Passes everything on but requests of the server's `refused` method, which these credentials may not make."""

    def answer(self) -> None:
        behind: S3Server = self.server.behind  # type: ignore[attr-defined]
        status, body = 403, b"<Error><Code>AccessDenied</Code></Error>"
        self.server.asked.append(f"{self.command} {self.path}")  # type: ignore[attr-defined]
        if self.path.endswith("?versioning") and self.server.versions:  # type: ignore[attr-defined]
            status, body = 200, b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
        elif self.command != self.server.refused:  # type: ignore[attr-defined]
            sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            with closing(http.client.HTTPConnection("127.0.0.1", behind.port, timeout=10)) as connection:
                connection.request(self.command, self.path, sent, dict(self.headers.items()))
                answered = connection.getresponse()
                status, body = answered.status, answered.read()
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = answer

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def gate(aws: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """In front of the object store; set its `refused`, or say that the bucket keeps `versions`."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Gate)
    server.daemon_threads = True
    server.behind, server.refused = aws, ""  # type: ignore[attr-defined]
    server.versions, server.asked = False, []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{server.server_port}")
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(("refused", "what"), [("GET", "read"), ("POST", "write"), ("DELETE", "abort an upload")])
def test_right_that_is_missing_fails_and_is_named(gate: Any, s3_url: str, refused: str, what: str) -> None:
    assert _check(s3_url).state == State.OK
    gate.refused = refused
    found = _check(s3_url)
    assert (found.state, "PutObject, DeleteObject" in found.message) == (State.FAIL, True)
    assert f": {what}: AccessDenied: " in found.message


@pytest.mark.parametrize("versions", [False, True])
def test_bucket_with_versions_gets_no_delete_marker(gate: Any, s3_url: str, versions: bool) -> None:
    gate.versions = versions
    assert _check(s3_url).state == State.OK
    deleted = [asked for asked in gate.asked if asked.startswith("DELETE") and "uploadId" not in asked]
    assert len(deleted) == (0 if versions else 1)


def test_bucket_that_is_not_there_or_away_fails(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = _check("s3://no-such-bucket-here/x")
    assert found.state == State.FAIL and "create the bucket" in found.message
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
    found = _check(s3_url)
    assert found.state == State.FAIL and "AWS_ACCESS_KEY_ID" in found.message and "wrong" in found.message
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    found = _check(s3_url)
    assert found.state == State.FAIL and "cannot be reached" in found.message


def test_directory_that_cannot_be_made_fails(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = _check(tmp_path / "file" / "root")
    assert found.state == State.FAIL and "a file is where a directory should be" in found.message
