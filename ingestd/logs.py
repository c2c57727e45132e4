"""Log lines: one event, one line, on standard error; human on a terminal, else JSON. Knows nothing of what is logged.

With a file they go there as well, always as JSON. A line is written with one os.write, so that processes sharing the
descriptor, or the file, do not interleave. A reader of the log that goes away costs lines, never the daemon.
"""

import logging
import os
from collections.abc import Callable, Mapping, MutableMapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, cast

import orjson
import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

Format = Literal["auto", "human", "json"]
Redact = Callable[[str], str]
STDERR = 2
LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}


def get_logger() -> FilteringBoundLogger:
    """A logger that follows the latest `configure`; call it as `log.info("event", key=value)`."""
    return cast(FilteringBoundLogger, structlog.get_logger())


def configure(
    level: str, format: Format, process_name: str, redact: Redact | None = None, file: Path | None = None
) -> None:
    """Set level, form and name of this process's lines; every forked child calls it again.

    `redact` is applied to every text that is written. Python's own `logging` (of libraries) goes the same way.
    `file` is appended to, and made with its directory. Raises: OSError when it cannot be.
    """
    human = format == "human" or (format == "auto" and os.isatty(STDERR))
    processors: list[Processor] = [
        structlog.processors.add_log_level,
        _named(process_name),
        structlog.processors.TimeStamper(fmt="%H:%M:%S.%f" if human else "iso", utc=not human),
    ]
    if not human:
        processors.append(structlog.processors.format_exc_info)
    if redact is not None:
        processors.append(_redacted(redact))
    if (descriptor := _open(file)) is not None:
        processors.append(_filed(descriptor))
    processors.append(_human(redact) if human else structlog.processors.JSONRenderer(serializer=_json))
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=lambda *_: _Stderr(),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers[:] = [one for one in root.handlers if not isinstance(one, _Forward)] + [_Forward()]
    root.setLevel(max(LEVELS[level], logging.INFO))


class _Stderr:
    """The last station of a line; its methods are the level names, as structlog expects."""

    def msg(self, line: str | bytes) -> None:
        _write(STDERR, line if isinstance(line, bytes) else line.encode("utf-8", "backslashreplace"))

    debug = info = warning = error = critical = log = msg


def _write(descriptor: int, line: bytes) -> None:
    rest = memoryview(line + b"\n")
    try:
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    except OSError:
        # Nobody reads the log any more, or its disk is full: the daemon's work matters more than its words.
        return


_file: list[tuple[Path, int]] = []
"""The file that is open in this process, and its descriptor."""


def _open(file: Path | None) -> int | None:
    """The descriptor to append to `file`, kept while it is the same one."""
    if _file and _file[0][0] != file:
        os.close(_file.pop()[1])
    if file is not None and not _file:
        file.parent.mkdir(parents=True, exist_ok=True)
        _file.append((file, os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)))
    return _file[0][1] if _file else None


def _filed(descriptor: int) -> Processor:
    """Writes the event into the file too, with its time in UTC, whatever form standard error has."""

    def write(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        line: EventDict = dict(event) | {"timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z")}
        _write(descriptor, _json(dict(structlog.processors.format_exc_info(_, __, line))))
        return event

    return write


class _Forward(logging.Handler):
    """Takes the records of Python's `logging` into this log."""

    def emit(self, record: logging.LogRecord) -> None:
        fields = {"exc_info": record.exc_info} if record.exc_info else {}
        get_logger().log(record.levelno, record.getMessage(), logger=record.name, **fields)


def _named(process_name: str) -> Processor:
    def add_name(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        event["process"] = process_name
        return event

    return add_name


def _redacted(redact: Redact) -> Processor:
    def clean(value: Any) -> Any:
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, Mapping):
            return {str(key): clean(item) for key, item in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [clean(item) for item in value]
        return redact(str(value))

    def clean_event(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        return {key: value if key == "exc_info" else clean(value) for key, value in event.items()}

    return clean_event


def _human(redact: Redact | None) -> Processor:
    """Console lines; a traceback is the only thing that may take several."""
    colors = os.isatty(STDERR) and "NO_COLOR" not in os.environ
    console = structlog.dev.ConsoleRenderer(
        colors=colors, pad_event_to=32, exception_formatter=structlog.dev.plain_traceback
    )

    def render(logger: WrappedLogger, name: str, event: MutableMapping[str, Any]) -> str:
        event["event"] = str(event["event"]).replace("\n", "\\n").replace("\r", "\\r")
        line = console(logger, name, event)
        return line if redact is None else redact(line)

    return render


def _json(event: dict[str, Any], **_: Any) -> bytes:
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_SUBCLASS)
