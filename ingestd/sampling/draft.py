"""A configuration written from a sample: TOML that loads, with what was seen as comments. Knows no Kafka."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from ingestd.config import options as cfg
from ingestd.decode.decoder import make_decoder
from ingestd.errors import ConfigError
from ingestd.sampling.fields import fields_of
from ingestd.sampling.infer import Contract, Guess, LeftOut, demote, infer
from ingestd.sampling.read import Sample, as_chunk


class Draft(msgspec.Struct, kw_only=True):
    """What is needed to write the file."""

    name: str
    topic: str
    bootstrap_servers: str
    store: str
    contract: Contract
    samples: Sequence[Sample]
    records: int
    unreadable: int
    refused: int
    """Records of the sample that these columns would still refuse, besides the unreadable ones."""


def draft_of(name: str, topic: str, bootstrap_servers: str, store: str, samples: Sequence[Sample]) -> Draft:
    """A draft whose columns take every record of the sample that any columns could take.

    Raises: ConfigError when no record is a JSON object with a usable field.
    """
    fields = fields_of(record for sample in samples for record in sample.records)
    contract = infer(fields)
    if not contract.columns:
        seen = sum(len(sample.records) for sample in samples)
        raise ConfigError(
            [f"topic {topic}: of {seen} records none is a JSON object with a field; write the file by hand"]
        )
    refused = _fit(contract, samples)
    return Draft(
        name=name,
        topic=topic,
        bootstrap_servers=bootstrap_servers,
        store=store,
        contract=contract,
        samples=samples,
        records=fields.records,
        unreadable=fields.unreadable,
        refused=max(0, refused - fields.unreadable),
    )


def _fit(contract: Contract, samples: Sequence[Sample]) -> int:
    """Widen columns until the pipeline's own decoder takes the sample; how many records it still refuses."""
    chunk = as_chunk(list(samples))
    while True:
        dead = make_decoder(_pipeline(contract))(chunk).dead
        blamed = {letter.column for letter in dead}
        if not any([demote(guess) for guess in contract.columns if guess.name in blamed]):
            return len(dead)


def _pipeline(contract: Contract) -> cfg.Pipeline:
    columns = [_declared(guess) for guess in contract.columns]
    table = {"name": "t", "mode": "append"}
    return msgspec.convert({"name": "p", "topic": "t", "column": columns, "table": table}, cfg.Pipeline)


def _declared(guess: Guess) -> dict[str, Any]:
    written: dict[str, Any] = {"name": guess.name}
    if guess.path is not None:
        written["path"] = guess.path
    written["type"] = guess.type
    if guess.epoch:
        written["epoch"] = guess.epoch
    if guess.required:
        written["required"] = True
    return written


def as_toml(draft: Draft) -> str:
    """The file's text."""
    contract = draft.contract
    table = "".join(c if c.isalnum() and c.isascii() else "_" for c in draft.topic.lower())[:63]
    lines = [
        f"# Written by `ingestd init` from {draft.records} records of topic {draft.topic}.",
        "# Types and `required` are what the sample showed: read them before you rely on them.",
        *(f"# {line}" for line in _seen(draft)),
        "",
        "[kafka]",
        f"bootstrap_servers = {_quoted(draft.bootstrap_servers)}",
        f"group_id = {_quoted(f'ingestd-{draft.name}')}",
        "",
        "[store]",
        f"url = {_quoted(draft.store, keep_variables=True)}",
        "",
        "[[pipeline]]",
        f"name = {_quoted(draft.name)}",
        f"topic = {_quoted(draft.topic)}",
        'format = "json"',
        "column = [",
        *(f"  {_column(guess)},  # {guess.note}" for guess in contract.columns),
        "]",
        *(_left_out(one) for one in contract.left_out),
        "",
        "[pipeline.table]",
        f"name = {_quoted(table)}",
    ]
    if contract.key:
        lines += [
            f"# {contract.key} is unique in the sample. insert: a repeated key is a duplicate; see also upsert.",
            'mode = "insert"',
            f"key = [{_quoted(contract.key)}]",
        ]
    else:
        lines += [
            "# No field is a candidate for a key: every record becomes a row, also when it comes twice.",
            'mode = "append"',
        ]
    return "\n".join([*lines, "create = true", ""])


def _seen(draft: Draft) -> list[str]:
    total = sum(sample.log_end - sample.log_start for sample in draft.samples)
    lines = [f"{len(draft.samples)} partitions, about {total} messages:"]
    for sample in draft.samples:
        read = f"{len(sample.records)} read" if sample.records else "none read"
        lines.append(f"  partition {sample.partition}: offsets {sample.log_start} to {sample.log_end}, {read}")
    if draft.unreadable:
        lines.append(f"{draft.unreadable} records are no JSON object: they would be dead letters.")
    if draft.refused:
        lines.append(
            f"{draft.refused} more records of the sample would be dead letters; `ingestd check --sample` says why."
        )
    return lines


def _column(guess: Guess) -> str:
    pairs = (
        f"{key} = {_quoted(value) if isinstance(value, str) else 'true'}" for key, value in _declared(guess).items()
    )
    return "{ " + ", ".join(pairs) + " }"


def _left_out(one: LeftOut) -> str:
    name = json.dumps(".".join(one.path))[:120]
    return f"# left out: {name}: {one.why}"


def _quoted(text: str, keep_variables: bool = False) -> str:
    """A TOML basic string; a dollar sign stands for itself unless variables are meant."""
    plain = text if keep_variables else text.replace("$", "$$")
    return json.dumps(plain, ensure_ascii=False).replace("\x7f", "\\u007f")
