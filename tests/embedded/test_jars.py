"""The download cache: filled once, complete or absent, and no network when it is warm."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ingestd.embedded import jars
from ingestd.embedded.debezium_jars import CONNECT_JARS
from ingestd.embedded.jars import Download, connect_jars, kafka_jars
from ingestd.embedded.kafka_jars import KAFKA_JARS, Jar
from ingestd.errors import StartupError


class Mirror:
    """A Maven repository on 127.0.0.1 that serves the jars of the real cache and counts the requests."""

    def __init__(self, root: Path):
        self.root = root
        self.requests: list[str] = []
        for bundle, warm in ((KAFKA_JARS, kafka_jars()), (CONNECT_JARS, connect_jars())):
            for jar in bundle:
                name = f"{jar.artifact}-{jar.version}.jar"
                path = root / jar.group.replace(".", "/") / jar.artifact / jar.version / name
                path.parent.mkdir(parents=True, exist_ok=True)
                if not path.is_symlink():
                    path.symlink_to(warm / name)
        seen = self.requests

        class Handler(SimpleHTTPRequestHandler):
            def log_message(self, format: str, *arguments: object) -> None:
                seen.append(self.path)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(root)))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def path(self, artifact: str) -> Path:
        return next(self.root.rglob(f"{artifact}-*.jar"))

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """The mirror, in use, in front of an empty cache and an empty home."""
    server = Mirror(tmp_path / "mirror")
    monkeypatch.setenv("INGESTD_MAVEN_URL", server.url)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    yield server
    server.close()


@pytest.mark.parametrize(("fill", "bundle"), [(kafka_jars, KAFKA_JARS), (connect_jars, CONNECT_JARS)])
def test_a_cold_cache_is_filled_with_progress_and_nothing_else_is_written(
    mirror: Mirror, tmp_path: Path, fill: Callable[..., Path], bundle: tuple[Jar, ...]
) -> None:
    seen: list[Download] = []
    directory = fill(seen.append)
    total_bytes = sum(jar.size_bytes for jar in bundle)
    assert directory.is_relative_to(tmp_path / "cache" / "ingestd")
    assert sum(path.stat().st_size for path in directory.iterdir()) == total_bytes
    assert seen[-1][1:] == (total_bytes, total_bytes, len(bundle), len(bundle))
    assert [one.done_bytes for one in seen] == sorted(one.done_bytes for one in seen)
    assert list(directory.parent.iterdir()) == [directory]
    assert not (tmp_path / "home").exists()


def test_a_warm_cache_makes_no_request(mirror: Mirror) -> None:
    first = kafka_jars(), connect_jars()
    mirror.requests.clear()
    assert (kafka_jars(), connect_jars()) == first
    assert mirror.requests == []


def test_a_jar_that_was_tampered_with_is_refused(mirror: Mirror) -> None:
    path = mirror.path("jose4j")
    size_bytes = path.stat().st_size
    path.unlink()
    path.write_bytes(b"\0" * size_bytes)
    with pytest.raises(StartupError, match=r"jose4j-0.9.6.jar from http\S+ is not the published file"):
        kafka_jars()
    assert list(jars.cache_directory().iterdir()) == []


def test_a_missing_jar_fails_with_one_line_and_leaves_nothing_half_done(mirror: Mirror) -> None:
    mirror.path("re2j").unlink()
    with pytest.raises(StartupError) as failure:
        kafka_jars()
    assert "\n" not in str(failure.value)
    assert "cannot download re2j-1.8.jar" in str(failure.value)
    assert "INGESTD_MAVEN_URL" in str(failure.value)
    assert list(jars.cache_directory().iterdir()) == []


def test_a_cache_with_a_truncated_jar_is_filled_again(mirror: Mirror) -> None:
    directory = kafka_jars()
    victim = next(directory.glob("zstd-jni-*.jar"))
    os.truncate(victim, 1000)
    kafka_jars()
    assert victim.stat().st_size > 1000


def test_an_unreachable_repository_fails_with_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("INGESTD_MAVEN_URL", "http://127.0.0.1:1/maven")
    with pytest.raises(
        StartupError, match=r"^cannot download \S+ from http://127.0.0.1:1/maven \(ConnectionError\): \w+"
    ):
        kafka_jars()


def test_a_cache_that_cannot_be_written_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "ingestd").write_text("a file in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(StartupError, match=f"cannot write the download cache {tmp_path}/ingestd"):
        kafka_jars()


def test_a_missing_extra_is_named_with_its_command() -> None:
    with pytest.raises(StartupError, match=r"need the package no-such-wheel: pip install 'ingestd\[embedded\]'"):
        jars.package_directory("no_such_wheel")


def test_the_broker_starts_without_network_java_or_maven(mirror: Mirror, server_directory: Path) -> None:
    """A warm cache, every proxy closed, an empty PATH: nothing but the Python environment is used."""
    shutil.copytree(kafka_jars(), server_directory / "cache" / "ingestd" / kafka_jars().name)
    mirror.requests.clear()
    closed = "http://127.0.0.1:1"
    environment = {
        "XDG_CACHE_HOME": str(server_directory / "cache"),
        "INGESTD_MAVEN_URL": mirror.url,
        "HTTP_PROXY": closed,
        "HTTPS_PROXY": closed,
        "ALL_PROXY": closed,
        "PATH": "/nonexistent",
        "HOME": str(server_directory / "no-home"),
        "JAVA_TOOL_OPTIONS": "-Xmx1m",
    }
    program = (
        "from pathlib import Path; from ingestd.embedded.kafka import KafkaServer; import sys\n"
        "server = KafkaServer(Path(sys.argv[1])); server.start(); print(server.bootstrap_servers); server.kill()"
    )
    command = [sys.executable, "-c", program, str(server_directory / "offline")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("127.0.0.1:")
    assert mirror.requests == []
    assert not (server_directory / "no-home").exists()
