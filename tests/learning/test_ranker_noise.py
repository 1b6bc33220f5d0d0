"""Label noise: wrong feedback is measured, and the ranker's own errors are not taken for it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from sona_pg.learning.ranking.ranker import RankerConfig, RankerState, score
from sona_pg.learning.ranking.ranker_doubt import NOISY
from sona_pg.learning.ranking.ranker_events import RankEvents
from sona_pg.learning.ranking.ranker_explore import explore
from sona_pg.learning.ranking.ranker_fit import fit
from sona_pg.learning.ranking.ranker_noise import (
    FIRST_STRENGTH,
    MOST_STRENGTH,
    FirstAnswers,
    Noise,
    contradicted,
    measure_noise,
)

from .test_ranker import DIM, ITEMS, ask, rows, trained, world
from .test_ranker_fit import thumbs

SURE = 1.0 / (1.0 + np.exp(-np.linspace(-0.5, 7.0, 500)))  # chance of being right, of a ranker that knows it
FIRST = Noise(RankerConfig().label_noise, FIRST_STRENGTH)


def answers(right: NDArray[np.float64], seed: int, wrong: float = 0.0) -> tuple[NDArray[np.float32], ...]:
    """Logits of two answers, the first shown, and the thumbs: by how probably it is right, a share of them wrong."""
    random = np.random.default_rng(seed)
    said = (random.random(len(right)) < right) != (random.random(len(right)) < wrong)
    odds = np.log(right / (1.0 - right))
    return np.stack([odds, np.zeros(len(right))], axis=1).astype(np.float32), said.astype(np.float32)


def noise_of(logits: NDArray[np.float32], said: NDArray[np.float32], usual: Noise = FIRST) -> Noise:
    known, best = np.full(logits.shape[1], 50.0, np.float32), logits.argmax(axis=1).astype(np.int32)
    found = measure_noise(FirstAnswers.of(logits, best, said, np.zeros(len(said), np.bool_), known), usual)
    assert found is not None
    return found


@pytest.mark.parametrize("wrong", [0.0, 0.1, 0.3])
def test_the_share_of_wrong_thumbs_is_found_among_the_surest_answers(wrong: float) -> None:
    found = FIRST
    for cycle in range(8):
        found = noise_of(*answers(SURE, cycle, wrong), found)
    assert found.share == pytest.approx(wrong, abs=0.04)
    assert FIRST_STRENGTH < found.strength <= MOST_STRENGTH


@pytest.mark.parametrize("right", [0.15, 0.3, 0.75, 0.9])
def test_errors_of_a_ranker_that_knows_nothing_but_is_sure_are_no_noise(right: float) -> None:
    random, found = np.random.default_rng(0), FIRST
    for _ in range(6):
        logits = (3.0 * random.standard_normal((300, 8))).astype(np.float32)
        found = noise_of(logits, (random.random(300) < right).astype(np.float32), found)
    assert found.share < min(1.0 - right, 0.15)


def test_who_begins_to_err_is_found_out_and_who_ceases_to_is_believed_again() -> None:
    found = Noise(0.005, MOST_STRENGTH)
    for wrong in (0.2, 0.0):
        for cycle in range(8):
            found = noise_of(*answers(SURE, cycle, wrong), found)
        assert found.share == pytest.approx(wrong, abs=0.05)


def test_the_noise_of_thumbs_is_measured_by_cycles() -> None:
    items, centres = world(3)
    for wrong in (0.0, 0.1, 0.3):
        state, history = RankerState.initial(DIM), RankEvents.empty(DIM)
        for cycle in range(10):
            fresh = thumbs(state, items, centres, 200, cycle, wrong)
            state, history = fit(state, items, fresh, history), history.joined(fresh)
        assert float(state.scales[4]) == pytest.approx(wrong, abs=0.08)


def test_noise_is_not_measured_without_rivals_or_events() -> None:
    for count, rivals in ((99, 1), (0, 3), (15, 3)):
        logits, blank = np.zeros((count, rivals), np.float32), np.zeros(count, np.int32)
        known = np.full(rivals, 50.0, np.float32)
        first = FirstAnswers.of(logits, blank, np.ones(count, np.float32), np.ones(count, bool), known)
        assert (measure_noise(first, FIRST), contradicted(first)) == (None, None)


def test_corrections_towards_new_items_are_news_and_not_noise() -> None:
    logits = np.zeros((100, 3), np.float32)
    logits[:, 0] = np.linspace(1.0, 2.0, 100)
    told_new, sure = np.full(100, 2, np.int32), np.ones(100, bool)
    evidence = np.array([50.0, 50.0, 0.0], np.float32)
    assert contradicted(FirstAnswers.of(logits, told_new, np.ones(100, np.float32), sure, evidence)) is None
    evidence[2] = 50.0
    assert contradicted(FirstAnswers.of(logits, told_new, np.ones(100, np.float32), sure, evidence)) == 1.0


def test_corrections_that_name_another_answer_are_noise_as_thumbs_are() -> None:
    random, known, found = np.random.default_rng(0), np.full(2, 50.0, np.float32), FIRST
    for cycle in range(8):
        logits, said = answers(SURE, cycle)
        told = (said < 0.5).astype(np.int32) ^ (random.random(len(said)) < 0.2)
        first = FirstAnswers.of(logits, told, np.ones(len(said), np.float32), np.ones(len(said), bool), known)
        found = measure_noise(first, found) or found
    assert found.share == pytest.approx(0.2, abs=0.05)


@pytest.mark.parametrize("seed", range(3))
def test_honest_thumbs_on_embeddings_that_say_nothing_raise_accuracy_and_keep_it(seed: int) -> None:
    items, centres = world(seed)[0], world(seed + 100)[1]
    asked, meant = ask(centres, 1000, 99)

    def accuracy(state: RankerState) -> float:
        return float((score(state, asked, items, rows(ITEMS)).argmax(axis=1) == meant).mean())

    state, history = RankerState.initial(DIM), RankEvents.empty(DIM)
    frozen, reached = accuracy(state), []
    for cycle in range(8):
        query = ask(centres, 150, cycle)
        shown = explore(state, score(state, query[0], items, rows(ITEMS)), rows(ITEMS)).argmax(axis=1).astype(np.int32)
        blank = np.full(150, -1, np.int32)
        said = (shown == query[1]).astype(np.float32)
        fresh = RankEvents(query[0], shown, said, blank, np.ones(150, np.float32))
        state, history = fit(state, items, fresh, history, seed=cycle), history.joined(fresh)
        reached.append(accuracy(state))
        assert float(state.scales[4]) < NOISY
    assert min(reached[3:]) > frozen + 0.1
    assert reached[-1] > max(reached) - 0.1


def test_a_state_of_an_earlier_release_forgets_the_noise_that_was_its_own_errors() -> None:
    state, _, _ = trained()
    arrays = replace(state, scales=np.array([*state.scales[:4], 0.3], np.float32)).to_arrays()
    assert float(RankerState.from_arrays(arrays).scales[4]) == pytest.approx(0.3)
    del arrays["noise_strength"], arrays["contradicted"]
    earlier = RankerState.from_arrays(arrays)
    assert (float(earlier.scales[4]), earlier.noise_strength.tolist()) == (0.0, [0.0])
    assert earlier.contradicted.tolist() == [pytest.approx(0.3)]
