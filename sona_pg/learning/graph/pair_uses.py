"""Uses of pairs of nodes of the memory graph, by counts: servers may report them in any order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class PairUses:
    """Uses and vain retrievals of pairs of nodes; a pair may be listed more than once."""

    source: NDArray[np.int32]  # (p,)
    target: NDArray[np.int32]  # (p,)
    ups: NDArray[np.int64]  # (p,) times that both were used
    downs: NDArray[np.int64]  # (p,) times that both were retrieved, and one was not used

    def summed(self, nodes: int, *, symmetric: bool) -> PairUses:
        """Return each pair once, in both directions if ``symmetric``, in order; loops and pairs without any use go."""
        first, second = self.source.astype(np.int64), self.target.astype(np.int64)
        if symmetric:
            first, second = np.minimum(first, second), np.maximum(first, second)
        keep = (first != second) & (self.ups + self.downs > 0)
        code, place = np.unique(first[keep] * nodes + second[keep], return_inverse=True)
        ups = np.bincount(place, self.ups[keep], len(code)).astype(np.int64)
        downs = np.bincount(place, self.downs[keep], len(code)).astype(np.int64)
        source, target = (code // nodes).astype(np.int32), (code % nodes).astype(np.int32)
        if symmetric:
            source, target = np.concatenate([source, target]), np.concatenate([target, source])
            ups, downs = np.tile(ups, 2), np.tile(downs, 2)
            order = np.lexsort((target, source))
            source, target, ups, downs = source[order], target[order], ups[order], downs[order]
        return PairUses(source, target, ups, downs)
