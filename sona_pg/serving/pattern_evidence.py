"""Recent evidence in patterns: the qualities that judged queries give to the patterns they are nearest to."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from sona_pg.domain.pattern import LearnedPattern
from sona_pg.learning.patterns.tally import Sums, Tally, add
from sona_pg.learning.vectors import unit
from sona_pg.serving.judged_queries import Judgement
from sona_pg.serving.recent_evidence import RecentEvidence
from sona_pg.serving.served_version import ServedVersion
from sona_pg.serving.uptake import Uptake

LEAST_SIMILARITY = 0.5  # cosine: a query farther from every pattern may become one of its own


class PatternEvidence:
    """Recent evidence of one space, as its patterns weigh it. Safe from many threads."""

    def __init__(self, evidence: RecentEvidence, dim: int) -> None:
        """Weigh ``evidence``."""
        self.weighed_for: ServedVersion | None = None
        self._news = evidence.news
        self._evidence = evidence
        self._dim = dim
        self._uptake = Uptake()
        self._serving: ServedVersion | None = None
        self._weighed: ServedVersion | None = None  # the same with the evidence
        self._learned: list[Judgement] = []
        self._nearest: dict[bytes, int] = {}  # row of the pattern of each judged query, -1 for none
        evidence.tell(self)

    def of(self, serving: ServedVersion) -> ServedVersion:
        """Return a version whose patterns have what counts beside it now."""
        if self.weighed_for is serving and not self._news:
            return self._weighed or serving
        if serving.block is None or (self._serving is serving and not self._uptake.is_due()):
            return (self._weighed if self._serving is serving else None) or serving
        with self._evidence.lock, self._uptake:
            self._weigh(serving, [one for one in self._evidence.waiting(serving) if one.quality is not None])
            self.weighed_for = serving
            return self._weighed or serving

    def _weigh(self, serving: ServedVersion, judged: list[Judgement]) -> None:
        if self._serving is not serving:
            self._serving, self._nearest, self._learned, self._weighed = serving, {}, [], None
        if judged == self._learned:
            return
        self._learned = judged
        self._find(serving.patterns, [one.trajectory for one in judged if one.trajectory not in self._nearest])
        tallies: dict[int, Tally] = defaultdict(Tally)
        for one in judged:
            row = self._nearest[one.trajectory]
            if row >= 0:
                _count(tallies[row], one)
        patterns = list(serving.patterns)
        for row, tally in tallies.items():
            patterns[row] = add(patterns[row], tally)
        self._weighed = dataclasses.replace(serving, patterns=tuple(patterns), passing={}) if tallies else None
        self._nearest = {one.trajectory: self._nearest[one.trajectory] for one in judged}

    def _find(self, patterns: Sequence[LearnedPattern], trajectories: Sequence[bytes]) -> None:
        """Note the nearest pattern of each."""
        if not trajectories:
            return
        centroids = np.stack([pattern.centroid for pattern in patterns])
        queries = np.array([self._evidence.query(name).query for name in trajectories], np.float32)
        for name, query in zip(trajectories, unit(queries.reshape(len(trajectories), self._dim)), strict=True):
            similar = centroids @ query  # one by one: the last bits of a product depend on how many rows it has
            best = int(similar.argmax())
            self._nearest[name] = best if similar[best] >= LEAST_SIMILARITY else -1


def _count(tally: Tally, judged: Judgement) -> None:
    """Count a judged query; of one that the version has learned, the change of its quality."""
    parts = [tally.all]
    if judged.route is not None:
        parts.append(tally.routes.setdefault(judged.route, Sums()))
    for sums in parts:
        if judged.before is None:
            sums.count(judged.quality or 0.0, None, 1.0)
        else:
            sums.total += (judged.quality or 0.0) - judged.before
