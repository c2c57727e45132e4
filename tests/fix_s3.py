"""A real object store for the tests: versitygw on a directory, built once from its Go module into ingestd's cache.

Where Go is missing it is moto, an object store in Python, and the end of the tests' output says so.
INGESTD_TEST_S3=moto takes it anywhere.
"""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
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
    """An object store on a port of its own; it can be killed and started again there."""

    access, secret, region = "ingestd-test", "not-a-secret", "us-east-1"

    def __init__(self, program: Path | None, directory: Path):
        """`program`: versitygw; None for moto."""
        self._program, self._directory = program, directory
        for name in ("objects", "metadata"):
            (directory / name).mkdir()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None
        self.is_durable = program is not None
        """Whether its objects outlive a kill: moto has them in memory."""

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Returns when it answers, at once when it was started before."""
        if self._process is not None:
            return
        command, environment = self._moto() if self._program is None else self._versitygw(self._program)
        self._process = subprocess.Popen(
            command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + _READY_SECS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"{command[0]} does not serve port {self.port}: exit code {self._process.poll()}")
            time.sleep(0.02)
        if self._program is None:
            self.access, self.secret = self._make_keys()

    def _versitygw(self, program: Path) -> tuple[list[str], dict[str, str]]:
        command = [
            *(str(program), "--port", f"127.0.0.1:{self.port}", "--region", self.region, "--quiet"),
            *("posix", "--sidecar", str(self._directory / "metadata"), str(self._directory / "objects")),
        ]
        return command, {"ROOT_ACCESS_KEY_ID": self.access, "ROOT_SECRET_ACCESS_KEY": self.secret}

    def _moto(self) -> tuple[list[str], dict[str, str]]:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        # It checks signatures from the fourth request on; the first three make the user.
        return command, {"INITIAL_NO_AUTH_ACTION_COUNT": "3"}

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def _make_keys(self) -> tuple[str, str]:
        session = boto3.session.Session("x", "x", region_name=self.region)
        iam = session.client("iam", endpoint_url=self.endpoint)
        iam.create_user(UserName="tests")
        everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [everything]})
        iam.put_user_policy(UserName="tests", PolicyName="everything", PolicyDocument=policy)
        made = iam.create_access_key(UserName="tests")["AccessKey"]
        return made["AccessKeyId"], made["SecretAccessKey"]

    def must_be_durable(self) -> None:
        """Skips a test that kills the server and asks for its objects afterwards, where it is moto."""
        if not self.is_durable:
            pytest.skip("moto loses its objects when it is killed; install Go, and versitygw takes this test")

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


def _go() -> str | None:
    return shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")


def _build_of_before() -> Path:
    return cache_directory() / f"versitygw-{_VERSION}" / "versitygw"


def _takes_moto() -> bool:
    return os.environ.get("INGESTD_TEST_S3") == "moto" or not (_build_of_before().exists() or _go())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _takes_moto():
        why = "INGESTD_TEST_S3 says so" if os.environ.get("INGESTD_TEST_S3") == "moto" else "Go is missing"
        terminalreporter.write_line(
            f"S3: the object store of these tests is moto, in Python, and not versitygw {_VERSION}: {why}"
        )


@pytest.fixture(scope="session")
def versitygw() -> Path | None:
    """The program; None where moto takes its place. With Go a build that fails is a failed test."""
    if _takes_moto():
        return None
    program = _build_of_before()
    directory = program.parent
    directory.mkdir(parents=True, exist_ok=True)
    with open(directory / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            made = directory / "made"
            environment = {**os.environ, "GOBIN": str(made), "CGO_ENABLED": "0"}
            build = [_go() or "go", "install", "-ldflags=-s -w", f"{_MODULE}@{_VERSION}"]
            done = subprocess.run(build, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.fail(f"{' '.join(build)}: {done.stderr[-1000:]}; INGESTD_TEST_S3=moto does without")
            os.replace(made / "versitygw", program)
    return program


@pytest.fixture(scope="session")
def s3_server(versitygw: Path | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A running server, for the whole session; whoever kills it starts it again."""
    server = S3Server(versitygw, tmp_path_factory.mktemp("s3"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def aws(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> S3Server:
    """The usual AWS settings name the server, and nothing of this machine's own is read."""
    s3_server.start()  # again, when a test that killed it has failed
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
