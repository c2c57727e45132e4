"""One daemon for a file: its lock, its workers, and all partitions without a consumer group."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions  # type: ignore[attr-defined]

from ingestd.board import Board, Lane, Slot, take_lane
from ingestd.channel import Channel, channel_pair
from ingestd.config.options import Column, Config, Kafka, Pipeline, Store, Table
from ingestd.embedded.kafka import KafkaServer
from ingestd.errors import StartupError
from ingestd.membership.sole import run_sole_membership
from ingestd.signals import Stop
from ingestd.supervisor.children import STOPPED_SECS, Child, fork_child
from ingestd.supervisor.sole import FileLocks, default_workers, is_stopped
from tests.fault.daemon import wait_for
from tests.fix_servers import MakeTopic, Produce


def _config(path: str, bootstrap: str = "h:9092", topics: tuple[str, ...] = ("t",)) -> Config:
    columns, table = (Column(name="a", type="text"),), Table(name="t")
    return Config(
        kafka=Kafka(bootstrap_servers=bootstrap, group_id=f"group-{topics[0]}"),
        store=Store(url=f"sqlite:///{path}"),
        pipeline=tuple(
            Pipeline(name=f"p{n}", topic=topic, column=columns, table=table) for n, topic in enumerate(topics)
        ),
    )


def _other_daemon(path: str) -> int:
    """The pid of another process that holds the lock until it is killed."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        FileLocks().hold(_config(path))
        os.write(writing, b"x")
        signal.pause()
        os._exit(0)
    assert os.read(reading, 1) == b"x"
    return pid


def test_second_daemon_is_told_who_has_the_file_and_may_have_it_afterwards(path: str) -> None:
    other = _other_daemon(path)
    try:
        with pytest.raises(StartupError, match=rf"another daemon \(pid {other}\) is using it; stop that one"):
            FileLocks().hold(_config(path))
    finally:
        os.kill(other, signal.SIGKILL)
        os.waitpid(other, 0)
    FileLocks().hold(_config(path))


def test_lock_is_of_the_file_and_not_of_its_name(path: str, tmp_path: Path) -> None:
    (tmp_path / "folder").symlink_to(tmp_path)
    locks = FileLocks()
    locks.hold(_config(path))
    locks.hold(_config(f"{tmp_path}/folder/silver.db"))
    locks.hold(
        Config(kafka=_config(path).kafka, store=Store(url="postgresql://u@h/d"), pipeline=_config(path).pipeline)
    )


def test_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"nowhere.*No such file or directory; create the directory"):
        FileLocks().hold(_config(f"{tmp_path}/nowhere/x.db"))


def test_each_pipeline_has_one_worker(path: str) -> None:
    assert default_workers(_config(path, topics=("t", "u"))) == 2


@pytest.fixture
def sleeper() -> Iterator[Child]:
    def sleep(stop: Stop) -> int:
        signal.pause()
        return 0

    child = fork_child("worker-0", Slot.FIRST_WORKER, Board(), sleep, lambda: None, lambda name: None)
    yield child
    child.kill()
    os.waitpid(child.pid, 0)


def test_only_a_stopped_child_is_killed_and_only_after_a_while(sleeper: Child) -> None:
    sleeper.kill_if_stopped(STOPPED_SECS + 1)
    assert not sleeper.killed
    os.kill(sleeper.pid, signal.SIGSTOP)
    wait_for(lambda: is_stopped(sleeper.pid), "the stop")
    sleeper.kill_if_stopped(STOPPED_SECS / 2)
    os.kill(sleeper.pid, signal.SIGCONT)
    wait_for(lambda: not is_stopped(sleeper.pid), "the continuation")
    sleeper.kill_if_stopped(STOPPED_SECS / 2 + 0.1)
    os.kill(sleeper.pid, signal.SIGSTOP)
    wait_for(lambda: is_stopped(sleeper.pid), "the stop")
    sleeper.kill_if_stopped(STOPPED_SECS)
    assert not sleeper.killed, "it went on in between"
    sleeper.kill_if_stopped(0.1)
    assert sleeper.killed


def _live(config: Config, board: Board, mine: Channel, theirs: Channel) -> Child:
    def live(stop: Stop) -> int:
        mine.close()
        return run_sole_membership(config, board, theirs, stop)

    child = fork_child("membership", Slot.MEMBERSHIP, board, live, lambda: None, lambda name: None)
    theirs.close()
    return child


def test_all_partitions_are_assigned_new_ones_too_and_the_group_sees_the_cursors(
    kafka: KafkaServer, topic: MakeTopic, produce: Produce, path: str
) -> None:
    name = topic(2)
    produce(name, ["a", "b", "c"], partition=1)
    config, board, (mine, theirs) = _config(path, kafka.bootstrap_servers, (name,)), Board(), channel_pair()
    lane = take_lane(board, 0, name, 1)
    board.set(lane, Lane.NEXT_OFFSET, 2)
    child, heard = _live(config, board, mine, theirs), []

    def said(event: str) -> list[dict[str, object]]:
        heard.extend(mine.take())
        return [message for message in heard if message["event"] == event]

    try:
        wait_for(lambda: said("assigned"), "the assignment", 20)
        assert said("up") and said("assigned")[-1]["partitions"] == [[name, 0], [name, 1]]
        mine.send({"op": "confirm", "id": 7})
        mine.send({"op": "targets"})
        mine.flush()
        wait_for(lambda: said("confirmed") and said("log_ends"), "confirmation and targets", 20)
        assert said("confirmed") == [{"event": "confirmed", "id": 7, "partitions": [[name, 0], [name, 1]]}]
        assert said("log_ends")[0]["partitions"] == [[name, 0, 0], [name, 1, 3]]
        wait_for(lambda: board.get(lane, Lane.LOG_END) == 3, "the log end on the board", 20)
        group = Consumer({"bootstrap.servers": kafka.bootstrap_servers, "group.id": config.kafka.group_id})
        wait_for(lambda: group.committed([TopicPartition(name, 1)], 10)[0].offset == 2, "the mirrored cursor", 20)
        group.close()
        admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
        admin.create_partitions([NewPartitions(name, 3)])[name].result(10)
        wait_for(lambda: len(said("assigned")[-1]["partitions"]) == 3, "the new partition", 20)  # type: ignore[arg-type]
    finally:
        child.ask_to_stop(time.monotonic(), 5)
        wait_for(lambda: child.reap() is not None, "the end", 10)
        mine.close()
