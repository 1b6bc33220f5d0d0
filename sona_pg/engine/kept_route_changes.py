"""Changes of routes, found once for all pages: with hundreds of routes and a year of days that takes seconds."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import date
from typing import NamedTuple

from sona_pg.domain.level_change import FactsRevision, RouteChange
from sona_pg.engine.level_changes import days_back
from sona_pg.engine.session import Session
from sona_pg.engine.shared_finds import SharedFinds
from sona_pg.serving.recently_used import RecentlyUsed

KEPT = 8  # periods
MOST_DAYS = 366  # that are looked at
QUICK = 0.2  # seconds of finding them up to which they are found again after each new fact
PAUSES = 10  # durations of finding them before they are found again: with facts coming in, a tenth of one core at most
LONGEST = 60.0  # seconds of such a pause
IN_BACKGROUND = 600.0  # seconds that finding them may take; nobody waits that long, but who asks again has the answer


class _Kept(NamedTuple):
    changes: Sequence[RouteChange]
    revision: FactsRevision  # of the facts, or an earlier one
    began: float  # monotonic seconds
    took: float  # seconds

    def stands(self, now: FactsRevision) -> bool:
        """Whether nothing is different now but, of what took long to find, some new facts."""
        if now == self.revision:
            return True
        if now.removed != self.revision.removed or now.day != self.revision.day or self.took <= QUICK:
            return False
        return time.monotonic() - self.began - self.took < min(PAUSES * self.took, LONGEST)


class KeptRouteChanges:
    """Finds the changes of a space's routes, and keeps those of the periods asked for last."""

    def __init__(self) -> None:
        """Start with none."""
        self._kept: RecentlyUsed[int, _Kept] = RecentlyUsed(KEPT)
        self._finds: SharedFinds[_Kept] = SharedFinds()

    def within(self, session: Session, days: float, until: date | None = None) -> Sequence[RouteChange]:
        """Return the routes whose own quality changed in the last ``days``, those that changed most ratings first.

        Of spaces in which finding them takes long, facts of the last minute may be missing; what an erasure has
        removed is never in them.
        """
        asked = min(days_back(days, until), MOST_DAYS)
        now = session.pages.overview.facts_revision(session.space)
        known = self._kept.get(asked)
        if known is None or not known.stands(now):
            threads = session.runtime.finds
            known = self._finds.find(
                session.space.space_id, (asked, now.removed, now.day), lambda: self._find(session, asked), threads
            )
        return [one for one in known.changes if until is None or one.changed_on <= until]

    def _find(self, session: Session, days: int) -> _Kept:
        began = time.monotonic()
        revision, changes = session.pages.overview.route_changes(session.space, days, IN_BACKGROUND)
        found = _Kept(changes, revision, began, time.monotonic() - began)
        self._kept.put(days, found)
        return found
