"""Averaging over cycles: a fit to a sample of the history moves the parameters by the share of it that it sees.

New corrections are exempt: they are few, each is to move its answer at once, and all are replayed in later cycles, so
that what they move is no chance of the sample. Where fewer facts than these are replayed they are not: the fit without
them would know nothing of what was learned before, and each cycle would add all of its own on top of the last one's.
Evidence: benchmarks/eval/EVIDENCE.md.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from sona_pg.learning.ranking.ranker_events import FloatArray
from sona_pg.learning.ranking.ranker_objective import FitPoint


def averaged(
    start: FloatArray,
    reached: FitPoint,
    share: float,
    corrections: npt.NDArray[np.intp],
    replayed: int,
    refit: Callable[[FitPoint], FitPoint],
) -> FloatArray:
    """Return the parameters between `start` and the point `reached` by a fit, which is used up.

    Args:
        start: the parameters before.
        reached: the minimum of the objective of this cycle.
        share: of the history that the fit sees, in [0, 1].
        corrections: rows of new ones in the objective. A second fit, without them, tells how far they move the
            parameters: that is taken whole, and only the rest is averaged.
        replayed: facts of earlier cycles that the fit sees.
        refit: a fit that starts from a point.
    """
    end = without = reached.at
    exempt = share < 1.0 and 0 < len(corrections) <= replayed
    if exempt:
        without = refit(reached.without(corrections)).at
    settled: FloatArray = start + np.float32(share) * (without - start)
    return settled + (end - without) if exempt else settled
