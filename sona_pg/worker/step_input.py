"""Input of a learning step that only some cycles have: trajectories to learn anew, and the kinds of patterns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.ledger_slice import LedgerSlice, Outcome, Trajectories
from sona_pg.learning.knowledge import Relearned
from sona_pg.learning.patterns.kind_model import KindModel
from sona_pg.store.unit import LearningUnit


def relearned_of(
    unit: LearningUnit, trajectories: Trajectories, outcomes: Sequence[Outcome], rows: NDArray[np.intp]
) -> Relearned:
    """Return ``rows`` of trajectories with their outcomes, and with their steps as the ledger has them."""
    chosen = trajectories.take(rows)
    return Relearned(chosen, [outcomes[row] for row in rows.tolist()], unit.steps_of(chosen.ids))


def kinds_at(unit: LearningUnit, version: int) -> KindModel | None:
    """Return how ``version`` tells kinds of patterns, if the space's embedder had told by then."""
    weights = unit.kinds_at(version)
    return None if weights is None else KindModel.from_bytes(weights)


def order_for(unit: LearningUnit, claimed: LedgerSlice) -> dict[str, tuple[str, int]]:
    """Return the order of candidates in groups, for a slice in which a session has ranked some; else nothing."""
    fresh = claimed.fresh
    ranked = np.flatnonzero(fresh.candidate_sets).tolist()
    return unit.candidate_order() if any(fresh.sessions[row] is not None for row in ranked) else {}
