"""No server outlives who asked for it, whatever happens to it; nothing listens beyond loopback."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import psycopg
import pytest
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from ingestd.embedded.directory import data_directory
from ingestd.embedded.stack import Stack, start_stack
from ingestd.errors import StartupError
from tests.embedded.parents import gone, running_parent

_GONE_SECS = 10


def test_stack_ends_with_the_block_and_leaves_nothing() -> None:
    with start_stack(database="kafka_sink") as stack:
        pids = tree(stack)
        stack.check()
        with psycopg.connect(stack.postgres_url) as connection:
            assert connection.info.dbname == "kafka_sink"
        assert len(AdminClient({"bootstrap.servers": stack.bootstrap_servers}).list_topics(timeout=10).brokers) == 1
    assert gone(pids, 0)
    assert not stack.directory.exists()


def test_stack_ends_when_the_block_raises() -> None:
    with pytest.raises(ZeroDivisionError), start_stack(kafka=False) as stack:
        pids = tree(stack)
        raise ZeroDivisionError
    assert gone(pids, 0)
    assert not stack.directory.exists()


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_servers_end_with_a_killed_parent_even_if_its_forked_child_holds_the_pipe(end: signal.Signals) -> None:
    with running_parent("fork") as parent:
        pids = tree_of(parent.guardian)
        assert {"java", "postgres"} <= names(pids)
        os.kill(parent.pid, end)
        assert gone(pids, _GONE_SECS)
        assert not parent.directory.exists()


def test_servers_end_when_the_parent_exits_or_raises() -> None:
    with running_parent("raise") as parent:
        assert gone(tree_of(parent.guardian), _GONE_SECS)
        assert not parent.directory.exists()


def test_servers_end_with_a_killed_guardian() -> None:
    with start_stack() as stack:
        pids = tree(stack)
        assert {"java", "postgres"} <= names(pids)
        os.kill(stack.pids["guardian"], signal.SIGKILL)
        assert gone(pids, _GONE_SECS)
        with pytest.raises(StartupError, match="ended from outside"):
            stack.check()
    assert not stack.directory.exists()


def test_check_tells_which_server_ended() -> None:
    with start_stack() as stack:
        os.kill(stack.pids["kafka"], signal.SIGKILL)
        psutil.Process(stack.pids["guardian"]).wait(_GONE_SECS)
        with pytest.raises(StartupError, match="embedded Kafka ended by itself"):
            stack.check()


def test_what_a_killed_guardian_left_is_removed_by_the_next_stack() -> None:
    with running_parent("wait", "--no-kafka") as parent:
        os.kill(parent.guardian, signal.SIGKILL)
        os.kill(parent.pid, signal.SIGKILL)
        assert gone(parent.servers, _GONE_SECS)
        assert parent.directory.exists()
        with start_stack(kafka=False):
            assert not parent.directory.exists()


def test_every_socket_listens_on_loopback_only() -> None:
    with start_stack() as stack:
        addresses = {
            connection.laddr.ip
            for pid in tree(stack)
            for connection in psutil.Process(pid).net_connections("inet")
            if connection.status in (psutil.CONN_LISTEN, psutil.CONN_NONE)
        }
        unix = [found for pid in tree(stack) for found in psutil.Process(pid).net_connections("unix") if found.laddr]
    assert addresses == {"127.0.0.1"}
    assert unix == []


def test_two_stacks_run_side_by_side() -> None:
    with start_stack(kafka=False) as one, start_stack(kafka=False) as other:
        assert one.postgres_url != other.postgres_url
        assert one.directory != other.directory


def test_a_given_directory_keeps_topics_and_rows(server_directory: Path) -> None:
    directory = server_directory / "kept"
    with start_stack(directory=directory, database="kept") as stack:
        admin = AdminClient({"bootstrap.servers": stack.bootstrap_servers})
        admin.create_topics([NewTopic("kept", 3, 1)])["kept"].result(10)
        with psycopg.connect(stack.postgres_url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
    with start_stack(directory=directory, database="kept") as stack:
        topics = AdminClient({"bootstrap.servers": stack.bootstrap_servers}).list_topics(timeout=10).topics
        assert len(topics["kept"].partitions) == 3
        with psycopg.connect(stack.postgres_url) as connection:
            assert connection.execute("SELECT one FROM kept").fetchall() == [(1,)]


def test_a_directory_in_use_is_refused(server_directory: Path) -> None:
    directory = server_directory / "shared"
    with start_stack(kafka=False, directory=directory) as first:
        with pytest.raises(StartupError, match=f"{directory} is in use by process {first.pids['guardian']}: stop that"):
            start_stack(kafka=False, directory=directory)
        first.check()
    with start_stack(kafka=False, directory=directory):
        pass


def test_a_directory_is_usable_right_after_its_guardian_was_killed(server_directory: Path) -> None:
    directory = server_directory / "crashed"
    first = start_stack(directory=directory)
    with first:
        os.kill(first.pids["guardian"], signal.SIGKILL)
        with start_stack(directory=directory) as second:
            second.check()


def test_a_taken_port_is_refused_by_name() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartupError, match=f"port {port} of 127.0.0.1 is taken"):
            start_stack(kafka=False, postgres_port=port)


def test_postgres_asks_for_the_password_of_the_stack() -> None:
    with start_stack(kafka=False) as stack:
        for wrong in ("", "wrong"):
            with pytest.raises(psycopg.OperationalError, match="password"):
                psycopg.connect(stack.postgres_url, password=wrong)
        password = psycopg.conninfo.conninfo_to_dict(stack.postgres_url)["password"]
        commands = [" ".join(psutil.Process(pid).cmdline()) for pid in tree(stack)]
    assert not [command for command in commands if str(password) in command]
    assert str(password) not in repr(stack)


def test_data_directories_differ_by_name_and_follow_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    one, other = data_directory("/a/ingestd.toml"), data_directory("/b/ingestd.toml")
    assert one != other
    assert one == data_directory("/a/ingestd.toml")
    assert one.is_relative_to(tmp_path / "ingestd")
    assert one.name.startswith("ingestd-")


def test_starting_a_stack_loads_no_client_library() -> None:
    program = (
        "import sys; from ingestd.embedded.stack import start_stack\n"
        "with start_stack(kafka=False, database='x'): pass\n"
        "sys.exit(' '.join({'psycopg', 'confluent_kafka', 'pyarrow', 'jgo'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def tree(stack: Stack) -> list[int]:
    return tree_of(stack.pids["guardian"])


def tree_of(guardian: int) -> list[int]:
    return [guardian, *(child.pid for child in psutil.Process(guardian).children(recursive=True))]


def names(pids: list[int]) -> set[str]:
    return {psutil.Process(pid).name() for pid in pids}
