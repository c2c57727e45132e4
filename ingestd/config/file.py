"""The configuration file: from its path to a checked `Config`; what of it must not be shown. Opens no connection."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec

from ingestd.config.checks.options import check_all
from ingestd.config.live_copy import with_live_copies
from ingestd.config.options import Config
from ingestd.config.text import Substituted, dotenv_variables, expand, line_numbers, line_of, reason_of
from ingestd.config.values import Findings, read_struct
from ingestd.errors import ConfigError

_SECRET_PROPERTY = re.compile(r"password|passphrase|secret|key\.pem|jaas|oauthbearer|token$|user\.info", re.IGNORECASE)
_HARMLESS_PROPERTY = re.compile(r"sasl\.oauthbearer\.(method|grant\.type|scope|token\.endpoint\.url)", re.IGNORECASE)
_SECRET_PARAMETER = re.compile(r"password|secret|token", re.IGNORECASE)
_CREDENTIALS = re.compile(r"(?P<before>[A-Za-z][A-Za-z0-9+.-]*://[^\s:@/]*:)[^\s]+(?=@)")
_ASSIGNMENT = re.compile(
    r"(?P<before>\b[\w.]*(?:password|passphrase|secret)\s*=\s*)(?:'(?:\\.|[^'\\])*'|[^\s'&;,]+)", re.I
)
_STEP = re.compile(r"([^.\[\]]+)|\[([0-9]+)\]")
MASK = "***"
SQLITE_BATCH_ROWS = 100_000


def load(path: str | Path, environ: Mapping[str, str] | None = None, overrides: Sequence[str] = ()) -> Config:
    """The configuration in the TOML file at `path`, checked as far as that needs no server.

    Variables come from `environ` (default: the process's), then from `.env` beside the file, then from `.env` in the
    working directory. `overrides` are "path=value", such as "status.listen=127.0.0.1:0" or
    "pipeline[0].batch.max_rows=100", and win over the file. It changes nothing and may be called again.

    Raises ConfigError with every problem at once: mend the file.
    """
    file = Path(path)
    text = _read_text(file)
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([_syntax_problem(file, text, error)]) from None
    findings = Findings()
    for override in overrides:
        _override(tree, override, findings)
    stray: list[str] = []
    variables = dotenv_variables([file.parent, Path.cwd()], stray) | dict(os.environ if environ is None else environ)
    tree = _substituted(tree, variables, "", findings)
    config = read_struct(Config, tree, "", findings)
    check_all(config, findings)
    config = _with_ddl_paths(config, file.parent, findings)
    if findings.found or stray:
        problems = stray + _placed(findings, file, text)
        raise ConfigError([_without_secrets(problem, config) for problem in problems])
    return with_live_copies(_with_batch_rows(config, tree))


def redact(text: str, config: Config) -> str:
    """`text`, such as a message of libpq or librdkafka, without any secret of `config`.

    Finds secrets also when they are percent-encoded, escaped or quoted, and masks whatever else looks like the
    password of a URL or of `password=..`.
    """
    text = _CREDENTIALS.sub(rf"\g<before>{MASK}", _without_secrets(text, config))
    return _ASSIGNMENT.sub(rf"\g<before>{MASK}", text)


def is_secret_property(name: str) -> bool:
    """Whether the value of this property of librdkafka, or of the registry's client, must never be shown."""
    return bool(_SECRET_PROPERTY.search(name)) and not _HARMLESS_PROPERTY.fullmatch(name)


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError([f"{file}: no such file; name the configuration with --config FILE"]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"{file}: cannot be read: {reason_of(error)}"]) from None


def _syntax_problem(file: Path, text: str, error: tomllib.TOMLDecodeError) -> str:
    """tomllib says where at the end of its message; a key given twice would be quoted, and it is no secret."""
    message = str(error)
    at = re.search(r" \(at (?:line ([0-9]+), column ([0-9]+)|end of document)\)$", message)
    line = int(at[1]) if at and at[1] else max(1, len(text.splitlines()))
    column = f", column {at[2]}" if at and at[2] else ""
    what = message[: at.start()] if at else message
    return f"{file}:{line}: not valid TOML{column}: {what[:1].lower()}{what[1:]}"


def _override(tree: dict[str, Any], override: str, findings: Findings) -> None:
    path, equals, written = override.partition("=")
    steps = [int(index) if index else name for name, index in _STEP.findall(path.strip())]
    if not equals or not steps:
        findings.add("", f'override "{path}": write it as path=value, such as status.listen=127.0.0.1:0')
        return
    try:
        value = tomllib.loads(f"value = {written}")["value"]
    except tomllib.TOMLDecodeError:
        value = written
    place: Any = tree
    try:
        for step, following in pairwise(steps):
            place = place.setdefault(step, {}) if isinstance(step, str) and isinstance(following, str) else place[step]
        place[steps[-1]] = value
    except (KeyError, IndexError, TypeError, AttributeError):
        findings.add("", f'override "{path}": there is no such place in the file')


def _substituted(value: Any, variables: Mapping[str, str], path: str, findings: Findings) -> Any:
    if isinstance(value, dict):
        return {
            key: _substituted(inner, variables, f"{path}.{key}".lstrip("."), findings) for key, inner in value.items()
        }
    if isinstance(value, list):
        return [_substituted(inner, variables, f"{path}[{index}]", findings) for index, inner in enumerate(value)]
    if not isinstance(value, str) or "$" not in value:
        return value
    problems: list[str] = []
    expanded = expand(value, variables, problems)
    for problem in problems:
        findings.add(path, problem)
    return Substituted(expanded, value)


