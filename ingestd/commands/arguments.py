"""Arguments that several commands take, and what they mean in a configuration. Connects to nothing."""

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from ingestd.errors import ConfigError, StartupError

if TYPE_CHECKING:
    from ingestd.config.options import Config, Pipeline


def add_config(parser: argparse.ArgumentParser) -> None:
    """Declare `--config`."""
    parser.add_argument("--config", required=True, metavar="FILE", help="configuration file")


def add_pipeline(parser: argparse.ArgumentParser) -> None:
    """Declare `--pipeline` of a command for one pipeline; see `one_pipeline`."""
    parser.add_argument("--pipeline", metavar="NAME", help="pipeline (may be left out when the file has one)")


def pipelines_named(config: "Config", name: str | None) -> "list[Pipeline]":
    """The pipeline of that name, or all of them. Raises: ConfigError when there is none."""
    chosen = [one for one in config.pipeline if name in (None, one.name)]
    if not chosen:
        raise _wrong_name(config)
    return chosen


def one_pipeline(config: "Config", name: str | None) -> "Pipeline":
    """The pipeline of that name, or the only one. Raises: ConfigError when it is not clear which."""
    chosen = pipelines_named(config, name)
    if len(chosen) > 1:
        raise _wrong_name(config)
    return chosen[0]


def require_running(command: str, config: "Config", broker: bool = False) -> None:
    """Raises: StartupError when the store, or the broker that is needed too, is one that the daemon embeds."""
    if str.__str__(config.store.url) == "embedded" or (broker and config.kafka.bootstrap_servers == "embedded"):
        needed = "KAFKA_BOOTSTRAP_SERVERS and the store's address" if broker else "the store's address"
        raise StartupError(f"{command} needs servers that run: set {needed}")


def count_up_to(most: int) -> Callable[[str], int]:
    """The type of an argument that is a number from 1 to `most`."""

    def count(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"not a number from 1 to {most}: {text}")
        return int(text)

    return count


def _wrong_name(config: "Config") -> ConfigError:
    return ConfigError([f"--pipeline: choose one of {', '.join(one.name for one in config.pipeline)}"])
