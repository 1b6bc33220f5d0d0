"""Order in which the spaces of a process are served."""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Protocol

CHORES_EVERY = 5.0  # seconds between checks whether an idle space has work other than records


class Served(Protocol):
    """One space, as the rotation sees it."""

    interval: float  # seconds a record may wait
    recorder: Any  # that ``with_records`` asks

    @property
    def ended(self) -> bool:
        """Whether it needs no turn any more."""

    @property
    def urgent(self) -> bool:
        """Whether it is served before others."""

    @property
    def goes_on(self) -> bool:
        """Whether it needs a turn before its interval is over."""

    def has_chores(self, now: float) -> bool:
        """Whether it needs a turn without new records."""


class _Group:
    """Spaces of one interval: the idle ones are checked together, once per interval."""

    __slots__ = ("due", "idle", "interval", "size")

    def __init__(self, interval: float, now: float) -> None:
        self.interval = interval
        self.due = now + interval
        self.idle: dict[Served, Any] = {}  # the recorder of each
        self.size = 0


class Rotation:
    """Scheduler of turns: urgent spaces first, but every other turn goes to one that is not urgent.

    Each class is first in, first out, and a served space goes to the back: no space waits for more than two turns of
    each busy one. An idle space costs one check per interval. One thread at a time calls it.
    """

    def __init__(self, with_records: Callable[[dict[Served, Any]], list[Served]]) -> None:
        """Start without spaces; ``with_records`` returns the recorders that have something to write."""
        self._with_records = with_records
        self._noted: set[Served] = set()
        self._chores_due = 0.0  # by the clock of ``now``
        self._groups: dict[float, _Group] = {}
        self._ready: OrderedDict[Served, None] = OrderedDict()
        self._urgent: OrderedDict[Served, None] = OrderedDict()
        self._sleeping: list[tuple[float, int, Served]] = []  # a heap of (time to resume, arrival number, space)
        self._known: set[Served] = set()
        self._count = 0
        self._favoured = False  # whether the last turn was given to one that is urgent

    def __len__(self) -> int:
        return len(self._known)

    def ask(self, space: Served, now: float) -> None:
        """Queue a space at once; an unknown space is added to the rotation."""
        if space not in self._known:
            if space.ended:
                return
            self._add(space, now)
        idle = self._groups[space.interval].idle
        if space in self._ready and space.urgent:
            del self._ready[space]
            self._urgent[space] = None
        elif space in idle and space.ended:
            self._forget(space)
        elif space in idle and space.goes_on:
            del idle[space]
            self._get_ready(space)

    def note(self, space: Served) -> None:
        """Queue a space at the end of its interval, even without new records."""
        if space in self._known:
            self._noted.add(space)

    def look(self, now: float) -> None:
        """Queue spaces whose pause is over, and idle ones that have work."""
        while self._sleeping and self._sleeping[0][0] <= now:
            self._get_ready(heapq.heappop(self._sleeping)[2])
        for group in self._groups.values():
            if now >= group.due:
                group.due = now + group.interval
                self._wake_up(group, self._with_records(group.idle))
                noted = [space for space in self._noted if space in group.idle]
                self._noted.difference_update(noted)  # keep those that are queued now
                self._wake_up(group, noted)
        if now >= self._chores_due:
            self._chores_due = now + CHORES_EVERY
            for group in self._groups.values():
                self._wake_up(group, [space for space in group.idle if space.has_chores(now)])

    def next(self) -> Served | None:
        """Return the next space; None: all are idle, paused or being served."""
        self._favoured = bool(self._urgent) and not (self._favoured and self._ready)
        queue = self._urgent if self._favoured else self._ready
        return queue.popitem(last=False)[0] if queue else None

    @property
    def has_next(self) -> bool:
        """Whether ``next`` would return one."""
        return bool(self._urgent or self._ready)

    def served(self, space: Served, pause: float | None, now: float) -> None:
        """Take a space back after its turn: it continues in ``pause`` seconds, or is idle (None)."""
        if space.ended:
            self._forget(space)
        elif pause:
            self._count += 1
            heapq.heappush(self._sleeping, (now + pause, self._count, space))
        elif pause is not None or space.goes_on:  # a caller may have begun to wait at this moment
            self._get_ready(space)
        else:
            self._groups[space.interval].idle[space] = space.recorder

    def until(self, now: float) -> float:
        """Return the seconds until ``look`` may find something."""
        due = [self._chores_due, *(group.due for group in self._groups.values())]
        if self._sleeping:
            due.append(self._sleeping[0][0])
        return max(0.0, min(due) - now)

    def _wake_up(self, group: _Group, spaces: list[Served]) -> None:
        for space in spaces:
            if group.idle.pop(space, None) is not None:
                self._get_ready(space)

    def _get_ready(self, space: Served) -> None:
        (self._urgent if space.urgent else self._ready)[space] = None

    def _add(self, space: Served, now: float) -> None:
        self._known.add(space)
        group = self._groups.get(space.interval)
        if group is None:
            group = self._groups[space.interval] = _Group(space.interval, now)
        group.size += 1
        group.idle[space] = space.recorder

    def _forget(self, space: Served) -> None:
        self._known.discard(space)
        self._noted.discard(space)
        group = self._groups[space.interval]
        group.idle.pop(space, None)
        group.size -= 1
        if group.size == 0:
            del self._groups[space.interval]
