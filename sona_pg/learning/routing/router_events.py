"""Router events: judged decisions, by column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sona_pg.errors import DimensionMismatch, LearningError
from sona_pg.learning.routing.router_basis import Floats, Integers


@dataclass(frozen=True, slots=True)
class RouteEvents:
    """n calls; a query that several routes answered is simply several events."""

    query: Floats  # (n, dim)
    route: Integers  # (n,) dense numbers from 0
    quality: Floats  # (n,) in [0, 1]
    features: Floats | None = None  # (n, f); NaN where unknown
    cost: Floats | None = None  # (n,) estimated by the decision; NaN where unknown
    latency: Floats | None = None  # (n,) NaN where unknown
    propensity: Floats | None = None  # (n,) NaN where unknown; only off-policy evaluation reads it
    weight: Floats | None = None  # (n,) how many events one counts for; 1 when None
    paid: Floats | None = None  # (n,) the real cost; NaN where unknown
    learned: NDArray[np.integer[Any]] | None = None  # (n,) version that learned it; only of revised or retracted events

    def __post_init__(self) -> None:
        for name in self.__slots__:
            column = getattr(self, name)
            if column is not None and len(column) != len(self.route):
                raise LearningError(f"column {name} has {len(column)} events, route has {len(self.route)}")

    def __len__(self) -> int:
        return len(self.route)

    def __getitem__(self, rows: slice | NDArray[np.intp]) -> RouteEvents:
        def part(column: NDArray[Any] | None) -> NDArray[Any] | None:
            return None if column is None else column[rows]

        return RouteEvents(
            self.query[rows], self.route[rows], self.quality[rows], part(self.features),
            part(self.cost), part(self.latency), part(self.propensity), part(self.weight), part(self.paid),
            part(self.learned),
        )  # fmt: skip

    def sound(self, dim: int) -> RouteEvents:
        """The events a learner can use, in their order. DimensionMismatch for another dimension."""
        if self.query.ndim != 2 or self.query.shape[1] != dim:
            raise DimensionMismatch(dim, self.query.shape[-1])
        good = np.isfinite(self.query).all(axis=1) & (self.quality >= 0) & (self.quality <= 1) & (self.route >= 0)
        if self.weight is not None:
            good &= np.isfinite(self.weight) & (self.weight >= 0)
        return self if good.all() else self[np.flatnonzero(good)]

    def known_cost(self) -> Floats | None:
        """Return the real cost of each where it is known, else its estimate."""
        if self.paid is None or self.cost is None:
            return self.cost if self.paid is None else self.paid
        return np.where(np.isfinite(self.paid), self.paid, self.cost)

    def followed_by(self, later: RouteEvents) -> RouteEvents:
        """Return both concatenated; a column missing in one is unknown there."""
        width = max(_width(self), _width(later))

        def both(name: str, absent: float) -> Floats | None:
            columns = [getattr(self, name), getattr(later, name)]
            if all(column is None for column in columns):
                return None
            shape = (width,) if name == "features" else ()
            filled = [
                np.full((len(events), *shape), absent, np.float32) if column is None else column
                for events, column in zip((self, later), columns, strict=True)
            ]
            return np.concatenate(filled)

        if _width(self) not in (0, width) or _width(later) not in (0, width):
            raise DimensionMismatch(width, min(_width(self), _width(later)), "features")
        return RouteEvents(
            np.concatenate([self.query, later.query]), np.concatenate([self.route, later.route]),
            np.concatenate([self.quality, later.quality]), both("features", np.nan), both("cost", np.nan),
            both("latency", np.nan), both("propensity", np.nan), both("weight", 1.0), both("paid", np.nan),
        )  # fmt: skip


def _width(events: RouteEvents) -> int:
    return 0 if events.features is None else int(events.features.shape[1])
