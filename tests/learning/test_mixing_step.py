"""Mixing learned in cycles: from what sessions used, judged by the version before, served once there is enough."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from sona_pg.domain.catalog import Catalog
from sona_pg.domain.ledger_slice import LedgerSlice
from sona_pg.domain.state import Arrays, LearnedState
from sona_pg.learning.graph.activation import FEATURES
from sona_pg.learning.graph.mixing import Mixing
from sona_pg.learning.graph.mixing_step import ENOUGH, MOST_QUERIES, learn_mixing, mixing_of
from sona_pg.learning.vectors import unit
from tests.learning.graph_slices import BLANK, DIM, Turn, slice_of

TURNS = 24
ROWS = unit(np.random.default_rng(1).standard_normal((TURNS, DIM)).astype(np.float32))
CATALOG = Catalog.of([f"d{row}" for row in range(TURNS)], ROWS)
SETS = {1: list(CATALOG.ids)}
ORDER = {f"d{row}": (f"g{row // 12}", row) for row in range(TURNS)}
AFTER, BEFORE = FEATURES.index("after"), FEATURES.index("before")


def asked(count: int, away: int, seed: int = 0) -> LedgerSlice:
    """Return questions about turns, whose answer is the turn so many places on."""
    rng = np.random.default_rng(seed)
    about = [
        int(row) for row in rng.integers(0, 12 - abs(away), count) + max(-away, 0) + 12 * rng.integers(0, 2, count)
    ]
    turns = [Turn(f"s{seed}-{row}", 0, topic + away, candidates=1, day=seed) for row, topic in enumerate(about)]
    claimed = slice_of(turns)
    claimed.fresh.embeddings[:] = ROWS[about] + 0.2 * rng.standard_normal((count, DIM)).astype(np.float32)
    return claimed


def after(state: LearnedState, claimed: LedgerSlice, order: dict[str, tuple[str, int]] | None = None) -> LearnedState:
    found = learn_mixing(state, [], claimed, CATALOG, SETS, ORDER if order is None else order, 30.0)
    arrays: dict[str, Arrays] = {} if found is None else {"mixing": found}
    return dataclasses.replace(state, arrays={**state.arrays, **arrays})


def test_the_answer_s_place_beside_the_match_is_learned():
    following, preceding = BLANK, BLANK
    for seed in range(8):
        following = after(following, asked(MOST_QUERIES, 1, seed))
        preceding = after(preceding, asked(MOST_QUERIES, -1, seed))
    default = Mixing.initial().weights
    one, other = mixing_of(following).weights, mixing_of(preceding).weights
    # "before" is the activation of the turn before a candidate: the match that the answer follows.
    assert one[BEFORE] > default[BEFORE] + 1.0
    assert one[BEFORE] > one[AFTER]
    assert other[AFTER] > default[AFTER] + 1.0
    assert other[AFTER] > other[BEFORE]


def test_a_few_queries_are_learned_from_and_not_served_yet():
    state = after(after(BLANK, asked(MOST_QUERIES, 1)), asked(ENOUGH - 1 - MOST_QUERIES, 1, 8))
    assert int(state.arrays["mixing"]["queries"]) == ENOUGH - 1
    assert np.array_equal(mixing_of(state).weights, Mixing.initial().weights)
    assert not np.array_equal(mixing_of(after(state, asked(5, 1, 9))).weights, Mixing.initial().weights)


def test_nothing_is_learned_where_nothing_was_used():
    unused = slice_of([Turn("a", 0, 1, quality=0.1, candidates=1), Turn(None, 0, 1, candidates=1), Turn("a", 0, 1)])
    state = after(BLANK, unused)
    assert "mixing" not in state.arrays
    learned = after(BLANK, asked(9, 1))
    assert after(learned, unused).arrays["mixing"] is learned.arrays["mixing"]


def test_the_order_of_the_slice_does_not_matter_and_certainty_grows():
    claimed = asked(40, 1)
    rows = np.random.default_rng(4).permutation(40)
    shuffled = dataclasses.replace(
        claimed, fresh=claimed.fresh.take(rows), outcomes=[claimed.outcomes[row] for row in rows.tolist()]
    )
    one, other = (after(BLANK, of).arrays["mixing"] for of in (claimed, shuffled))
    assert all(np.array_equal(one[name], other[name]) for name in one)
    more = after(after(BLANK, claimed), asked(60, 1, 3)).arrays["mixing"]
    assert np.linalg.eigvalsh(np.asarray(more["precision"])).min() > 0
    assert np.trace(more["precision"]) > np.trace(one["precision"])


def test_weights_of_a_release_with_fewer_features_are_completed():
    state = after(after(BLANK, asked(30, 1)), asked(30, 1, 2))
    held = state.arrays["mixing"]
    older = {**held, "weights": held["weights"][:-2], "precision": held["precision"][:-2, :-2]}
    read = mixing_of(dataclasses.replace(state, arrays={"mixing": older})).weights
    assert read[:-2] == pytest.approx(np.asarray(held["weights"])[:-2])
    assert read[-2:] == pytest.approx(Mixing.initial().weights[-2:])
