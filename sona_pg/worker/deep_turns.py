"""Turns of loop C in a learner of many spaces: a look at all of them now and then, and a part of a cycle at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sona_pg.store.database import Database
from sona_pg.store.roll_call import SpaceIds
from sona_pg.worker.coordinator import LoopCoordinator

FIRST_LOOK = 60.0  # seconds after the learner began
LOOK_EVERY = 600.0  # seconds between looks at most; less if a space dreams more often
PART = 20.0  # seconds of one part of a cycle: between parts the learner looks for cycles of loop B


class DeepTurns:
    """Finds due cycles of loop C. They run in parts: a long one delays loop B of no space by more than a part."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        """Prepare; ``clock`` times the looks, the database's clock decides what is due."""
        self._database = database
        self._clock = clock
        self._next_look = clock() + FIRST_LOOK

    def hurry(self) -> None:
        """Look at all spaces with the next call."""
        self._next_look = self._clock()

    def due(
        self, by_space: Mapping[int, Sequence[LoopCoordinator]], ids: SpaceIds
    ) -> list[tuple[LoopCoordinator, int]]:
        """Return the coordinators of due spaces with their live versions, longest due first; none between looks.

        Raises:
            DatabaseUnavailable: Postgres is away.
        """
        if not ids.ids or self._clock() < self._next_look:
            return []
        found = self._database.deep_schedules(ids)
        known = {space: by_space[space][0] for space in found if by_space.get(space)}
        due = [space for space, coordinator in known.items() if coordinator.is_deep_due(found[space])]
        shortest = min((coordinator.deep_interval for coordinator in known.values()), default=LOOK_EVERY)
        self._next_look = self._clock() + min(LOOK_EVERY, shortest / 10)
        due.sort(key=lambda space: found[space].elapsed, reverse=True)
        return [(known[space], found[space].live_version) for space in due]