def _with_ddl_paths(config: Config, folder: Path, findings: Findings) -> Config:
    """`config` with each table's `ddl` as an absolute path of a file that can be read."""
    pipelines = []
    for index, pipeline in enumerate(config.pipeline):
        if pipeline.table is not None and pipeline.table.ddl is not None:
            file = (folder / pipeline.table.ddl.replace("{store}", _dialect(config))).resolve()
            try:
                file.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError, ValueError) as error:
                reason = reason_of(error) if isinstance(error, OSError | UnicodeDecodeError) else "not a path"
                findings.add(f"pipeline[{index}].table.ddl", f"cannot be read: {reason}; it is relative to {folder}")
            table = msgspec.structs.replace(pipeline.table, ddl=str(file))
            pipeline = msgspec.structs.replace(pipeline, table=table)
        pipelines.append(pipeline)
    return msgspec.structs.replace(config, pipeline=tuple(pipelines))


def _with_batch_rows(config: Config, tree: dict[str, Any]) -> Config:
    """`config` with larger batches for SQLite, where the file does not say how large.

    A transaction writes each page of the key's index that it touches once: with random keys 112,000 rows/s in batches
    of 25,000 rows, 139,000 of 50,000, 150,000 of 100,000.
    """
    if _dialect(config) != "sqlite":
        return config
    pipelines = [
        pipeline
        if "max_rows" in given.get("batch", {})
        else msgspec.structs.replace(
            pipeline, batch=msgspec.structs.replace(pipeline.batch, max_rows=SQLITE_BATCH_ROWS)
        )
        for pipeline, given in zip(config.pipeline, tree["pipeline"], strict=True)
    ]
    return msgspec.structs.replace(config, pipeline=tuple(pipelines))


def _dialect(config: Config) -> str:
    """What stands for "{store}" in the name of a file of SQL."""
    return "sqlite" if config.store is not None and _revealed(config.store.url)[:7] == "sqlite:" else "postgresql"


def _placed(findings: Findings, file: Path, text: str) -> list[str]:
    """Each problem with file, line and path, in the order of the file."""
    lines = line_numbers(text)
    placed = []
    for path, message in dict.fromkeys(findings.found):
        line = line_of(lines, path)
        where = f"{file}:{line}" if line else f"{file}"
        placed.append((line or 0, f"{where}: {path}: {message}" if path else f"{where}: {message}"))
    return [problem for _, problem in sorted(placed, key=lambda entry: entry[0])]


def _secrets(config: Config) -> Iterator[str]:
    if config.store is not None:
        yield from _url_secrets(_revealed(config.store.url))
    if config.status is not None and config.status.token:
        yield _revealed(config.status.token)
    if config.kafka is not None:
        yield from _property_secrets(config.kafka.properties)
    if config.schema_registry is not None:
        for address in _revealed(config.schema_registry.url).split(","):
            yield from _url_secrets(address)
        yield from _property_secrets(config.schema_registry.properties)


def _property_secrets(properties: Mapping[str, str | int | float | bool]) -> Iterator[str]:
    for name, value in properties.items():
        if is_secret_property(name) and isinstance(value, str) and value.lower() not in ("", "true", "false"):
            yield value
            if name == "basic.auth.user.info" and (password := value.partition(":")[2]):
                yield password


def _url_secrets(url: str) -> Iterator[str]:
    """Passwords of a URL, also of one that is not well formed: from the first ":" of the user to the last "@"."""
    after = url.partition("://")[2]
    user, at, rest = after.rpartition("@")
    password = user.partition(":")[2] if at else ""
    query = (rest if at else after).partition("?")[2]
    found = [password, unquote(password)]
    found += [value for name, value in parse_qsl(query) if _SECRET_PARAMETER.search(name)]
    yield from (secret for secret in found if secret)


def _revealed(text: str) -> str:
    return str.__str__(text)


@lru_cache(maxsize=4)
def _patterns(secrets: frozenset[str]) -> list[re.Pattern[str]]:
    """Longest first; kept, because every text of every log line is searched."""
    return [_in_any_spelling(secret) for secret in sorted(secrets, key=len, reverse=True)]


def _in_any_spelling(secret: str) -> re.Pattern[str]:
    """A pattern for the secret as it is, quoted as by repr(), JSON, libpq and SQL, and percent-encoded in any part.

    At every place at most one alternative of a character can match: with more, a text that begins like the secret
    would take exponential time. One of up to three characters is no secret, and is masked only where it stands alone:
    else no word would be left.
    """
    quoted = {secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1]}
    quoted |= {re.sub(r"([\\'])", r"\\\1", secret), secret.replace("'", "''")}
    spellings = [re.escape(spelling) for spelling in sorted(quoted, key=len, reverse=True)]
    pattern = f"(?:{'|'.join(spellings)}|{''.join(map(_raw_or_percent, secret))})"
    return re.compile(pattern if len(secret) > 3 else rf"(?<!\w){pattern}(?!\w)")


def _raw_or_percent(character: str) -> str:
    percent = "".join(f"%{byte:02x}" for byte in character.encode("utf-8", "surrogatepass"))
    return f"(?i:{percent})" if character == "%" else f"(?:{re.escape(character)}|(?i:{percent}))"


def _without_secrets(text: str, config: Config) -> str:
    for pattern in _patterns(frozenset(_secrets(config))):
        text = pattern.sub(MASK, text)
    return text
