"""The value types of options: sizes, durations, secrets. Knows no option."""

from msgspec import Struct


class Bytes(int):
    """A size: an integer of bytes, or text such as "16MiB", "512kB"."""


class Secs(float):
    """A duration: seconds, or text such as "50ms", "2s", "5m", "1h"."""


class Secret(str):
    """Text that never appears in a log, a page or an error: str(), repr() and f-strings give "***".

    Where it must be sent, pass it whole (a driver reads the text itself) or use `reveal()`.
    """

    def __new__(cls, text: str) -> "Secret":
        # str() of a Secret is "***": made of another one, as structs.replace does, it would lose its text.
        return super().__new__(cls, text.reveal() if isinstance(text, Secret) else text)

    def __repr__(self) -> str:
        return "'***'"

    def __str__(self) -> str:
        return "***"

    def reveal(self) -> str:
        """The text itself, for the one place that sends it."""
        return super().__str__()


class Properties(dict[str, str | int | float | bool]):
    """librdkafka properties by name; its repr shows the names only, since any value may be a secret."""

    def __repr__(self) -> str:
        return "{" + ", ".join(f"{name!r}: '***'" for name in self) + "}"

    __str__ = __repr__


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass
