"""Answers of earlier versions: a version's ranker, router, adapter and patterns, prepared for single queries."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from sona_pg import kernels
from sona_pg.config import SonaConfig
from sona_pg.domain.overview_figures import AnswerThen, NearPattern, Scored
from sona_pg.domain.pattern import LearnedPattern
from sona_pg.domain.route_choice import NONE_SINCE, BestRoutes, RatingsSince, choose, rated_routes
from sona_pg.domain.state import LearnedState, LoraWeights
from sona_pg.domain.wording import title, wordings
from sona_pg.learning.knowledge import initial_state, ranker_of, router_of
from sona_pg.learning.ranking.ranker import RankerState
from sona_pg.learning.ranking.ranker_prepared import prepare
from sona_pg.learning.routing.learned_router import Router
from sona_pg.learning.routing.router_basis import SKETCH_WIDTH, reduce_width
from sona_pg.learning.vectors import unit

NONE_TOLD: Mapping[UUID, BestRoutes] = MappingProxyType({})
NONE_RATED_SINCE: Mapping[UUID, Mapping[str, RatingsSince]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, eq=False)
class Contenders:
    """Candidates that versions are asked to rank."""

    ids: Sequence[str]
    embeddings: NDArray[np.float16] | NDArray[np.float32]  # (m, dim)
    slots: NDArray[np.int32]  # (m,)


@dataclass(frozen=True, slots=True, eq=False)
class PastVersion:
    """What a version answers with."""

    version: int
    micro: LoraWeights
    ranker: RankerState
    router: Router
    patterns: tuple[LearnedPattern, ...]
    block: kernels.CentroidBlock | None

    @classmethod
    def of(
        cls, version: int, state: LearnedState | None, patterns: Sequence[LearnedPattern], dim: int, config: SonaConfig
    ) -> PastVersion:
        """Prepare a version; without a state, the one before anything was learned."""
        state = state or initial_state(dim, config)
        block = None
        if patterns:
            block = kernels.CentroidBlock(np.ascontiguousarray(np.stack([pattern.centroid for pattern in patterns])))
        return cls(version, state.micro, ranker_of(state), router_of(state, config), tuple(patterns), block)

    def answer(self, x: NDArray[np.float32], among: Contenders, k: int) -> AnswerThen:
        """Return the best ``k`` of the candidates and of the routes, and the nearest patterns, for ``x`` (dim,)."""
        return AnswerThen(
            self.version,
            self._ranking(x, among, k),
            self._routes(x, k),
            near_patterns(self._near(x)),
            turned(self.micro, x),
        )

    def _ranking(self, x: NDArray[np.float32], among: Contenders, k: int) -> list[Scored]:
        if not len(among.ids):
            return []
        scores = prepare(self.ranker, among.embeddings, among.slots).score(x[None, :])[0]
        best = np.argsort(-scores, kind="stable")[:k]
        return [Scored(among.ids[place], float(scores[place])) for place in best.tolist()]

    def _routes(self, x: NDArray[np.float32], k: int) -> list[Scored]:
        names = self.router.names
        if not names:
            return []
        row = x[None, :]
        narrow = reduce_width(row) if self.router.state.dim > SKETCH_WIDTH else unit(row)
        expected = self.router.state.predict(narrow, None, self.router.known(names))[0]
        best = np.argsort(-expected, kind="stable")[:k]
        return [Scored(names[place], float(np.clip(expected[place], 0.0, 1.0))) for place in best.tolist()]

    def _near(self, x: NDArray[np.float32]) -> list[LearnedPattern]:
        found = None if self.block is None else self.block.nearest(unit(x[None, :])[0], 3, self.patterns)
        return [] if found is None else [one.found(near) for one, near in zip(*found, strict=True)]


def turned(micro: LoraWeights, x: NDArray[np.float32]) -> float:
    """Return the angle in degrees between ``x`` (dim,) and what the adapter makes of it."""
    moved = x + micro.scale * (micro.a @ x) @ micro.b
    lengths = float(np.linalg.norm(x)) * float(np.linalg.norm(moved))
    cosine = float(x @ moved) / lengths if lengths > 0 else 1.0
    return math.degrees(math.acos(min(max(cosine, -1.0), 1.0)))


def near_patterns(
    found: Sequence[LearnedPattern],
    told: Mapping[UUID, BestRoutes] = NONE_TOLD,
    since: Mapping[UUID, Mapping[str, RatingsSince]] = NONE_RATED_SINCE,
) -> list[NearPattern]:
    """Return patterns that were found for a query, as an answer names them.

    Args:
        found: the patterns.
        told: their best routes; of others it is chosen by the ratings of the pattern.
        since: by pattern, the ratings of routes that got worse since then.
    """
    return [_near(pattern, told.get(pattern.id), since.get(pattern.id, NONE_SINCE)) for pattern in found]


def _near(pattern: LearnedPattern, told: BestRoutes | None, since: Mapping[str, RatingsSince]) -> NearPattern:
    routes = rated_routes(pattern.routes, {}, since)
    told = told or choose(routes)
    best = next((one for one in routes if one.route == told.best), None)
    return NearPattern(
        pattern.id,
        float(pattern.similarity or 0.0),
        pattern.size,
        pattern.quality if pattern.rated else None,
        round(pattern.weight),
        next(iter(pattern.typical_queries), None),
        title(wordings(pattern.typical_queries[:1])),
        told.best,
        best_quality=best and best.quality,
        best_rated=best and best.rated,
        best_since=best and best.since,
        succeeded=told.succeeded,
    )
