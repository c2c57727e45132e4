"""A real supervisor over fake children, run as a process by the tests: `fake_daemon.py DIRECTORY`.

The directory steers it: `config.json` (options), `messages/N.json` (what the membership says next), `mode-P` (what the
worker of partition P does), `reload.json`. Everything the children do is appended to `events.jsonl`.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from ingestd.board import Board, Lane, LaneState, Slot
from ingestd.channel import Channel
from ingestd.config.options import Column, Config, DeadLetters, Kafka, Log, Pipeline, Store, Table, Workers
from ingestd.errors import ConfigError, ExitCode, StartupError
from ingestd.planning import WorkerPlan
from ingestd.signals import Stop
from ingestd.supervisor.loop import Options, Supervisor, Targets

CONTROL = Path(sys.argv[1])


def note(who: str, what: str, **more: Any) -> None:
    line = json.dumps({"who": who, "what": what, "pid": os.getpid(), "at": time.monotonic(), **more}) + "\n"
    with open(CONTROL / "events.jsonl", "ab", buffering=0) as file:
        file.write(line.encode())


def mode(partition: int) -> str:
    path = CONTROL / f"mode-{partition}"
    return path.read_text() if path.exists() else "run"


def fake_worker(config: Config, plan: WorkerPlan, board: Board, stop: Stop) -> int:
    (part,) = plan.parts
    note("worker", "start", partitions=part.partitions, group=config.kafka.group_id)
    chosen = mode(part.partitions[0])
    if chosen == "startup":
        raise StartupError("no server")
    board.beat(plan.slot)
    for lane in part.lanes.values():
        board.set(lane, Lane.STATE, LaneState.RUNNING)
    if chosen.startswith("exit"):
        if chosen == "exit 4":
            board.set(part.lanes[part.partitions[0]], Lane.STATE, LaneState.HALTED)
        return int(chosen.split()[1])
    while not stop.wait(0.02):
        if chosen != "hang":
            board.beat(plan.slot)
        chosen = mode(part.partitions[0])
        if chosen.startswith("reach"):
            for lane in part.lanes.values():
                board.set(lane, Lane.NEXT_OFFSET, int(chosen.split()[1]))
        if chosen.startswith("exit"):
            return int(chosen.split()[1])
    note("worker", "term", partitions=part.partitions)
    while mode(part.partitions[0]) == "ignore term":
        time.sleep(0.02)
        board.beat(plan.slot)
    note("worker", "end", partitions=part.partitions)
    return 0


def fake_membership(config: Config, board: Board, channel: Channel, stop: Stop) -> int:
    note("membership", "start")
    channel.send({"event": "up"})
    assigned: list[list[Any]] = []
    said = 0
    while not stop.wait(0.01):
        board.beat(Slot.MEMBERSHIP)
        path = CONTROL / "messages" / f"{said}.json"
        if path.exists():
            message = json.loads(path.read_text())
            said += 1
            assigned = message["partitions"] if message["event"] == "assigned" else assigned
            channel.send(message)
        for order in channel.take():
            note("membership", "told", order=order)
            if order["op"] == "confirm" and not (CONTROL / "no-confirm").exists():
                channel.send({"event": "confirmed", "id": order["id"], "partitions": assigned})
    note("membership", "end", told=channel.take())
    return 0


def fake_status(config: Config, board: Board, stop: Stop) -> int:
    note("status", "start")
    if (CONTROL / "port-taken").exists():
        return ExitCode.STARTUP
    while not stop.wait(5):
        pass
    note("status", "end")
    return 0


def fake_keeper(config: Config, board: Board, stop: Stop) -> int:
    note("keeper", "start")
    board.beat(Slot.KEEPER)
    if (CONTROL / "keeper-halts").exists():
        return ExitCode.HALTED
    while not stop.wait(0.02):
        board.beat(Slot.KEEPER)
    note("keeper", "end")
    return 0


def load(name: str) -> Config:
    options = json.loads((CONTROL / name).read_text())
    if options.get("broken"):
        raise ConfigError(["kafka.group_id: missing"])
    topics = options.get("topics", ["t"])
    table = Table(name="t")
    columns = (Column(name="a", type="text"),)
    letters = DeadLetters(topic=options.get("dead_letter_topic"))
    return Config(
        kafka=Kafka(bootstrap_servers="none:1", group_id=options.get("group", "g")),
        store=Store(url="postgresql://u:hidden-word@none/d"),
        pipeline=tuple(
            Pipeline(name=name, topic=name, column=columns, table=table, dead_letters=letters) for name in topics
        ),
        workers=msgspec.convert(options.get("workers", {}), Workers, strict=False, dec_hook=lambda t, v: t(v)),
        log=Log(format="json", level="debug"),
    )


def main() -> int:
    until = json.loads((CONTROL / "config.json").read_text()).get("until_caught_up", False)
    options = Options(
        reload=lambda: load("reload.json"),
        redaction=lambda config: lambda text: text.replace("hidden-word", "***"),
        until_caught_up=until,
    )
    targets = Targets(worker=fake_worker, membership=fake_membership, status=fake_status, keeper=fake_keeper)
    return Supervisor(load("config.json"), targets, options).run()


if __name__ == "__main__":
    sys.exit(main())
