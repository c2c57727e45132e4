"""Made-up records in front of their contract: what breaks it is not sent. Knows nothing of Kafka."""

from collections import Counter
from pathlib import Path

from bench.hostile import Message, Messages
from bench.problem import Problem
from ingestd.contract import Contract
from ingestd.contract import Problem as Broken

GIVE_UP_RECORDS = 10_000
EXAMPLES = Path(__file__).parent.parent / "examples"


def contract_of(profile: str, config: Path | None) -> Contract:
    """The contract of the profile's pipeline, in the configuration of that name unless `config` names another."""
    return Contract.load(config or EXAMPLES / profile / "ingestd.toml", None if config else profile)


class Checked:
    """Messages of which every one keeps the contract; `refused` counts what was held back, by field and rule."""

    def __init__(self, messages: Messages, contract: Contract):
        self._messages = messages
        self._contract = contract
        self.refused: Counter[Broken] = Counter()

    def take(self, count: int) -> list[Message]:
        """The next `count` messages that keep the contract.

        Raises: Problem when 10,000 records in a row break it: none of this kind can be sent.
        """
        kept: list[Message] = []
        in_a_row = 0
        while len(kept) < count:
            made = self._messages.take(count - len(kept))
            broken = self._contract.check_many([value for _, value in made], [key for key, _ in made])
            if not broken:
                return kept + made if kept else made
            self.refused.update(broken.values())
            in_a_row = in_a_row + len(made) if len(broken) == len(made) else 0
            if in_a_row >= GIVE_UP_RECORDS:
                raise Problem(_hopeless(broken[0]))
            kept += [message for at, message in enumerate(made) if at not in broken]
        return kept

    def line(self) -> str:
        """How many were held back, and why."""
        reasons = (f"{one.field or 'record'}: {one.reason} ({number:,})" for one, number in self.refused.most_common(5))
        return f"refused before sending {self.refused.total():,}: {'; '.join(reasons)}"


def _hopeless(first: Broken) -> str:
    return (
        f"{GIVE_UP_RECORDS:,} records in a row break the contract: {first.field or 'record'}: {first.reason}; mend the "
        "--users file, or the columns in the --contract file"
    )
