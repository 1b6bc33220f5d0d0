"""Batch numbers: unique without coordination, and independent of the application's ``random``."""

from __future__ import annotations

import os

LAST = 2**63 - 1


class BatchNumbers:
    """Numbers of a writer's transactions: counts up from 63 bits of the operating system.

    A writer never repeats itself. Two writers of a space collide once in about 10^11 years; the marker row names the
    owner of a number, and ``restart`` moves the later writer elsewhere.
    """

    def __init__(self) -> None:
        """Start at a random number."""
        self._last = random_start()

    def next(self) -> int:
        """Return a number that this writer has not given out."""
        self._last = (self._last + 1) & LAST
        return self._last

    def restart(self) -> None:
        """Continue from another random number: the next ones here belong to another server."""
        self._last = random_start()


def random_start() -> int:
    """Return 63 random bits of the operating system."""
    return int.from_bytes(os.urandom(8), "big") >> 1
