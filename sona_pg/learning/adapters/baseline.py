"""Baseline of REINFORCE (Williams 1992): running mean of outcomes, per space and route.

It is the mean of all other returns, past and present: of the same route, shrunk towards the whole space's, which is
shrunk towards the middle of the scale. A return never enters its own baseline, so the advantage is unbiased, and one
trajectory alone is enough to learn from. Of the same batch neither do returns of the same query: a hundred equal
successes would otherwise be each other's baseline, and teach less than one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.state import Arrays
from sona_pg.learning.adapters.signal import PRIOR_RETURN
from sona_pg.limits import MOST_BASELINES

PRIOR_WEIGHT = 1.0  # in returns: of the middle of the scale within the space's mean
SHRINKAGE = 4.0  # in returns: of the space's mean within a route's


@dataclass(frozen=True, slots=True)
class Baseline:
    """Number and sum of the returns seen, over the space and for each route."""

    count: float = 0.0
    total: float = 0.0
    routes: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # route -> (count, sum)

    def advantages(
        self,
        values: NDArray[np.float64],
        routes: Sequence[str | None],
        queries: NDArray[np.int64] | None = None,
    ) -> NDArray[np.float64]:
        """Return each return minus its baseline, (n,).

        Args:
            values: (n,) returns, finite, not yet folded.
            routes: of each; one without a route has the space's baseline.
            queries: (n,) number of the query of each (``numbered``); all are different when None.
        """
        if len(values) == 0:
            return np.zeros(0)
        asked = np.arange(len(values)) if queries is None else queries
        own_sums, own_counts = _sums(asked, values)
        others = self.total + values.sum() - own_sums
        space = (others + PRIOR_WEIGHT * PRIOR_RETURN) / (self.count + len(values) - own_counts + PRIOR_WEIGHT)
        names = {name: index for index, name in enumerate(dict.fromkeys(routes))}
        group = np.array([names[name] for name in routes], np.int64)
        known = np.array([(0.0, 0.0) if name is None else self.routes.get(name, (0.0, 0.0)) for name in names])
        counts = known[:, 0] + np.bincount(group, minlength=len(names))
        sums = known[:, 1] + np.bincount(group, values, len(names))
        own_sums, own_counts = _sums(asked * len(names) + group, values)
        route = (sums[group] - own_sums + SHRINKAGE * space) / (counts[group] - own_counts + SHRINKAGE)
        nameless = np.array([name is None for name in names])[group]
        return np.asarray(values - np.where(nameless, space, route))

    def fold(self, values: NDArray[np.float64], routes: Sequence[str | None]) -> Self:
        """Return this baseline with the returns added."""
        return self._counted(values, routes, 1.0)

    def unfold(self, values: NDArray[np.float64], routes: Sequence[str | None]) -> Self:
        """Return this baseline with returns that were folded before taken out again."""
        return self._counted(values, routes, -1.0)

    def _counted(self, values: NDArray[np.float64], routes: Sequence[str | None], each: float) -> Self:
        folded = dict(self.routes)
        for value, name in zip(values.tolist(), routes, strict=True):
            if name is not None and (name in folded or (each > 0 and len(folded) < MOST_BASELINES)):
                count, total = folded.get(name, (0.0, 0.0))
                folded[name] = (count + each, total + each * value)
                if folded[name][0] <= 0:
                    del folded[name]
        count = max(self.count + each * len(values), 0.0)
        return type(self)(count, self.total + each * float(values.sum()) if count else 0.0, folded)

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return it as named arrays."""
        names = np.frombuffer(json.dumps(list(self.routes)).encode(), np.uint8)
        sums = np.array(list(self.routes.values()), np.float64).reshape(-1, 2)
        return {"space": np.array([self.count, self.total]), "names": names, "routes": sums}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """Restore from ``to_arrays``."""
        count, total = np.asarray(arrays["space"], np.float64).tolist()
        names: list[str] = json.loads(arrays["names"].tobytes())
        sums = np.asarray(arrays["routes"], np.float64).tolist()
        return cls(count, total, {name: (row[0], row[1]) for name, row in zip(names, sums, strict=True)})


def numbered(queries: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return a number for each of ``queries`` (n, dim), the same for equal ones, (n,)."""
    seen: dict[bytes, int] = {}
    return np.array([seen.setdefault(row.tobytes(), len(seen)) for row in queries], np.int64)


def _sums(group: NDArray[np.int64], values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return for each value the sum and the number of those in its group, itself included."""
    _, place = np.unique(group, return_inverse=True)
    sums, counts = np.bincount(place, values), np.bincount(place, np.ones_like(values))
    return np.asarray(sums[place], np.float64), np.asarray(counts[place], np.float64)
