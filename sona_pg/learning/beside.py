"""Running a part of a learning step beside the others: compiled code computes without the interpreter's lock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Result = TypeVar("Result")


@contextmanager
def beside(function: Callable[[], Result], apart: bool = True) -> Iterator[Callable[[], Result]]:
    """Run ``function`` in a thread of its own; the block gets the function that waits for its result.

    At the end of the block it has ended in any case. Unless ``apart`` it runs here, when the result is asked for.
    """
    if not apart:
        yield function
        return
    with ThreadPoolExecutor(1, "sona-pg learning") as pool:
        try:
            running = pool.submit(function)
        except RuntimeError:  # the interpreter ends, and starts no more threads
            yield function
        else:
            yield running.result
