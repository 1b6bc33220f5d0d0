"""Running parts of a learning step beside each other: compiled code computes without the interpreter's lock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol, TypeVar

Result = TypeVar("Result")


class Start(Protocol):
    """Starts a function; returns the function that gives its result, which is called once."""

    def __call__(self, function: Callable[[], Result], /) -> Callable[[], Result]: ...


@contextmanager
def beside(apart: bool = True) -> Iterator[Start]:
    """Start functions in a thread beside the block, one after the other; none runs on after the block.

    A function that the thread has not begun when its result is asked for runs in the caller. Unless ``apart`` all do.
    """
    if not apart:
        yield later
        return
    pool = ThreadPoolExecutor(1, "sona-pg learning")

    def start(function: Callable[[], Result], /) -> Callable[[], Result]:
        try:
            running = pool.submit(function)
        except RuntimeError:  # the interpreter ends, and starts no more threads
            return function
        return lambda: function() if running.cancel() else running.result()

    try:
        yield start
    finally:
        pool.shutdown(cancel_futures=True)


def later(function: Callable[[], Result], /) -> Callable[[], Result]:
    """Start nothing: ``function`` runs in the caller, when its result is asked for."""
    return function
