"""Breaks a real connection at a chosen point: before or after any statement and COMMIT. Knows no store's protocol."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Died(BaseException):
    """The process is gone: no handler of the code may go on."""


class Fault:
    """Fires once, at the nth point that it counts."""

    def __init__(self, kind: str, n: int, only_commit: bool):
        """`kind`: die, lose (the connection breaks, or the disk is full), odd (an error that nobody knows), steal."""
        self.kind = kind
        self.left = n
        self.only_commit = only_commit


class Faults:
    """The fault that waits for a worker's connections, and the count of those that fired."""

    def __init__(self, lose: Callable[[Any], Exception], odd: Callable[[Any], None], fired: Counter[str]):
        """`lose(connection)` breaks it and gives the driver's error; `odd(connection)` raises one."""
        self._lose = lose
        self._odd = odd
        self._fired = fired
        self.waiting: Fault | None = None
        self.steal: Callable[[], None] = lambda: None
        self.odd_fired = 0

    def point(self, connection: Any, commit: bool, after: bool) -> None:
        """Before (or `after`) a statement. Raises: what the waiting fault says."""
        fault = self.waiting
        if fault is None or (fault.only_commit and not commit):
            return
        fault.left -= 1
        if fault.left >= 0 or (fault.kind in ("odd", "steal") and (after or commit)):
            return
        self.waiting = None
        self._fired[f"{fault.kind} {'after' if after else 'before'} {'COMMIT' if commit else 'a statement'}"] += 1
        if fault.kind == "die":
            raise Died
        if fault.kind == "lose":
            raise self._lose(connection)
        if fault.kind == "odd":
            self.odd_fired += 1
            self._odd(connection)
        self.steal()


class Line:
    """A connection whose every statement is a point; everything else is the real one's."""

    def __init__(self, real: Any, faults: Faults):
        self.real = real
        self.faults = faults

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("real", "faults"):
            object.__setattr__(self, name, value)
        else:
            setattr(self.real, name, value)

    def cursor(self) -> "LineCursor":
        return LineCursor(self.real.cursor(), self)

    def execute(self, statement: Any, *values: Any, **options: Any) -> "LineCursor":
        return self.cursor().execute(statement, *values, **options)

    def commit(self) -> None:
        self.faults.point(self.real, commit=True, after=False)
        self.real.commit()
        self.faults.point(self.real, commit=True, after=True)


class LineCursor:
    """A cursor of a `Line`."""

    def __init__(self, real: Any, line: Line):
        self.real = real
        self.line = line

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def __enter__(self) -> "LineCursor":
        return self

    def __exit__(self, *_: object) -> None:
        self.real.close()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.real)

    def execute(self, statement: Any, *values: Any, **options: Any) -> "LineCursor":
        commit = statement == "COMMIT"
        self.line.faults.point(self.line.real, commit, after=False)
        self.real.execute(statement, *values, **options)
        self.line.faults.point(self.line.real, commit, after=True)
        return self

    @contextmanager
    def copy(self, statement: Any) -> Iterator[Any]:
        self.line.faults.point(self.line.real, commit=False, after=False)
        with self.real.copy(statement) as copying:
            yield copying
        self.line.faults.point(self.line.real, commit=False, after=True)
