"""`ingestd dev` tells how to connect, and leaves nothing after Ctrl-C or TERM."""

import argparse
import os
import select
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import psycopg
import pytest
from confluent_kafka.admin import AdminClient

from ingestd.commands import dev
from ingestd.embedded.debezium_rest import Connectors
from ingestd.embedded.stack import start_stack
from tests.debezium.events import events
from tests.embedded.parents import gone

COMMAND = """
import argparse, sys
from ingestd.commands import dev
parser = argparse.ArgumentParser()
dev.add_parser(parser.add_subparsers())
sys.exit(dev.main(parser.parse_args(["dev", *sys.argv[1:]])))
"""


def lines_until(process: "subprocess.Popen[bytes]", last: str, timeout_secs: float) -> list[str]:
    """What the process prints up to a line that starts with `last`."""
    assert process.stdout is not None
    deadline = time.monotonic() + timeout_secs
    text = b""
    while not any(line.startswith(last) for line in text.decode().splitlines()):
        readable, _, _ = select.select([process.stdout], [], [], deadline - time.monotonic())
        chunk = os.read(process.stdout.fileno(), 4096) if readable else b""
        assert chunk, f"ended or silent after: {text.decode()}"
        text += chunk
    return text.decode().splitlines()


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_dev_serves_until_told_to_stop(end: signal.Signals) -> None:
    process = subprocess.Popen([sys.executable, "-c", COMMAND], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with process:
        try:
            exports = [line for line in lines_until(process, "Ctrl-C", 60) if line.startswith("export ")]
            found = dict(shlex.split(line)[1].split("=", 1) for line in exports)
            pids = [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
            admin = AdminClient({"bootstrap.servers": found["KAFKA_BOOTSTRAP_SERVERS"]})
            assert len(admin.list_topics(timeout=10).brokers) == 1
            with psycopg.connect(
                host=found["POSTGRES_HOST"],
                port=found["POSTGRES_PORT"],
                dbname=found["POSTGRES_DB"],
                user=found["POSTGRES_USER"],
                password=found["POSTGRES_PASSWORD"],
            ) as connection:
                assert connection.info.dbname == "kafka_sink"
            process.send_signal(end)
            assert process.wait(20) == 0
            assert gone(pids, 0)
        finally:
            process.kill()


def test_dev_with_debezium_captures_a_table_that_is_made_later(server_directory: Path) -> None:
    """And a kept directory starts again without Debezium, although its replication slot needs wal_level = logical."""
    kept = ["--directory", str(server_directory / "dev")]
    command = [sys.executable, "-c", COMMAND, "--debezium", *kept]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            lines = lines_until(process, "Ctrl-C", 90)
            told = {line.split()[0]: shlex.split(line) for line in lines if line}
            pids = [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
            with psycopg.connect(told["source"][2], autocommit=True) as connection:
                connection.execute("CREATE TABLE later (id int PRIMARY KEY)")
                connection.execute("INSERT INTO later VALUES (7)")
            (event,) = events(told["Kafka"][1], "cdc.public.later", 1)
            assert (event.op, event.key["payload"]) == ("c", {"id": 7})
            _, _, _, login, url = told["Connect"]
            connect = Connectors(url.removesuffix("/connectors/source/status"), *login.split(":"))
            assert connect.states("source") == ["RUNNING", "RUNNING"]
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
            assert gone(pids, 0)
        finally:
            process.kill()
    with (
        start_stack(kafka=False, directory=server_directory / "dev") as stack,
        psycopg.connect(stack.postgres_url) as connection,
    ):
        assert connection.execute("SHOW wal_level").fetchone() == ("logical",)


def test_ctrl_c_while_the_servers_start_leaves_nothing() -> None:
    process = subprocess.Popen([sys.executable, "-c", COMMAND], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with process:
        try:
            parent = psutil.Process(process.pid)
            deadline = time.monotonic() + 30
            while "java" not in [child.name() for child in parent.children(recursive=True)]:
                assert time.monotonic() < deadline
            pids = [child.pid for child in parent.children(recursive=True)]
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0
            assert gone(pids, 5)
        finally:
            process.kill()


def test_a_port_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    dev.add_parser(parser.add_subparsers())
    for wrong in ("0", "65536", "http"):
        with pytest.raises(SystemExit):
            parser.parse_args(["dev", "--kafka-port", wrong])
        assert f"{wrong} is not a port" in capsys.readouterr().err
