"""The mixing's part of a cycle: weights of the ways of activation, learned from the candidates that sessions used.

Each query of the slice is recalled as the version before it would have recalled it, so that nothing is judged by what
was learned from it. The posterior of the weights (Laplace's approximation) is the prior of the next cycle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.catalog import UNKNOWN, Catalog
from sona_pg.domain.ledger_slice import LedgerSlice
from sona_pg.domain.pattern import LearnedPattern
from sona_pg.domain.state import Arrays, LearnedState
from sona_pg.learning.graph.activation import FEATURES, PreparedGraph
from sona_pg.learning.graph.expectation import Expectation
from sona_pg.learning.graph.mixing import JudgedRecall, Mixing, fit_mixing, information
from sona_pg.learning.graph.seasons import Seasons
from sona_pg.learning.graph.session_events import USED, days_of_ids
from sona_pg.learning.knowledge import graph_of, ranker_of
from sona_pg.learning.ranking.ranker_prepared import Prepared, prepare
from sona_pg.learning.vectors import unit

MOST_QUERIES = 32  # of a slice: each takes about two milliseconds among 1,000 candidates
MOST_CANDIDATES = 5000  # of a set; a larger one costs more than its query tells
ENOUGH = 50  # queries before the learned weights are served
VARIANCE = 0.5  # of a weight in logits, around its default (benchmarks/eval/EVIDENCE.md)
FORGETTING = 0.98  # share of the certainty that stays in a cycle that tells more

Sets = Mapping[int, Sequence[str]]
Order = Mapping[str, tuple[str, int]]
Floats = NDArray[np.float32]


def mixing_of(state: LearnedState) -> Mixing:
    """Return the mixing that a version serves: the defaults until enough was learned."""
    arrays = state.arrays.get("mixing")
    if arrays is None or int(np.asarray(arrays["queries"])) < ENOUGH:
        return Mixing.initial()
    return _stored(arrays)[0]


def learn_mixing(
    before: LearnedState,
    patterns: Sequence[LearnedPattern],
    claimed: LedgerSlice,
    catalog: Catalog,
    sets: Sets,
    order: Order,
    half_life: float,
) -> Arrays | None:
    """Return the part ``mixing`` after a slice; None if there is none yet.

    Args:
        before: the state before the slice.
        patterns: of that state.
        claimed: the slice.
        catalog: all candidates.
        sets: the ids of each candidate set that the slice names.
        order: group and position of candidates.
        half_life: days, of the graph's edges.
    """
    held = before.arrays.get("mixing")
    judged = _Recalling(before, patterns, claimed, catalog, sets, order, half_life).judged()
    if not judged:
        return held
    mixing, precision, queries = _blank() if held is None else _stored(held)
    prior = FORGETTING * precision + (1.0 - FORGETTING) * np.eye(len(precision)) / VARIANCE
    fitted = fit_mixing(judged, mixing, prior)
    return {
        "weights": fitted.weights,
        "precision": prior + information(judged, fitted),
        "queries": np.array(queries + len(judged)),
    }


class _Recalling:
    """Recalls the queries of a slice by the state before it."""

    def __init__(
        self,
        before: LearnedState,
        patterns: Sequence[LearnedPattern],
        claimed: LedgerSlice,
        catalog: Catalog,
        sets: Sets,
        order: Order,
        half_life: float,
    ) -> None:
        self._before = before
        self._patterns = patterns
        self._claimed = claimed
        self._catalog = catalog
        self._sets = sets
        self._order = order
        self._half_life = half_life
        self._ranker = ranker_of(before)
        self._of_set: dict[int, tuple[NDArray[np.int32], Prepared, PreparedGraph] | None] = {}

    def judged(self) -> list[JudgedRecall]:
        """Return queries with a used candidate among those that they activate."""
        fresh, rows = self._claimed.fresh, self._rows()
        if not rows:
            return []
        graph = graph_of(self._before)
        asked = float(days_of_ids(fresh.ids[rows[-1:]])[0])
        lifts = Seasons.from_arrays(self._before.arrays.get("seasons")).lifts(asked)
        expectation = Expectation.of(graph, self._patterns, self._catalog, graph.now, self._half_life, lifts)
        directions = unit(fresh.embeddings)
        last: dict[str, int] = {}
        chosen = set(rows[:: -(-len(rows) // MOST_QUERIES)])
        found = []
        for row in self._in_order():
            session = fresh.sessions[row] or ""
            if row in chosen:
                earlier = last.get(session)
                context = None if earlier is None else directions[earlier : earlier + 1]
                recall = self._recalled(row, directions[row], context, expectation)
                found += [] if recall is None else [recall]
            last[session] = row
        return found

    def _in_order(self) -> list[int]:
        fresh = self._claimed.fresh
        order = np.argsort(np.ascontiguousarray(fresh.ids).view("S16").reshape(-1), kind="stable")
        return [row for row in order.tolist() if fresh.sessions[row] is not None]

    def _rows(self) -> list[int]:
        """Return the rows of a session that name a candidate set and used a known candidate, in their order."""
        fresh = self._claimed.fresh
        return [
            row
            for row in self._in_order()
            if fresh.candidate_sets[row] and np.isnan(fresh.propensity[row]) and self._used(row) != UNKNOWN
        ]

    def _used(self, row: int) -> int:
        outcome = self._claimed.outcomes[row]
        name = outcome.correction
        if name is None and outcome.quality is not None and outcome.quality >= USED:
            name = self._claimed.fresh.routes[row]
        return int(self._catalog.slots([name])[0])

    def _recalled(self, row: int, x: Floats, context: Floats | None, expectation: Expectation) -> JudgedRecall | None:
        number = int(self._claimed.fresh.candidate_sets[row])
        if number not in self._of_set:
            self._of_set[number] = self._prepared(number, expectation)
        ready = self._of_set[number]
        if ready is None:
            return None
        slots, scorer, prepared = ready
        scores = scorer.score(x[None, :])[0]
        matches = (scores - scores.mean()) / self._ranker.cosine_slope + float(prepared.mean @ x)
        primed = expectation.primed(x, context, slots)
        active = prepared.activate(np.asarray(matches, np.float32), context, primed=primed)
        used = (slots[active.rows] == self._used(row)).astype(np.float64)
        return JudgedRecall(active.features, used) if used.any() and len(used) > 1 else None

    def _prepared(
        self, number: int, expectation: Expectation
    ) -> tuple[NDArray[np.int32], Prepared, PreparedGraph] | None:
        names = self._sets.get(number, ())
        slots = self._catalog.slots(list(names)) if 1 < len(names) <= MOST_CANDIDATES else np.zeros(0, np.int32)
        slots = np.unique(slots[slots != UNKNOWN]).astype(np.int32)
        if len(slots) < 2:
            return None
        embeddings = self._catalog.embeddings[slots]
        groups, positions = np.full(len(slots), -1, np.int32), np.zeros(len(slots), np.int64)
        numbers: dict[str, int] = {}
        for place, slot in enumerate(slots.tolist()):
            if self._catalog.ids[slot] in self._order:
                group, positions[place] = self._order[self._catalog.ids[slot]]
                groups[place] = numbers.setdefault(group, len(numbers))
        prepared = expectation.joined(PreparedGraph.in_order(embeddings, groups, positions), slots)
        return slots, prepare(self._ranker, embeddings, slots), prepared


def _blank() -> tuple[Mixing, NDArray[np.float64], int]:
    return Mixing.initial(), np.eye(len(FEATURES)) / VARIANCE, 0


def _stored(arrays: Arrays) -> tuple[Mixing, NDArray[np.float64], int]:
    """Return the learned mixing, its precision and its queries; features that a later release added have defaults."""
    mixing, precision, _ = _blank()
    weights, known = mixing.weights.copy(), np.asarray(arrays["precision"], np.float64)
    count = min(len(known), len(weights))
    weights[:count] = np.asarray(arrays["weights"], np.float64)[:count]
    precision[:count, :count] = known[:count, :count]
    return Mixing(weights), precision, int(np.asarray(arrays["queries"]))
