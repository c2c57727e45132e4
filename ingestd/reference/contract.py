"""The part of docs/api.md on `ingestd.contract`, rendered from its docstrings. Knows only those."""

import inspect

from ingestd.contract import Contract, InvalidRecord, Problem

EXAMPLE = """from confluent_kafka import Producer

from ingestd.contract import Contract, InvalidRecord

contract = Contract.load("ingestd.toml", pipeline="sales")
producer = Producer({"bootstrap.servers": "localhost:9092"})
record = {"id": "a-1", "ts": "2026-01-31T08:00:00Z", "store_id": "store-001", "amount_usd": "12.505", "channel": "web"}
try:
    producer.produce("sales", contract.encode(record))
except InvalidRecord as refused:
    print(refused.field, refused.reason)  # amount_usd too many digits for numeric(12,2)
"""

_HEAD = f"""
# Contracts for producers

`ingestd.contract` judges records before Kafka by the code that judges them behind it: decoder, types and rules are the
consumer's own. See [contracts.md](contracts.md) for the rules.

```python
{EXAMPLE}```
"""
_METHODS = ("load", "check", "check_many", "encode")


def render_contract() -> str:
    """The section, with the example."""
    parts = [_HEAD]
    for name in _METHODS:
        method = getattr(Contract, name)
        parts.append(f"\n## `Contract.{name}{_signature(method)}`\n\n{_words(method)}\n")
    for kind in (Problem, InvalidRecord):
        parts.append(f"\n## `{kind.__name__}`\n\n{_words(kind)}\n")
    return "".join(parts)


def _signature(method: object) -> str:
    signature = inspect.signature(method)  # type: ignore[arg-type]
    shown = [parameter for name, parameter in signature.parameters.items() if name != "self"]
    return str(signature.replace(parameters=shown))


def _words(documented: object) -> str:
    return inspect.getdoc(documented) or ""
