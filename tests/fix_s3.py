"""A real object store for the tests: versitygw on a directory, built once from its Go module into ingestd's cache."""

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from ingestd.embedded.jars import cache_directory

_VERSION = "v1.8.0"
_MODULE = "github.com/versity/versitygw/cmd/versitygw"
_READY_SECS = 30.0

QUICK = Config(
    connect_timeout=2,
    read_timeout=2,
    retries={"mode": "standard", "total_max_attempts": 2},
    s3={"addressing_style": "path"},
)
"""Of clients that must give up within seconds."""


class S3Server:
    """versitygw on a directory; it can be killed and started again on the same port."""

    access, secret, region = "ingestd-test", "not-a-secret", "us-east-1"

    def __init__(self, program: Path, directory: Path):
        self._program, self._directory = program, directory
        for name in ("objects", "metadata"):
            (directory / name).mkdir()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Returns when it answers."""
        self._process = subprocess.Popen(
            [
                *(str(self._program), "--port", f"127.0.0.1:{self.port}", "--region", self.region, "--quiet"),
                *("posix", "--sidecar", str(self._directory / "metadata"), str(self._directory / "objects")),
            ],
            env={**os.environ, "ROOT_ACCESS_KEY_ID": self.access, "ROOT_SECRET_ACCESS_KEY": self.secret},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + _READY_SECS
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"versitygw does not serve port {self.port}: exit code {self._process.poll()}")
            time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def client(self, **more: Any) -> Any:
        """A client of its own, with the right credentials unless told otherwise."""
        given = {
            "endpoint_url": self.endpoint,
            "region_name": self.region,
            "aws_access_key_id": self.access,
            "aws_secret_access_key": self.secret,
            "config": QUICK,
        }
        return boto3.session.Session().client("s3", **{**given, **more})


@pytest.fixture(scope="session")
def versitygw() -> Path:
    """The program. Without Go and without a build of before the tests that need it fail."""
    directory = cache_directory() / f"versitygw-{_VERSION}"
    program = directory / "versitygw"
    directory.mkdir(parents=True, exist_ok=True)
    with open(directory / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
            if go is None:
                pytest.fail(
                    f"the tests of S3 need versitygw {_VERSION}, which is built with Go: install Go 1.24 or later"
                )
            made = directory / "made"
            environment = {**os.environ, "GOBIN": str(made), "CGO_ENABLED": "0"}
            build = [go, "install", "-ldflags=-s -w", f"{_MODULE}@{_VERSION}"]
            done = subprocess.run(build, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.fail(f"{' '.join(build)}: {done.stderr[-1000:]}")
            os.replace(made / "versitygw", program)
    return program


@pytest.fixture(scope="session")
def s3_server(versitygw: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A running server, for the whole session; whoever kills it starts it again."""
    server = S3Server(versitygw, tmp_path_factory.mktemp("s3"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def aws(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> S3Server:
    """The usual AWS settings name the server, and nothing of this machine's own is read."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    settings = {
        "AWS_ENDPOINT_URL_S3": s3_server.endpoint,
        "AWS_REGION": s3_server.region,
        "AWS_DEFAULT_REGION": s3_server.region,
        "AWS_ACCESS_KEY_ID": s3_server.access,
        "AWS_SECRET_ACCESS_KEY": s3_server.secret,
        "AWS_CONFIG_FILE": str(tmp_path / "no-config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "no-credentials"),
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return s3_server


@pytest.fixture
def s3_url(aws: S3Server) -> str:
    """ "s3://bucket/prefix" in a new bucket, with the AWS settings that name its server."""
    bucket = f"lake-{uuid.uuid4()}"
    aws.client().create_bucket(Bucket=bucket)
    return f"s3://{bucket}/some/prefix"
