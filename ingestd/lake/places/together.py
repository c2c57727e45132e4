"""Several slow calls at once: uploads, copies and fsyncs wait for others. Knows nothing of what they do."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_WIDTH = 8


def together(call: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """What `call` gives for each item, in their order.

    Raises: what the first of them in this order raised, once all have ended.
    """
    given = list(items)
    if len(given) < 2:
        return [call(item) for item in given]
    with ThreadPoolExecutor(min(_WIDTH, len(given)), "lake") as pool:
        futures = [pool.submit(call, item) for item in given]
    return [future.result() for future in futures]
