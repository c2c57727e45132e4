"""The membership process and pipelines whose topics are a pattern, against the real broker, by both protocols."""

import itertools
import os
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient

from ingestd.board import Lane, take_lane
from ingestd.embedded.kafka import KafkaServer
from tests.fix_servers import MakeTopic, Produce
from tests.membership.conftest import Host, Member

PROTOCOLS: dict[str, dict[str, Any]] = {
    "classic": {},
    "consumer": {"name": None, "group_protocol": "consumer", "properties": {}},
}
_NUMBERS = itertools.count(1)


def prefix() -> str:
    return f"pat-{os.getpid()}-{next(_NUMBERS)}"


def topics(member: Member) -> set[str]:
    reports = member.said("assigned")
    return {topic for topic, _ in reports[-1]["partitions"]} if reports else set()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_topics_of_a_pattern_come_and_go_without_a_restart(
    host: Host, topic: MakeTopic, kafka: KafkaServer, protocol: str
) -> None:
    name = prefix()
    first, second = topic(2, name=f"{name}.a"), topic(1, name=f"{name}.b")
    topic(1, name=f"{name}")
    other = topic()
    member = host.join([f"{name}.*", other], group=f"group-{name}", **PROTOCOLS[protocol])
    host.wait(lambda: topics(member) == {first, second, other}, "the topics that are there")
    late = topic(1, name=f"{name}.late")
    took = host.wait(lambda: topics(member) == {first, second, late, other}, "the topic that came")
    assert took < 15, "topic.metadata.refresh.interval is 5 s"
    member.channel.send({"op": "confirm", "id": 1})
    host.wait(lambda: bool(member.said("confirmed")), "the confirmation")
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    admin.delete_topics([first])[first].result(10)
    host.wait(lambda: topics(member) == {second, late, other}, "the topic that went")
    assert not member.has_ended()


def test_two_hosts_share_the_topics_of_a_pattern(host: Host, topic: MakeTopic) -> None:
    name = prefix()
    all_topics = {topic(1, name=f"{name}.{number}") for number in range(4)}
    first, second = (host.join([f"{name}.*"], member, group=f"group-{name}") for member in ("a", "b"))
    host.wait(lambda: len(topics(first)) == len(topics(second)) == 2, "two topics each")
    assert topics(first) | topics(second) == all_topics


def test_targets_and_mirror_are_by_topic(host: Host, topic: MakeTopic, produce: Produce) -> None:
    name = prefix()
    first, second = topic(1, name=f"{name}.a"), topic(1, name=f"{name}.b")
    produce(second, ["x"] * 3)
    member = host.join([f"{name}.*"], group=f"group-{name}")
    member.channel.send({"op": "targets"})
    host.wait(lambda: bool(member.said("log_ends")), "the targets")
    assert member.said("log_ends")[0]["partitions"] == [[first, 0, 0], [second, 0, 3]]
    lanes = [take_lane(member.board, 0, one, 0) for one in (first, second)]
    host.wait(lambda: member.board.get(lanes[1], Lane.LOG_END) == 3, "the log end")
    assert member.board.get(lanes[0], Lane.LOG_END) == 0


def test_a_pattern_that_means_nothing_yet_is_said_and_waited_for(
    host: Host, topic: MakeTopic, capfd: pytest.CaptureFixture[str]
) -> None:
    name = prefix()
    member = host.join([f"{name}.*"], group=f"group-{name}")
    host.wait(lambda: bool(member.said("trouble")), "the trouble")
    assert member.said("trouble")[-1]["text"] == f"topics not found: {name}.*"
    made = topic(1, name=f"{name}.a")
    host.wait(lambda: topics(member) == {made}, "the topic")
    host.wait(lambda: member.said("trouble")[-1]["text"] == "", "the end of the trouble")
    assert f"matches {name}.* yet" in capfd.readouterr().err
