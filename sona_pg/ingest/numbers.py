"""Batch numbers: unique without asking anybody, whatever the application does with ``random``."""

from __future__ import annotations

import os

LAST = 2**63 - 1


class BatchNumbers:
    """Numbers of a writer's transactions: counts up from 63 bits of the operating system.

    A writer never repeats itself. Two writers of a space may meet, once in about 10^11 years; the marker row says whose
    a number is, and ``restart`` lets the later one go elsewhere.
    """

    def __init__(self) -> None:
        """Start at a place of its own."""
        self._last = random_start()

    def next(self) -> int:
        """Return a number that this writer has not given out."""
        self._last = (self._last + 1) & LAST
        return self._last

    def restart(self) -> None:
        """Go on from another place: the numbers that come next here are another server's."""
        self._last = random_start()


def random_start() -> int:
    """Return 63 random bits of the operating system."""
    return int.from_bytes(os.urandom(8), "big") >> 1
