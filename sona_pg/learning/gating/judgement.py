"""Judgement of judged decisions: what another version would have answered to the same queries, and how good that is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sona_pg.config import SonaConfig
from sona_pg.domain.catalog import Catalog
from sona_pg.domain.ledger_slice import Outcome, Trajectories
from sona_pg.domain.state import LearnedState
from sona_pg.learning.gating.comparison import NOBODY, RANKING_BOUND, ROUTE_BOUND, Doubles, of_rankings, of_routes
from sona_pg.learning.knowledge import ranker_of, router_of
from sona_pg.learning.ranking.ranker_confidence import Confidence
from sona_pg.learning.ranking.ranker_prepared import prepare
from sona_pg.learning.routing.learned_router import Judged

# Rankings of all candidates times candidates that are judged at once: 512 of 16,384, 83 of 100,000.
MOST_CELLS = 1 << 23


class Differences(NamedTuple):
    """Differences in quality, other version less the served one, in order of their decisions."""

    values: Doubles  # (n,)
    bounds: Doubles  # (n,) of the absolute values, known before the outcomes


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """Two versions to be compared on decisions that one of them served."""

    served: LearnedState
    other: LearnedState
    incumbent: LearnedState  # the one of them whose expectations are believed
    config: SonaConfig


def differences(
    pair: Pair, stored: Trajectories, outcomes: Sequence[Outcome], sets: Mapping[int, Sequence[str]], catalog: Catalog
) -> Differences:
    """Return the difference of every decision that tells one; rows that do not are left out.

    Left out are decisions without an outcome, and those whose answer was not the served version's own: explored
    rankings, and answers that recent evidence has changed.
    """
    found: dict[int, tuple[float, float]] = {}
    _compare_routes(pair, stored, outcomes, sets, found)
    _compare_rankings(pair, stored, outcomes, sets, catalog, found)
    told = np.array([found[row] for row in sorted(found)], np.float64).reshape(-1, 2)
    return Differences(told[:, 0], told[:, 1])


def _compare_routes(
    pair: Pair,
    stored: Trajectories,
    outcomes: Sequence[Outcome],
    sets: Mapping[int, Sequence[str]],
    found: dict[int, tuple[float, float]],
) -> None:
    judged = Judged(stored, outcomes)
    rows = [row for row in judged.routed() if stored.propensity[row] > 0]
    if not rows:
        return
    taken = {row: str(stored.routes[row]) for row in rows}
    names = tuple(dict.fromkeys(name for row in rows for name in (*_offered(stored, sets, row), taken[row])))
    index = {name: place for place, name in enumerate(names)}
    events = judged.events(index, stored.features.shape[1], rows)
    offered = np.ones((len(rows), len(names)), bool)
    for place, row in enumerate(rows):
        members = _offered(stored, sets, row)
        if members:
            offered[place] = np.isin(names, [*members, taken[row]])
    expected = {}
    for state in {id(each): each for each in (pair.served, pair.other, pair.incumbent)}.values():
        router = router_of(state, pair.config)
        told = events.features
        features = told if told is not None and told.shape[1] == router.width else None
        quality = np.clip(router.state.predict(events.query, features, router.known(names)), 0, 1)
        expected[id(state)] = np.where(offered, quality, -1.0)
    values = of_routes(
        events.route.astype(np.intp),
        expected[id(pair.served)].argmax(axis=1),
        expected[id(pair.other)].argmax(axis=1),
        np.minimum(stored.propensity[rows], 1.0),
        events.quality.astype(np.float64),
        np.maximum(expected[id(pair.incumbent)], 0.0),
    )
    found.update((row, (value, ROUTE_BOUND)) for row, value in zip(rows, values.tolist(), strict=True))


def _offered(stored: Trajectories, sets: Mapping[int, Sequence[str]], row: int) -> Sequence[str]:
    return sets.get(int(stored.candidate_sets[row]), ())


def _compare_rankings(
    pair: Pair,
    stored: Trajectories,
    outcomes: Sequence[Outcome],
    sets: Mapping[int, Sequence[str]],
    catalog: Catalog,
    found: dict[int, tuple[float, float]],
) -> None:
    by_set: dict[int, list[int]] = defaultdict(list)
    for row, outcome in enumerate(outcomes):
        is_ranking = stored.candidate_sets[row] != 0 and np.isnan(stored.propensity[row])
        if is_ranking and outcome.quality is not None and stored.routes[row] in catalog.index:
            by_set[int(stored.candidate_sets[row])].append(row)
    for number, rows in by_set.items():
        members = sets.get(number)
        slots = catalog.slots(members or catalog.ids)  # a set that stands for all has no members
        slots = slots[slots >= 0]
        if not members:  # that may be many: some decisions tell enough
            rows = rows[: MOST_CELLS // max(len(slots), 1)]
        if len(slots) and rows:
            found.update(_of_set(pair, stored, outcomes, catalog, slots, rows))


def _of_set(
    pair: Pair,
    stored: Trajectories,
    outcomes: Sequence[Outcome],
    catalog: Catalog,
    slots: NDArray[np.int32],
    rows: Sequence[int],
) -> dict[int, tuple[float, float]]:
    """Return the differences of the rankings ``rows`` of one set of candidates."""
    embeddings, queries = catalog.halves[slots], stored.embeddings[list(rows)]
    rankers = {id(each): ranker_of(each) for each in (pair.served, pair.other, pair.incumbent)}
    scores = {key: prepare(ranker, embeddings, slots).score(queries) for key, ranker in rankers.items()}
    shown = _places(slots, catalog, [stored.routes[row] for row in rows])
    other = scores[id(pair.other)].argmax(axis=1)
    own = np.flatnonzero((scores[id(pair.served)].argmax(axis=1) == shown) & (shown != NOBODY))
    if not len(own):
        return {}
    trusted = scores[id(pair.incumbent)][own]
    confidence = Confidence(rankers[id(pair.incumbent)], embeddings)
    at = np.arange(len(own))
    belief = tuple(
        np.asarray(confidence.of(trusted, trusted[at, answer[own]]).confidence, np.float64) for answer in (shown, other)
    )
    values = of_rankings(
        shown[own],
        other[own],
        np.array([outcomes[rows[place]].quality for place in own.tolist()], np.float64),
        _places(slots, catalog, [outcomes[rows[place]].correction for place in own.tolist()]),
        (belief[0], belief[1]),
    )
    return {rows[place]: (value, RANKING_BOUND) for place, value in zip(own.tolist(), values.tolist(), strict=True)}


def _places(slots: NDArray[np.int32], catalog: Catalog, names: Sequence[str | None]) -> NDArray[np.intp]:
    """Return the place of each name among ``slots``, NOBODY for None and for names that are not there."""
    place = {int(slot): row for row, slot in enumerate(slots.tolist())}
    return np.array([place.get(int(slot), NOBODY) for slot in catalog.slots(names).tolist()], np.intp)
