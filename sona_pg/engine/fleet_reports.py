"""Reports of a process to the store, of all its spaces in one statement: uses of patterns, and spending."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from sona_pg.domain.budget import FleetSpending, ServerSpending
from sona_pg.domain.pattern import PatternUse
from sona_pg.engine.followed_space import FollowedSpace
from sona_pg.errors import DatabaseError

log = logging.getLogger(__name__)

Share = Callable[[Sequence[ServerSpending], datetime], Mapping[UUID, FleetSpending]]
Count = Callable[[Mapping[int, Mapping[UUID, int]]], Mapping[int, Mapping[UUID, PatternUse]]]


class FleetReports:
    """Sends what was counted here, and tells each space what all servers have counted."""

    def __init__(self, count: Count | None, share: Share | None) -> None:
        """Report by ``count`` and ``share``; see ``Follower``."""
        self._count = count
        self._share = share

    def count_found(self, spaces: Sequence[FollowedSpace]) -> None:
        """Send how often patterns were found."""
        count = self._count
        if count is None:
            return
        taken = [(followed, found) for followed in spaces if (found := followed.accesses.take())]
        if not taken:
            return
        summed: dict[int, Counter[UUID]] = {}
        for followed, found in taken:  # several engines may have one space
            summed.setdefault(followed.space_id or 0, Counter()).update(found)
        try:
            uses = count(summed)
        except DatabaseError as exc:
            log.debug("accesses of patterns are sent with a later heartbeat: %s", exc)
            for followed, found in taken:
                followed.accesses.give_back(found)
            return
        for followed, _ in taken:
            followed.accesses.note_uses(uses[followed.space_id or 0])

    def share_spending(self, spaces: Sequence[FollowedSpace], at: datetime) -> None:
        """Report what was spent under the budgets of spaces, and tell each what others have."""
        told = {each.server_id: (space, each) for space in spaces if (each := space.spending.due()) is not None}
        if told and self._share is not None:
            for server_id, others in self._share([each for _, each in told.values()], at).items():
                told[server_id][0].spending.hear(others)
