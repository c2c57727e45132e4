"""A membership process, forked as the supervisor forks it, with the test at the other end of its channel."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ingestd import logs
from ingestd.board import Board, Slot
from ingestd.channel import channel_pair
from ingestd.config.options import Column, Config, Kafka, Pipeline, Store, Table, Workers
from ingestd.embedded.kafka import KafkaServer
from ingestd.signals import Stop
from ingestd.supervisor.children import fork_child

DEADLINE_SECS = 30.0
Message = dict[str, Any]


class Member:
    """One host: a board, a membership process, and everything it has said, with the time of each."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.board = Board()
        self.heard: list[tuple[float, Message]] = []
        self.channel, unused = channel_pair()
        unused.close()
        self.start()

    def start(self) -> None:
        self.channel.close()
        mine, theirs = channel_pair()
        self.channel = mine

        def live(stop: Stop) -> int:
            from ingestd.membership.member import run_membership

            mine.close()
            return run_membership(self.config, self.board, theirs, stop)

        def configure_log(name: str) -> None:
            logs.configure("info", "json", name)

        self.child = fork_child("membership", Slot.MEMBERSHIP, self.board, live, lambda: None, configure_log)
        self.code: int | None = None
        theirs.close()

    def take(self) -> None:
        self.heard += [(time.monotonic(), message) for message in self.channel.take()]

    def answer_revokes(self) -> None:
        """As a supervisor whose workers drain at once."""
        for _, message in self.heard:
            if message["event"] == "revoking" and not message.get("answered"):
                message["answered"] = True
                self.channel.send({"op": "drained", "seq": message["seq"]})

    def said(self, event: str) -> list[Message]:
        return [message for _, message in self.heard if message["event"] == event]

    def assigned(self) -> set[int]:
        reports = self.said("assigned")
        return {partition for _, partition in reports[-1]["partitions"]} if reports else set()

    def has_ended(self) -> bool:
        if self.code is None:
            self.code = self.child.reap()
        return self.code is not None

    def end(self) -> None:
        if not self.has_ended():
            self.child.kill()
        while not self.has_ended():
            time.sleep(0.01)
        self.channel.close()


class Host:
    """Makes members, and waits while answering for all of them."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._bootstrap_servers = bootstrap_servers
        self.members: list[Member] = []

    def join(self, topics: list[str], name: str | None = "host-a", group: str | None = None, **more: Any) -> Member:
        kafka = Kafka(
            bootstrap_servers=self._bootstrap_servers,
            group_id=group or f"group-{topics[0]}",
            group_instance_id=name,
            **{"properties": {"session.timeout.ms": 3000}, **more},
        )
        columns = (Column(name="a", type="text"),)
        pipelines = tuple(
            Pipeline(name=f"p{i}", topic=topic, column=columns, table=Table(name="t")) for i, topic in enumerate(topics)
        )
        config = Config(
            kafka=kafka,
            store=Store(url="postgresql://u@h/d"),
            pipeline=pipelines,
            workers=Workers(drain_timeout=2),  # type: ignore[arg-type]
        )
        member = Member(config)
        self.members.append(member)
        return member

    def wait(self, condition: Callable[[], bool], what: str, secs: float = DEADLINE_SECS) -> float:
        """Seconds until it was true."""
        began = time.monotonic()
        while not condition():
            heard = [[message for _, message in member.heard] for member in self.members]
            assert time.monotonic() < began + secs, f"waited for {what} in vain; heard: {heard}"
            for member in self.members:
                member.take()
                member.answer_revokes()
            time.sleep(0.005)
        return time.monotonic() - began


@pytest.fixture
def host(kafka: KafkaServer) -> Iterator[Host]:
    """`host.join([topic])` starts a membership process; all end after the test."""
    one = Host(kafka.bootstrap_servers)
    yield one
    for member in one.members:
        member.end()
