"""What a server serves: one version of a space, immutable, swapped as a whole by one assignment."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sona_pg import kernels
from sona_pg.config import SonaConfig
from sona_pg.domain.catalog import Catalog
from sona_pg.domain.pattern import LearnedPattern, PatternKind
from sona_pg.domain.state import LearnedState
from sona_pg.domain.verdict import Verdict
from sona_pg.learning.ranking.ranker import RankerState
from sona_pg.learning.routing.learned_router import Router
from sona_pg.learning.step import initial_state, ranker_of, router_of
from sona_pg.learning.vectors import unit
from sona_pg.store.database import Snapshot


@dataclass(frozen=True, slots=True, eq=False)
class ServedVersion:
    """One version, prepared for answering."""

    version: int
    state: LearnedState
    patterns: tuple[LearnedPattern, ...]
    router: Router
    ranker: RankerState
    catalog: Catalog
    block: kernels.CentroidBlock | None  # of the patterns' centroids; None when there are none
    published_at: float = field(default_factory=time.monotonic)  # by this process's monotonic clock

    @classmethod
    def of(cls, snapshot: Snapshot, dim: int, config: SonaConfig) -> ServedVersion:
        """Prepare what was read from the store."""
        state = snapshot.state or initial_state(dim, config)
        return cls(
            version=snapshot.version,
            state=state,
            patterns=tuple(snapshot.patterns),
            router=router_of(state, config),
            ranker=ranker_of(state),
            catalog=snapshot.catalog,
            block=_block(snapshot.patterns),
            published_at=time.monotonic() - snapshot.age,
        )

    def described(self) -> dict[str, Any]:
        """Return what is worth telling of it, as JSON-ready values."""
        return {
            "version": self.version,
            "version_age_seconds": round(time.monotonic() - self.published_at, 3),
            "patterns": len(self.patterns),
            "micro_norm": round(self.state.micro.norm, 6),
            "base_norm": round(max(layer.norm for layer in self.state.base), 6),
            "routes": {name: known.size for name, known in self.state.routes.items()},
        }

    def as_snapshot(self) -> Snapshot:
        """Return what the store would give of this version."""
        state = self.state if self.version else None
        return Snapshot(
            self.version, state, list(self.patterns), self.catalog
        )  # fmt: skip

    def find(
        self,
        query: NDArray[np.float32],
        k: int,
        *,
        min_quality: float = 0.0,
        kind: PatternKind | None = None,
        route: str | None = None,
        verdict: Verdict | None = None,
        with_parameters: bool = False,
    ) -> list[LearnedPattern]:
        """Return the ``k`` nearest patterns that pass the filters, nearest first, with their similarity."""
        if self.block is None or k <= 0:
            return []
        direction = unit(query)
        if min_quality <= 0.0 and kind is None and route is None and verdict is None and not with_parameters:
            rows, scores = self.block.topk(direction, k)
            return _found(self.patterns, rows, scores)
        passing = [
            pattern
            for pattern in self.patterns
            if (min_quality <= 0.0 or (pattern.rated and pattern.quality >= min_quality))
            and (kind is None or pattern.kind == kind)
            and (route is None or route in pattern.routes)
            and (verdict is None or pattern.verdict == verdict)
            and (pattern.parameters or not with_parameters)
        ]
        if not passing:
            return []
        rows, scores = kernels.topk(direction, np.stack([pattern.centroid for pattern in passing]), k)
        return _found(passing, rows, scores)


def _block(patterns: Sequence[LearnedPattern]) -> kernels.CentroidBlock | None:
    if not patterns:
        return None
    return kernels.CentroidBlock(np.ascontiguousarray(np.stack([pattern.centroid for pattern in patterns])))


def _found(
    patterns: Sequence[LearnedPattern], rows: NDArray[np.int64], scores: NDArray[np.float32]
) -> list[LearnedPattern]:
    return [
        dataclasses.replace(patterns[int(row)], similarity=float(score))
        for row, score in zip(rows, scores, strict=True)
    ]
