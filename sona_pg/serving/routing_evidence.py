"""Recent evidence in routing decisions: the router of a version with the decisions that were judged since."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sona_pg.learning.routing.learned_router import Router
from sona_pg.learning.routing.recent_routing import RecentRouting
from sona_pg.learning.routing.router_events import RouteEvents
from sona_pg.learning.vectors import unit
from sona_pg.serving.judged_queries import Judgement
from sona_pg.serving.recent_evidence import RecentEvidence
from sona_pg.serving.served_version import ServedVersion
from sona_pg.serving.uptake import Uptake

MOST_DECISIONS = 256  # judged ones, the latest


class RoutingEvidence:
    """Recent evidence of one space, as its routing decisions weigh it. Safe from many threads."""

    def __init__(self, evidence: RecentEvidence, dim: int) -> None:
        """Weigh ``evidence``."""
        self.weighed_for: ServedVersion | None = None
        self._news = evidence.news
        self._evidence = evidence
        self._dim = dim
        self._uptake = Uptake()
        self._serving: ServedVersion | None = None  # whose router is moved
        self._recent: RecentRouting | None = None
        self._learned: list[Judgement] = []
        self._router: Router | None = None
        evidence.tell(self)

    def router(self, serving: ServedVersion) -> Router:
        """Return the router of a version with what counts beside it now."""
        if self.weighed_for is serving and not self._news:
            return self._router or serving.router
        if self._serving is serving and not self._uptake.is_due():
            return self._router or serving.router
        with self._evidence.lock, self._uptake:
            waiting = self._evidence.waiting(serving)
            judged = [
                one for one in waiting if one.quality is not None and self._evidence.query(one.trajectory).decided
            ]
            self._weigh(serving, judged[-MOST_DECISIONS:])
            self.weighed_for = serving
            return self._router or serving.router

    def _weigh(self, serving: ServedVersion, judged: list[Judgement]) -> None:
        if self._serving is not serving:
            self._serving, self._recent, self._learned, self._router = serving, None, [], None
        if judged == self._learned:
            return
        self._learned = judged
        if not judged:
            self._router = None
            return
        self._recent = self._recent or RecentRouting(serving.router)
        names = sorted({one.route or "" for one in judged})
        before = np.array([np.nan if one.before is None else one.before for one in judged], np.float32)
        self._router = self._recent.weighed(names, self._events(judged, names, serving.router.width), before)

    def _events(self, judged: Sequence[Judgement], names: Sequence[str], width: int) -> RouteEvents:
        queries = [self._evidence.query(one.trajectory) for one in judged]
        return RouteEvents(
            query=unit(np.array([query.query for query in queries], np.float32).reshape(len(judged), self._dim)),
            route=np.array([names.index(one.route or "") for one in judged], np.int32),
            quality=np.array([one.quality for one in judged], np.float32),
            features=_of_width([query.features for query in queries], width),
        )


def _of_width(rows: Sequence[NDArray[np.float32] | None], width: int) -> NDArray[np.float32] | None:
    """Return (n, width) features; those of another number are unknown."""
    if not width:
        return None
    unknown = np.full(width, np.nan, np.float32)
    return np.array([row if row is not None and len(row) == width else unknown for row in rows], np.float32)
