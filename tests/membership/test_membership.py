"""The membership process against the real broker."""

import os
import signal
import time
from concurrent.futures import Future

import pytest
from confluent_kafka import OFFSET_INVALID, Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ListOffsetsResultInfo, NewPartitions  # type: ignore[attr-defined]

from ingestd.board import Board, Lane, take_lane
from ingestd.embedded.kafka import KafkaServer
from ingestd.membership.broker import BrokerQuestions
from ingestd.membership.offsets import next_offsets
from tests.fix_servers import MakeTopic, Produce
from tests.membership.conftest import Host, Member


def committed(kafka: KafkaServer, group: str, topic: str, partitions: int) -> list[int]:
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap_servers, "group.id": group})
    try:
        found = consumer.committed([TopicPartition(topic, p) for p in range(partitions)], timeout=10)
    finally:
        consumer.close()
    return [one.offset for one in found]


def has(member: Member, *partitions: int) -> bool:
    return member.assigned() == set(partitions)


def share(host: Host, first: Member, second: Member) -> None:
    host.wait(lambda: len(first.assigned()) == len(second.assigned()) == 2, "two partitions each")
    assert first.assigned() | second.assigned() == {0, 1, 2, 3}


def test_two_hosts_share_and_a_clean_stop_moves_partitions_quickly(host: Host, topic: MakeTopic) -> None:
    name = topic(partitions=4)
    first = host.join([name], "a", properties={"session.timeout.ms": 30_000})
    host.wait(lambda: has(first, 0, 1, 2, 3), "all partitions")
    second = host.join([name], "b", properties={"session.timeout.ms": 30_000})
    share(host, first, second)
    os.kill(second.child.pid, signal.SIGTERM)
    assert host.wait(lambda: has(first, 0, 1, 2, 3), "all partitions again") < 8
    host.wait(second.has_ended, "the end of the second")
    assert second.code == 0


def test_killed_static_member_has_its_partitions_back_in_a_second(host: Host, topic: MakeTopic) -> None:
    name = topic(partitions=4)
    first, second = host.join([name], "a"), host.join([name], "b")
    share(host, first, second)
    before = second.assigned()
    os.kill(second.child.pid, signal.SIGKILL)
    host.wait(second.has_ended, "the end of the second")
    second.start()
    second.heard.clear()
    took = host.wait(lambda: second.assigned() == before, "its partitions back")
    assert took < 3, "0.1 s on an idle machine"
    assert len(first.assigned()) == 2


def test_revoked_partitions_are_given_up_only_when_drained_or_too_late(host: Host, topic: MakeTopic) -> None:
    name = topic(partitions=2)
    first = host.join([name], "a")
    host.wait(lambda: has(first, 0, 1), "all partitions")
    first.answer_revokes = lambda: None  # type: ignore[method-assign]
    second = host.join([name], "b")
    host.wait(lambda: bool(first.said("revoking")), "the revoke")
    asked = next(at for at, message in first.heard if message["event"] == "revoking")
    host.wait(lambda: len(second.assigned()) == 1, "the second host's partition")
    given_up = next(at for at, message in second.heard if message.get("partitions"))
    assert given_up - asked > 4, "drain_timeout and its margin"
    assert len(first.assigned()) == 1


def test_cursors_are_mirrored_and_log_ends_sampled(
    host: Host, topic: MakeTopic, produce: Produce, kafka: KafkaServer
) -> None:
    name = topic(partitions=2)
    produce(name, ["x"] * 7, partition=0)
    member = host.join([name, name], "a")
    host.wait(lambda: has(member, 0, 1), "all partitions")
    lanes = [take_lane(member.board, pipeline, name, 0) for pipeline in (0, 1)]
    member.board.set(lanes[0], Lane.NEXT_OFFSET, 5)
    host.wait(lambda: member.board.get(lanes[1], Lane.LOG_END) == 7, "the log end")
    assert committed(kafka, f"group-{name}", name, 2)[0] < 0, "the other pipeline has not claimed yet"
    member.board.set(lanes[1], Lane.NEXT_OFFSET, 3)
    host.wait(lambda: committed(kafka, f"group-{name}", name, 2)[0] == 3, "the lowest cursor in the group")


def test_log_end_stops_before_an_open_transaction(host: Host, topic: MakeTopic, kafka: KafkaServer) -> None:
    name = topic()
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "transactional.id": name})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(name, b"open")
    producer.flush(30)
    member = host.join([name], "a")
    lane = take_lane(member.board, 0, name, 0)
    host.wait(lambda: member.board.get(lane, Lane.LOG_END_AT_NS) > 0, "a sample")
    assert member.board.get(lane, Lane.LOG_END) == 0
    producer.commit_transaction(30)
    host.wait(lambda: member.board.get(lane, Lane.LOG_END) == 2, "the end behind record and control record")


def test_targets_cover_partitions_of_other_hosts(host: Host, topic: MakeTopic, produce: Produce) -> None:
    name = topic(partitions=2)
    produce(name, ["x"] * 4, partition=1)
    first, second = host.join([name], "a"), host.join([name], "b")
    host.wait(lambda: len(first.assigned()) == len(second.assigned()) == 1, "one each")
    first.channel.send({"op": "targets"})
    host.wait(lambda: bool(first.said("log_ends")), "the targets")
    assert first.said("log_ends")[0]["partitions"] == [[name, 0, 0], [name, 1, 4]]
    (elsewhere,) = second.assigned()
    second.board.set(take_lane(second.board, 0, name, elsewhere), Lane.NEXT_OFFSET, 2)
    wanted = [[name, elsewhere, 2]]
    host.wait(lambda: any(one["partitions"] == wanted for one in first.said("committed")), "the other host's cursor")


