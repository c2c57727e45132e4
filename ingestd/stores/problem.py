"""What is wrong with a table of the store, and the DDL that mends it. Knows no database."""

from msgspec import Struct


class Problem(Struct, frozen=True):
    """One misfit, or one thing worth knowing."""

    message: str
    """What is wrong and what would be right, one line."""
    ddl: str
    """The statement that mends it; "" when there is none."""
