"""Served version: one immutable version of a space, swapped as a whole by one assignment."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sona_pg import kernels
from sona_pg.config import SonaConfig
from sona_pg.domain.answer import FoundPatterns
from sona_pg.domain.catalog import Catalog
from sona_pg.domain.pattern import LearnedPattern, PatternKind
from sona_pg.domain.state import LearnedState
from sona_pg.domain.verdict import Verdict
from sona_pg.learning.graph.mixing import Mixing
from sona_pg.learning.graph.mixing_step import mixing_of
from sona_pg.learning.knowledge import initial_state, ranker_of, router_of
from sona_pg.learning.ranking.ranker import RankerState
from sona_pg.learning.routing.learned_router import Router
from sona_pg.learning.vectors import unit
from sona_pg.serving.access_counter import AccessCounter
from sona_pg.serving.arguments import as_direction, require_count, require_filters
from sona_pg.serving.graph_view import GraphView
from sona_pg.store.snapshots import Snapshot

KEPT_FILTERS = 64  # filters of patterns whose rows a version caches

# The least quality, the kind, a route, the verdict, and whether parameters must be known.
Filters = tuple[float, PatternKind | None, str | None, Verdict | None, bool]


@dataclass(frozen=True, slots=True, eq=False)
class ServedVersion:
    """One version, prepared for queries."""

    version: int
    state: LearnedState
    patterns: tuple[LearnedPattern, ...]
    router: Router
    ranker: RankerState
    catalog: Catalog
    block: kernels.CentroidBlock | None  # of the patterns' centroids; None when there are none
    graph: GraphView | None = None  # None: no session was learned from
    mixing: Mixing = field(default_factory=Mixing.initial)  # of the ways of activation in recall
    accesses: AccessCounter = field(default_factory=AccessCounter)  # of the engine that serves it
    passing: dict[Filters, NDArray[np.int64]] = field(default_factory=dict)  # rows of patterns, by recent filters
    published_at: float = field(default_factory=time.monotonic)  # by this process's monotonic clock

    @classmethod
    def of(cls, snapshot: Snapshot, dim: int, config: SonaConfig) -> ServedVersion:
        """Prepare a snapshot of the store."""
        state = snapshot.state or initial_state(dim, config)
        return cls(
            version=snapshot.version,
            state=state,
            patterns=tuple(snapshot.patterns),
            router=router_of(state, config),
            ranker=ranker_of(state),
            catalog=snapshot.catalog,
            block=_block(snapshot.patterns),
            graph=_graph(state, snapshot, config),
            mixing=mixing_of(state),
            published_at=time.monotonic() - snapshot.age,
        )

    @property
    def age(self) -> float:
        """Seconds since it was published, by this process's clock."""
        return round(time.monotonic() - self.published_at, 3)

    def described(self) -> dict[str, Any]:
        """Return a description of the version, as JSON-ready values."""
        return {
            "version": self.version,
            "version_age_seconds": self.age,
            "patterns": len(self.patterns),
            "micro_norm": round(self.state.micro.norm, 6),
            "base_norm": round(max(layer.norm for layer in self.state.base), 6),
            "routes": {name: known.size for name, known in self.state.routes.items()},
        }

    def as_snapshot(self) -> Snapshot:
        """Return the snapshot of the store equal to this version."""
        state = self.state if self.version else None
        return Snapshot(
            self.version, state, list(self.patterns), self.catalog
        )  # fmt: skip

    def find_patterns(
        self,
        x: ArrayLike,
        k: int,
        min_quality: float = 0.0,
        kind: PatternKind | None = None,
        route: str | None = None,
        verdict: Verdict | None = None,
        with_parameters: bool = False,
    ) -> FoundPatterns:
        """Return the ``k`` patterns nearest to ``x`` that pass the filters; see ``SonaEngine.find_patterns``."""
        plain = kind is None and route is None and verdict is None and not with_parameters
        if plain and type(k) is int and k > 0 and type(min_quality) is float and min_quality <= 0.0:
            try:
                found = None if self.block is None else self.block.nearest(x, k, self.patterns)
            except OverflowError:  # for an invalid k, which is refused below
                found = None
            if found is not None:
                return FoundPatterns(*found, self.accesses.known)
        require_filters(min_quality, kind, verdict)
        vector, most = as_direction(x, self.state.micro.dim), require_count(k)
        rows = None
        if min_quality > 0.0 or not plain:
            rows = self._passing((float(min_quality), kind, route, verdict, with_parameters))
        if self.block is None:
            return FoundPatterns((), ())
        found = self.block.nearest(vector, most, self.patterns, rows)
        if found is None:  # for a length whose square overflows float32
            found = self.block.nearest(unit(vector[None, :])[0], most, self.patterns, rows)
        return FoundPatterns(*found, self.accesses.known) if found is not None else FoundPatterns((), ())

    def find_patterns_by_graph(
        self,
        x: ArrayLike,
        k: int,
        context: Sequence[ArrayLike],
        filters: Filters,
        at: float,
        graph: GraphView | None,
    ) -> FoundPatterns:
        """Return the ``k`` patterns that ``x`` activates most over ``graph`` at ``at`` (days).

        See ``SonaEngine.find_patterns``.
        """
        require_filters(filters[0], filters[1], filters[3])
        dim, most = self.state.micro.dim, require_count(k)
        query = unit(as_direction(x, dim)[None, :])[0]
        before = unit(np.stack([as_direction(row, dim, "context") for row in context])) if len(context) else None
        if not self.patterns:
            return FoundPatterns((), ())
        cosines = np.array([pattern.centroid @ query for pattern in self.patterns], np.float32)
        scores = cosines if graph is None else cosines + graph.pattern_scores(query, before, at)
        rows = self._passing(filters)
        best = rows[np.argsort(-scores[rows], kind="stable")[:most]].tolist()
        found = tuple(self.patterns[row] for row in best)
        return FoundPatterns(found, tuple(float(cosines[row]) for row in best), self.accesses.known)

    def _passing(self, filters: Filters) -> NDArray[np.int64]:
        """Return the rows of the patterns that pass ``filters``, (n,) int64; cached for recent filters."""
        known = self.passing.get(filters)
        if known is None:
            min_quality, kind, route, verdict, with_parameters = filters
            known = np.array(
                [
                    row
                    for row, pattern in enumerate(self.patterns)
                    if (min_quality <= 0.0 or (pattern.rated and pattern.quality >= min_quality))
                    and (kind is None or pattern.kind == kind)
                    and (route is None or route in pattern.routes)
                    and (verdict is None or pattern.verdict == verdict)
                    and (pattern.parameters or not with_parameters)
                ],
                np.int64,
            )
            if len(self.passing) >= KEPT_FILTERS:
                self.passing.clear()
            self.passing[filters] = known
        return known


def _graph(state: LearnedState, snapshot: Snapshot, config: SonaConfig) -> GraphView | None:
    if "graph" not in state.arrays:
        return None
    return GraphView(state.arrays, tuple(snapshot.patterns), snapshot.catalog, config.graph.half_life)


def _block(patterns: Sequence[LearnedPattern]) -> kernels.CentroidBlock | None:
    if not patterns:
        return None
    return kernels.CentroidBlock(np.ascontiguousarray(np.stack([pattern.centroid for pattern in patterns])))
