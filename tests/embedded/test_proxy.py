"""The proxy cuts, stalls and refuses exactly when it is told to."""

import socket
import threading
from collections.abc import Iterator

import psycopg
import pytest

from ingestd.embedded.postgres import PostgresServer
from tests.fix_proxy import MakeProxy, Proxy


@pytest.fixture
def way(proxy: MakeProxy, postgres: PostgresServer) -> Proxy:
    return proxy("127.0.0.1", postgres.port)


@pytest.fixture
def table(database: str) -> Iterator[str]:
    with psycopg.connect(database) as connection:
        connection.execute("CREATE TABLE numbers (n int)")
    yield database


def through(way: Proxy, url: str) -> "psycopg.Connection[tuple[object, ...]]":
    return psycopg.connect(url, port=way.port)


def count(url: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(*) FROM numbers").fetchone()
    assert row is not None
    return row[0]


def test_bytes_pass_unchanged_in_both_directions(way: Proxy, database: str) -> None:
    text = "é" * 3_000_000
    with through(way, database) as connection:
        assert connection.execute("SELECT %s::text", [text]).fetchone() == (text,)


def test_cut_ends_open_connections_and_serves_new_ones(way: Proxy, database: str) -> None:
    with through(way, database) as connection:
        connection.execute("SELECT 1")
        way.cut()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    with through(way, database) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_stopped_proxy_refuses_until_started_on_the_same_port(way: Proxy, database: str) -> None:
    port = way.port
    way.stop()
    with pytest.raises(psycopg.OperationalError, match="refused"):
        through(way, database)
    way.start()
    assert way.port == port
    through(way, database).close()


def test_stalled_bytes_move_after_resume(way: Proxy, database: str) -> None:
    with through(way, database) as connection:
        way.stall()
        answered = threading.Event()

        def ask() -> None:
            connection.execute("SELECT 1")
            answered.set()

        asking = threading.Thread(target=ask)
        asking.start()
        assert not answered.wait(0.3)
        way.resume()
        assert answered.wait(10)
        asking.join()


def test_cut_after_bytes_hits_the_middle_of_a_copy(way: Proxy, table: str) -> None:
    connection = through(way, table)
    fired = way.cut_after(200_000)
    copying = connection.cursor().copy("COPY numbers FROM STDIN")
    with pytest.raises(psycopg.OperationalError), copying as copy:
        for number in range(1_000_000):
            copy.write_row([number])
    assert fired.wait(5)
    connection.close()
    assert count(table) == 0


@pytest.mark.parametrize(("forward", "rows"), [(False, 0), (True, 1)])
def test_cut_when_commit_passes_before_or_after_it_arrives(way: Proxy, table: str, forward: bool, rows: int) -> None:
    connection = through(way, table)
    connection.execute("INSERT INTO numbers VALUES (1)")
    fired = way.cut_when(lambda chunk: b"COMMIT" in chunk, forward=forward)
    with pytest.raises(psycopg.OperationalError):
        connection.commit()
    assert fired.wait(5)
    with psycopg.connect(table) as other:
        # The server notices the cut by itself; wait for its session before counting.
        other.execute("LOCK TABLE numbers")
    assert count(table) == rows
    connection.close()


def test_dead_target_resets_the_client(proxy: MakeProxy) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    way = proxy("127.0.0.1", port)
    # Around both: the reset may arrive before connect() has returned.
    with pytest.raises(ConnectionResetError), socket.create_connection(("127.0.0.1", way.port), timeout=10) as client:
        client.recv(1)
