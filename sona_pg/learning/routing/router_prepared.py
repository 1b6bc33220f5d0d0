"""A router's state as decisions read it again and again: contiguous arrays behind one compiled call.

``router.decide`` is the readable reference; both give the same decision up to float32 rounding, and tests compare them.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from sona_pg.kernels import RouterBlock
from sona_pg.learning.routing.exploration import Exploration
from sona_pg.learning.routing.router import USUAL, RouterState, known_means
from sona_pg.learning.routing.router_basis import SKETCH_WIDTH


def prepared_router(state: RouterState, exploration: Exploration = USUAL, shifted: Collection[int] = ()) -> RouterBlock:
    """Return ``state`` prepared for queries of ``min(dim, SKETCH_WIDTH)``; wider ones are reduced before.

    ``shifted`` are the routes whose quality has changed of late.
    """
    basis, rows = state.basis, np.arange(state.route_count + 1)
    landmarks = np.ascontiguousarray(basis.landmarks, np.float32)
    squares = np.einsum("ij,ij->i", landmarks, landmarks)
    usual = [np.append(state.totals[:, 0], 0.0), known_means(state.totals, rows, 2), known_means(state.totals, rows, 4)]
    return RouterBlock(
        landmarks,
        (squares * (0.5 / basis.length)).astype(np.float32),
        np.ascontiguousarray(basis.transform.T, np.float32),
        np.stack([basis.feature_mean, basis.feature_deviation, basis.feature_weight]).astype(np.float32),
        (float(basis.length), float(basis.linear)),
        np.ascontiguousarray(state.weights, np.float32),
        np.ascontiguousarray(state.variance, np.float32),
        np.ascontiguousarray(state.cost_weights.reshape(2 * len(rows), -1), np.float32),
        np.stack([*usual, *state.least, np.isin(rows, list(shifted))]),
        float(state.prior_route),
        tuple(state.curve.tolist()),
        (
            exploration.temperature,
            exploration.floor,
            exploration.newcomer,
            exploration.warm_up,
            exploration.paced_warm_up,
            exploration.pessimism,
        ),
        min(state.dim, SKETCH_WIDTH),
    )
