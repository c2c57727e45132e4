"""`ingestd run`: the daemon. Composes configuration, embedded servers, supervisor and what its children run."""

import argparse
import contextlib
import signal
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ingestd import logs, run_id
from ingestd.board import Board, Slot
from ingestd.channel import Channel
from ingestd.commands.arguments import add_config
from ingestd.config.file import load, redact
from ingestd.config.options import Config, with_addresses
from ingestd.config.topics import named_topics
from ingestd.errors import ConfigError, ExitCode, StartupError
from ingestd.planning import WorkerPlan
from ingestd.signals import Stop
from ingestd.supervisor.children import run_forked
from ingestd.supervisor.loop import Options, Supervisor, Targets
from ingestd.supervisor.run_counts import run_counts
from ingestd.supervisor.sole import FileLocks, is_sole
from ingestd.supervisor.systemd import Notifier

if TYPE_CHECKING:
    from ingestd.embedded.stack import Stack

log = logs.get_logger()

EMBEDDED = "embedded"
EMBEDDED_DATABASE = "kafka_sink"
EMBEDDED_PARTITIONS = 4
_END_RUN_SECS = 10


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command and its options."""
    parser = subparsers.add_parser(
        "run",
        help="run the daemon: Kafka records into PostgreSQL or SQLite, exactly once",
        description=(
            "Run the daemon until TERM or INT: workers then finish their batches; a second one, at least half a second "
            "later, aborts. HUP loads the file again and restarts the workers with it; a broken file is refused and "
            "the old one stays. USR1 logs the state of every partition."
        ),
    )
    add_config(parser)
    parser.add_argument(
        "--until-caught-up",
        action="store_true",
        help="end when every partition has been read up to its end at the start: exit code 0, or 4 when one halted",
    )
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"), help="instead of log.level")
    parser.add_argument("--log-format", choices=("auto", "human", "json"), help="instead of log.format")
    parser.set_defaults(main=main)


def main(args: argparse.Namespace) -> int:
    """Run until told to stop; the exit code says how it ended.

    Raises: ConfigError for a broken file, StartupError when embedded servers cannot be started, or when another
    daemon is using the SQLite file.
    """
    notifier = Notifier()
    overrides = [f"log.{name}={value}" for name in ("level", "format") if (value := getattr(args, f"log_{name}"))]
    config = load(args.config, overrides=overrides)
    _begin_log(config)
    locks = FileLocks()
    locks.hold(config)
    with _embedded_servers(config, args.config) as stack:

        def reload() -> Config:
            wanted = _with_servers(load(args.config, overrides=overrides), stack)
            try:
                locks.hold(wanted)
            except StartupError as error:
                raise ConfigError([f"store.url: {error}"]) from error
            return wanted

        config = _with_servers(config, stack)
        if stack is not None and config.kafka.bootstrap_servers == _address(stack):
            _create_topics(config)
        options = Options(
            reload=reload,
            redaction=lambda current: partial(redact, config=current),
            until_caught_up=args.until_caught_up,
            notifier=notifier,
            check=stack.check if stack is not None else lambda: None,
            end_run=_end_run,
        )
        return Supervisor(config, Targets(_worker, _membership, _status, _keeper), options).run()


# --- the run


def _begin_log(config: Config) -> None:
    """A run begins, and with it its log. Raises: StartupError when the file cannot be made."""
    run_id.begin()
    options = config.log
    try:
        file = run_id.log_file(options.directory)
        logs.configure(options.level, options.format, "supervisor", partial(redact, config=config), file)
    except OSError as error:
        raise StartupError(f"log.directory: {options.directory}: {error.strerror}; make it, or name another") from error


def _end_run(config: Config, board: Board) -> None:
    """The run is marked ended, with its counts; in a child, since this process never loads a database library."""
    counts = run_counts(config.pipeline, board)

    def end() -> int:
        from ingestd.stores.open import open_runs, open_store
        from ingestd.stores.runs import ENDED
        from ingestd.stores.store import LedgerKey

        signal.alarm(_END_RUN_SECS)
        store = open_store(config.store, LedgerKey(config.pipeline[0].name, config.pipeline[0].topic))
        run = run_id.current()
        if run is not None:
            with store.deciding():
                runs = open_runs(config.store)
                runs.prepare(store.open())
                runs.end(store.open(), run.run_id, ENDED, counts)
        return int(ExitCode.OK)

    if run_forked(end) != ExitCode.OK:
        log.warning("the end of this run is not recorded; the next start on this host marks it crashed")


# --- what the children run: their imports are paid after the fork


def _worker(config: Config, plan: WorkerPlan, board: Board, stop: Stop) -> int:
    from ingestd.worker.process import run_worker

    return run_worker(config, plan, board, stop.requested)


def _membership(config: Config, board: Board, channel: Channel, stop: Stop) -> int:
    if is_sole(config):
        from ingestd.membership.sole import run_sole_membership

        return run_sole_membership(config, board, channel, stop)
    from ingestd.membership.member import run_membership

    return run_membership(config, board, channel, stop)


def _status(config: Config, board: Board, stop: Stop) -> int:
    from ingestd.status.server import run_status

    return run_status(config, board, Slot.STATUS, stop)


def _keeper(config: Config, board: Board, stop: Stop) -> int:
    from ingestd.keeper.keeper import run_keeper

    return run_keeper(config, board, Slot.KEEPER, stop)


# --- embedded servers


@contextlib.contextmanager
def _embedded_servers(config: Config, path: str) -> Iterator["Stack | None"]:
    """The servers that the configuration wants embedded; their files are kept, under a name made of the path."""
    kafka, postgres = _wanted(config)
    if not kafka and not postgres:
        yield None
        return
    from rich.console import Console

    from ingestd.embedded.directory import data_directory
    from ingestd.embedded.progress import shown_on
    from ingestd.embedded.stack import start_stack

    log.info("starting embedded servers", kafka=kafka, postgres=postgres)
    directory = data_directory(str(Path(path).resolve()))
    with shown_on(Console(stderr=True)) as progress:
        stack = start_stack(kafka, postgres, directory, progress, database=EMBEDDED_DATABASE if postgres else None)
    with stack:
        address = _address(stack) if kafka else None
        log.info("embedded servers run", kafka=address, directory=str(stack.directory))
        yield stack


def _wanted(config: Config) -> tuple[bool, bool]:
    url = config.store.url
    reveal = getattr(url, "reveal", lambda: url)
    return config.kafka.bootstrap_servers == EMBEDDED, reveal() == EMBEDDED


def _address(stack: "Stack") -> str | None:
    return stack.bootstrap_servers if "kafka" in stack.pids else None


def _with_servers(config: Config, stack: "Stack | None") -> Config:
    """`config` with the addresses of the running servers.

    Raises: ConfigError when a reload asks for an embedded server that was not started.
    """
    kafka, postgres = _wanted(config)
    running = stack.pids if stack is not None else {}
    problems = [
        f'{place}: "embedded" servers start only with the daemon; stop it and start it again'
        for place, wanted, name in (("kafka.bootstrap_servers", kafka, "kafka"), ("store.url", postgres, "postgres"))
        if wanted and name not in running
    ]
    if problems:
        raise ConfigError(problems)
    if stack is None:
        return config
    return with_addresses(config, stack.bootstrap_servers if kafka else None, stack.postgres_url if postgres else None)


def _create_topics(config: Config) -> None:
    """Make what is missing on the embedded broker, in a child: this process never loads a Kafka library."""

    def create() -> int:
        from ingestd.source.topics import create_missing_topics

        topics = _topics(config)
        made = create_missing_topics(config.kafka, topics, EMBEDDED_PARTITIONS) if topics else []
        for topic in made:
            log.info("topic created", topic=topic, partitions=EMBEDDED_PARTITIONS)
        return int(ExitCode.OK)

    if run_forked(create) != ExitCode.OK:
        raise StartupError("cannot create the topics on the embedded broker; the log says why")


def _topics(config: Config) -> Sequence[str]:
    """What a pattern means comes by itself; Kafka would refuse its name."""
    return sorted({topic for pipeline in config.pipeline for topic in named_topics(pipeline)})
