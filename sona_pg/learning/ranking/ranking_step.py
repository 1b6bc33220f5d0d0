"""The ranker's part of a cycle: from trajectories that chose among candidates to the ranker's state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.catalog import UNKNOWN, Catalog
from sona_pg.domain.ledger_slice import Outcome, Trajectories
from sona_pg.learning.ranking.ranker import RankerState
from sona_pg.learning.ranking.ranker_confidence import FEWEST, MOST_CANDIDATES, Tried, measured, usable
from sona_pg.learning.ranking.ranker_events import NONE, FloatArray, RankEvents
from sona_pg.learning.ranking.ranker_fit import fit
from sona_pg.learning.ranking.ranker_folding import folded
from sona_pg.learning.ranking.ranker_sharpness import (
    FIRST,
    NOTHING,
    explained_alone,
    likelihoods,
    sharpened,
    without_sharpness,
)
from sona_pg.learning.vectors import unit
from sona_pg.limits import LARGEST_TABLE

_PARTS = 4
_TRIED = 256  # events that tell enough: of many, not all parts are tried
_GROWING = 0.25  # least share of fresh feedback in all of it, where the version before tells little of the next one
Sets = Mapping[int, Sequence[str]]


def rank_events(
    stored: Trajectories,
    outcomes: Sequence[Outcome],
    catalog: Catalog,
    sets: Sets,
    weight: float | NDArray[np.float32] = 1.0,
) -> RankEvents:
    """Return the trajectories that chose among candidates as the ranker's events, in their order.

    Args:
        stored: any trajectories; those without a ranking and a correction are left out.
        outcomes: of each.
        catalog: all candidates.
        sets: the ids of each candidate set that ``stored`` names.
        weight: of every event, or (n,) of those of each trajectory; -1 removes an event folded before.
    """
    ranked = (stored.candidate_sets != 0) & np.isnan(stored.propensity)  # a propensity is a routing decision's
    rows = np.array(
        [row for row, outcome in enumerate(outcomes) if ranked[row] or outcome.correction is not None], np.int64
    )
    chosen = [outcomes[row] for row in rows]
    return RankEvents(
        query=unit(stored.embeddings[rows]),
        shown=catalog.slots([stored.routes[row] for row in rows]),
        quality=np.array([np.nan if outcome.quality is None else outcome.quality for outcome in chosen], np.float32),
        correct=catalog.slots([outcome.correction for outcome in chosen]),
        weight=np.broadcast_to(np.float32(weight), len(outcomes))[rows],
        candidates=_table(stored.candidate_sets[rows], catalog, sets),
    )


def learn_ranking(
    state: RankerState, catalog: Catalog, fresh: RankEvents, replay: RankEvents, seed: int
) -> RankerState:
    """Return the ranker after folding ``fresh`` exactly once and re-reading ``replay``."""
    if not len(fresh) or not len(catalog.ids):
        return state
    embeddings, mean = catalog.embeddings, catalog.mean
    parts = range(_parts(state, catalog, fresh))
    found = [_tried(state, catalog, fresh, replay, part, seed) for part in parts]
    told = [told for _, told in found] or [_told_by_the_last(state, catalog, fresh, replay, seed)]
    count = _judged(fresh)
    alone = explained_alone(embeddings, mean, fresh.joined(replay)) if count + state.folded[1] <= FIRST else None
    before = sharpened(state, sum(told, NOTHING), count, alone)
    if before.sharpness[0] != state.sharpness[0]:  # confidence is that of fits like the one that is served
        found = [_tried(before, catalog, fresh, replay, part, seed, chosen=True) for part in parts]
    fitted = fit(before, embeddings, fresh, replay, seed=seed, mean=mean)
    return measured(state, fitted, embeddings, fresh, replay, parts=[tried for tried, _ in found])


def _told_by_the_last(
    state: RankerState, catalog: Catalog, fresh: RankEvents, replay: RankEvents, seed: int
) -> FloatArray:
    """Return the likelihoods of fresh feedback under the version before; beside a fit without sharpness, if it has one.

    Without that a sharpness would never end: what was learned with it is worse without it.
    """
    plain = None
    if state.sharpness[0] > 1.0:
        nothing = replay.take(np.zeros(0, np.intp))
        plain = fit(without_sharpness(state), catalog.embeddings, nothing, replay, seed=seed, mean=catalog.mean)
    return likelihoods(state, catalog.embeddings, fresh, plain)


def _judged(fresh: RankEvents) -> int:
    return int(np.count_nonzero((fresh.judged != NONE) & (fresh.weight > 0.0)))


def _parts(state: RankerState, catalog: Catalog, fresh: RankEvents) -> int:
    """Return into how many of `_PARTS` parts a version is tried: none where the version before tells as much.

    A first cycle always has some. Beyond a few hundred events one part tells enough, and the cost is that of one fit.
    """
    count = _judged(fresh)
    if count < FEWEST or len(catalog.ids) > MOST_CANDIDATES:
        return 0
    if state.fits and (count > _TRIED or count < _GROWING * (count + state.folded[1])):
        return 0
    return min(_PARTS, -(-_PARTS * _TRIED // count))


def _tried(
    state: RankerState,
    catalog: Catalog,
    fresh: RankEvents,
    replay: RankEvents,
    part: int,
    seed: int,
    *,
    chosen: bool = False,
) -> tuple[Tried, FloatArray]:
    """Fit to all but one part of the feedback, and try that on this part: no version before the first can be.

    Unless its sharpness is `chosen`, it is tried beside a fit without one.
    """
    embeddings, left_out = catalog.embeddings, np.arange(len(fresh)) % _PARTS == part
    rest = fresh.take(~left_out)
    learned, unheard = usable(rest.joined(replay), embeddings), usable(fresh.take(left_out), embeddings)

    def refitted(before: RankerState) -> RankerState:
        fitted = fit(before, embeddings, rest, replay, seed=seed, mean=catalog.mean)
        return measured(before, fitted, embeddings, rest, replay)

    fitted = refitted(state)
    plain = fitted
    if state.sharpness[0] > 1.0 and not chosen:  # a fit with sharpness is worse without it than one that never had it
        plain = refitted(without_sharpness(state))
    return Tried.of(fitted, embeddings, unheard, learned), likelihoods(fitted, embeddings, unheard, plain)


def fold_ranking(state: RankerState, catalog: Catalog, fresh: RankEvents) -> RankerState:
    """Return the ranker with the evidence that ``learn_ranking`` leaves, without its fit."""
    if not len(fresh) or not len(catalog.ids):
        return state
    return folded(state, len(catalog.ids), fresh)


def _table(set_ids: NDArray[np.int64], catalog: Catalog, sets: Sets) -> NDArray[np.int32] | None:
    """Return (n, k) slots padded with UNKNOWN; a row of padding, like no table at all, stands for all candidates."""
    rows: dict[int, NDArray[np.int32]] = {}
    for set_id in {int(value) for value in set_ids}:
        slots = catalog.slots(list(sets.get(set_id, ())))
        slots = np.unique(slots[slots != UNKNOWN]).astype(np.int32)
        whole = len(slots) in (0, len(catalog.ids)) or len(slots) > LARGEST_TABLE
        rows[set_id] = slots[:0] if whole else slots
    width = max((len(slots) for slots in rows.values()), default=0)
    if width == 0:
        return None
    table = np.full((len(set_ids), width), UNKNOWN, np.int32)
    for row, set_id in enumerate(set_ids):
        slots = rows[int(set_id)]
        table[row, : len(slots)] = slots
    return table
