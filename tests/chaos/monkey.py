"""Decides which fault comes when: rounds of all kinds in a random order, overlapping, with quiet between rounds."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from random import Random

import psycopg

from .faults import Fault

DOWN = {"crash", "restart"}  # of which one at a time can be made
LONGEST_PAUSE = 3.0  # seconds between two faults
QUIET = 4.0  # seconds between two rounds, in which everything works, at most


class Monkey:
    """Injects faults until a deadline, and repairs each of them."""

    def __init__(self, faults: dict[str, Fault], chance: Random, look: Callable[[], object]) -> None:
        """Prepare; ``look`` is called all the time, to notice processes that ended."""
        self.done: Counter[str] = Counter()
        self.missed: Counter[str] = Counter()  # could not begin: the server was away
        self._faults = faults
        self._chance = chance
        self._look = look
        self._active: dict[str, float] = {}  # when each is to end, monotonic seconds

    def run(self, seconds: float) -> None:
        """Make faults for ``seconds``, each kind once at least."""
        until = time.monotonic() + seconds
        longest = min(LONGEST_PAUSE, seconds / len(self._faults) / 2)
        while time.monotonic() < until:
            kinds = list(self._faults)
            self._chance.shuffle(kinds)
            for kind in kinds:
                if time.monotonic() < until or kind not in self.done + self.missed:
                    self._begin(kind)
                    self._wait(time.monotonic() + self._chance.uniform(0.0, longest))
            quiet = self._chance.uniform(0.0, QUIET)
            self._wait(min(until, max([*self._active.values(), time.monotonic()]) + quiet))
        self._active = dict.fromkeys(self._active, until)
        while self._active:
            self._wait(time.monotonic() + 0.1)

    def _begin(self, kind: str) -> None:
        if kind in self._active or (kind in DOWN and DOWN & self._active.keys()):
            return
        fault = self._faults[kind]
        self._active[kind] = time.monotonic() + self._chance.uniform(0.0, fault.longest)
        try:
            fault.begin(self._chance)
        except psycopg.OperationalError:
            self.missed[kind] += 1  # it may have begun: it is ended like any other
        else:
            self.done[kind] += 1

    def _wait(self, until: float) -> None:
        """Let time pass, ending faults that have lasted long enough."""
        while (now := time.monotonic()) < until:
            self._look()
            self._end(now)
            time.sleep(0.05)

    def _end(self, now: float) -> None:
        # The server first: it must be there for others to be put right.
        for kind in sorted(self._active, key=lambda kind: kind not in DOWN):
            if self._active[kind] > now:
                continue
            try:
                self._faults[kind].end()
            except psycopg.OperationalError:
                continue  # the server is away, or full: next time
            del self._active[kind]
