"""Order of due spaces in a learner: newest need first, so that active spaces stay fresh under load; none starves."""

from __future__ import annotations

from collections.abc import Sequence

from sona_pg.worker.coordinator import LoopCoordinator

OVERDUE = 30.0  # seconds after which a due space precedes newer ones


def turns(due: Sequence[LoopCoordinator], now: float) -> list[LoopCoordinator]:
    """Return the due spaces in the order of their cycles.

    Those overdue come first, longest due first. Of the others, spaces that catch up with a backlog come last; several
    learners share the rest by preferring the spaces in which they learned last, which are still in their caches.
    """

    def place(coordinator: LoopCoordinator) -> tuple[bool, bool, bool, float]:
        since = now if coordinator.due_since is None else coordinator.due_since
        if now - since > OVERDUE:
            return False, False, False, since
        return True, coordinator.catching_up, not coordinator.learned_here, -since

    return sorted(due, key=place)