def test_added_partitions_are_assigned(host: Host, topic: MakeTopic, kafka: KafkaServer) -> None:
    name = topic(partitions=1)
    member = host.join([name], "a", properties={"topic.metadata.refresh.interval.ms": 1000})
    host.wait(lambda: has(member, 0), "the partition")
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    admin.create_partitions([NewPartitions(name, 3)])[name].result(10)
    host.wait(lambda: has(member, 0, 1, 2), "the added partitions")


def test_missing_topic_is_named_and_taken_when_it_appears(
    host: Host, topic: MakeTopic, kafka: KafkaServer, capfd: pytest.CaptureFixture[str]
) -> None:
    name = f"late-{os.getpid()}"
    member = host.join([name], "a", properties={"topic.metadata.refresh.interval.ms": 1000})
    host.wait(lambda: bool(member.said("trouble")), "the trouble")
    assert f"topic {name} not found at {kafka.bootstrap_servers}; create it" in capfd.readouterr().err
    topic(name=name)
    host.wait(lambda: has(member, 0), "the partition")
    host.wait(lambda: member.said("trouble")[-1]["text"] == "", "the end of the trouble")


def test_confirmation_is_refused_to_a_member_that_the_group_expelled(host: Host, topic: MakeTopic) -> None:
    name = topic(partitions=2)
    member = host.join([name], "a", properties={"session.timeout.ms": 2000})
    host.wait(lambda: has(member, 0, 1), "all partitions")
    member.channel.send({"op": "confirm", "id": 1})
    host.wait(lambda: bool(member.said("confirmed")), "the confirmation")
    os.kill(member.child.pid, signal.SIGSTOP)
    other = host.join([name], "b", properties={"session.timeout.ms": 2000})
    host.wait(lambda: has(other, 0, 1), "the other host to take over")
    member.heard.clear()
    member.channel.send({"op": "confirm", "id": 2})
    os.kill(member.child.pid, signal.SIGCONT)
    answered = host.wait(lambda: bool(member.said("unconfirmed") or member.said("confirmed")), "the answer")
    confirmed = [one for one in member.said("confirmed") if len(one["partitions"]) == 2]
    assert not confirmed, f"after {answered:.2f} s"


def test_second_daemon_with_the_same_name_makes_the_first_one_halt(host: Host, topic: MakeTopic) -> None:
    name = topic(partitions=2)
    first = host.join([name], "same")
    host.wait(lambda: has(first, 0, 1), "all partitions")
    second = host.join([name], "same")
    host.wait(lambda: has(second, 0, 1), "the second to take its place")
    host.wait(first.has_ended, "the first to end")
    assert first.code == 4


def test_kip_848_shares_and_moves_without_an_instance_id(host: Host, topic: MakeTopic) -> None:
    name = topic(partitions=4)
    first = host.join([name], None, group_protocol="consumer", properties={})
    host.wait(lambda: has(first, 0, 1, 2, 3), "all partitions")
    second = host.join([name], None, group_protocol="consumer", properties={})
    share(host, first, second)
    first.channel.send({"op": "confirm", "id": 1})
    host.wait(lambda: bool(first.said("confirmed")), "the confirmation")
    os.kill(second.child.pid, signal.SIGTERM)
    host.wait(lambda: has(first, 0, 1, 2, 3), "all partitions again")


def test_broker_that_goes_and_comes_back_is_said_once_each(host: Host, topic: MakeTopic, kafka: KafkaServer) -> None:
    name = topic()
    member = host.join([name], "a", properties={"session.timeout.ms": 30_000})
    host.wait(lambda: has(member, 0) and bool(member.said("up")), "the partition")
    lane = take_lane(member.board, 0, name, 0)
    kafka.stop()
    host.wait(lambda: bool(member.said("trouble")), "the trouble")
    began = time.monotonic()
    host.wait(lambda: time.monotonic() > began + 3, "more errors")
    assert len(member.said("trouble")) == 1
    kafka.start()
    host.wait(lambda: member.said("trouble")[-1]["text"] == "", "the end of the trouble")
    assert member.board.get(lane, Lane.LOG_END) == 0


def test_only_claimed_and_assigned_cursors_are_mirrored() -> None:
    board = Board()
    for partition, offset in ((0, 5), (1, -1), (2, 9)):
        board.set(take_lane(board, 0, "t", partition), Lane.NEXT_OFFSET, offset)
    assert next_offsets(board, frozenset({("t", 0), ("t", 1)})) == {("t", 0): 5}


def test_partition_without_a_leader_has_no_log_end_below_zero() -> None:
    """As one would be shown on the page, and be reached at once by `run --until-caught-up`."""
    questions = BrokerQuestions({"bootstrap.servers": "127.0.0.1:1"}, "g")
    for partition, offset in enumerate((7, OFFSET_INVALID)):
        answer: Future[ListOffsetsResultInfo] = Future()
        answer.set_result(ListOffsetsResultInfo(offset, -1, -1))
        questions._log_ends[TopicPartition("t", partition)] = answer
    assert questions.log_ends() == {("t", 0): 7}
