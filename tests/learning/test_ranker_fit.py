"""Fitting the ranker: it learns, exactly once, the same every time, and survives poison."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest

from sona_pg.errors import DimensionMismatch
from sona_pg.learning.ranking import ranker_objective
from sona_pg.learning.ranking.lbfgs import minimise
from sona_pg.learning.ranking.ranker import RankerConfig, RankerState, score
from sona_pg.learning.ranking.ranker_curvature import inverse_curvature
from sona_pg.learning.ranking.ranker_events import NONE, RankEvents
from sona_pg.learning.ranking.ranker_fit import fit
from sona_pg.learning.ranking.ranker_folding import folded
from sona_pg.learning.ranking.ranker_objective import PartialLabels

from .test_ranker import DIM, ITEMS, ask, rows, told, trained, world

NOTHING = RankEvents.empty(DIM)


def accuracy(state: RankerState, items: np.ndarray, centres: np.ndarray) -> float:
    query, meant = ask(centres, 1000, 99)
    return float((score(state, query, items, rows(len(items))).argmax(axis=1) == meant).mean())


def thumbs(
    state: RankerState, items: np.ndarray, centres: np.ndarray, count: int, seed: int, wrong: float = 0.0
) -> RankEvents:
    query, meant = ask(centres, count, seed)
    shown = score(state, query, items, rows(len(items))).argmax(axis=1).astype(np.int32)
    up = (shown == meant) ^ (np.random.default_rng(seed).random(count) < wrong)
    blank = np.full(count, NONE, np.int32)
    return RankEvents(query, shown, up.astype(np.float32), blank, np.ones(count, np.float32))


def test_the_gradient_is_that_of_finite_differences() -> None:
    random = np.random.default_rng(0)
    draw = lambda *shape: random.standard_normal(shape).astype(np.float32)  # noqa: E731
    objective = PartialLabels(
        query=draw(30, 5),
        base=draw(30, 6),
        features=draw(6, 4),
        target=random.integers(0, 6, 30),
        quality=random.random(30).astype(np.float32),
        weight=random.random(30).astype(np.float32),
        up_noise=0.05,
        down_noise=0.2,
        ridge=0.1,
    )
    at, along = draw(10, 5), draw(10, 5)
    step = np.float32(3e-3)
    slope = (objective.at(at + step * along).value - objective.at(at - step * along).value) / (2 * step)
    assert float(np.vdot(objective.at(at).gradient(), along)) == pytest.approx(slope, rel=1e-2)


def test_a_point_on_a_line_is_the_point_evaluated_on_its_own(monkeypatch) -> None:
    monkeypatch.setattr(ranker_objective, "_CELLS_AT_ONCE", 7 * 6)  # the last block is short
    random = np.random.default_rng(1)
    draw = lambda *shape: random.standard_normal(shape).astype(np.float32)  # noqa: E731
    base = draw(30, 6)
    base[:, 4] = -np.inf  # is no candidate
    objective = PartialLabels(
        draw(30, 5), base, draw(6, 4), random.integers(0, 4, 30), random.random(30).astype(np.float32),
        random.random(30).astype(np.float32), up_noise=0.05, down_noise=0.2, ridge=0.1,
    )  # fmt: skip
    point = objective.at(draw(10, 5))
    for _ in range(3):
        line = point.line(draw(10, 5))
        line(1.0)  # is tried, and left
        point = line(0.3)
        alone = objective.at(point.at)
        assert point.value == pytest.approx(alone.value, rel=1e-5)
        np.testing.assert_allclose(point.gradient(), alone.gradient(), rtol=1e-4, atol=1e-5)
    assert np.isfinite(objective.base[:, :4]).all()
    assert np.isinf(objective.base[:, 4]).all()


@dataclass(frozen=True)
class Valley:
    """A quadratic function with its minimum at one."""

    scale: np.ndarray
    at: np.ndarray

    @property
    def value(self) -> float:
        return 0.5 * float(self.scale @ (self.at - 1) ** 2)

    def gradient(self) -> np.ndarray:
        return self.scale * (self.at - 1)

    def line(self, direction: np.ndarray) -> Callable[[float], Valley]:
        return lambda step: replace(self, at=self.at - np.float32(step) * direction)


def test_the_minimiser_finds_the_bottom_of_a_narrow_valley() -> None:
    valley = Valley(np.logspace(0, 3, 12).astype(np.float32), np.zeros(12, np.float32))
    found = minimise(valley, iterations=200, tolerance=1e-6)
    np.testing.assert_allclose(found.at, 1.0, atol=1e-3)


def test_a_correction_improves_the_right_answer() -> None:
    state, items, centres = trained()
    assert accuracy(state, items, centres) > accuracy(RankerState.initial(DIM), items, centres) + 0.1


def test_thumbs_alone_make_it_better() -> None:
    items, centres = world(3)
    state, history = RankerState.initial(DIM), NOTHING
    before = accuracy(state, items, centres)
    for cycle in range(6):
        fresh = thumbs(state, items, centres, 150, cycle)
        state, history = fit(state, items, fresh, history), history.joined(fresh)
    assert accuracy(state, items, centres) > before + 0.1


def test_up_and_down_move_the_shown_item_apart() -> None:
    items, centres = world()
    one = thumbs(RankerState.initial(DIM), items, centres[:1], 20, 0)
    shown = int(one.shown[0])
    one = replace(one, shown=np.full(20, shown, np.int32))
    up, down = (
        score(
            fit(RankerState.initial(DIM), items, replace(one, quality=np.full(20, q, np.float32)), NOTHING),
            centres[:1],
            items,
            rows(ITEMS),
        )[0]
        for q in (1.0, 0.0)
    )
    others = np.delete(np.arange(ITEMS), shown)
    assert up[shown] - up[others].mean() > down[shown] - down[others].mean()


def test_the_same_arguments_give_the_same_state() -> None:
    first, second = trained()[0].to_arrays(), trained()[0].to_arrays()
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name], err_msg=name)


def test_folding_alone_leaves_the_evidence_that_a_fit_leaves() -> None:
    items, centres = world(3)
    said, more = (told(*ask(centres, 60, seed)) for seed in (0, 1))
    state = fit(RankerState.initial(DIM), items, said, NOTHING)
    some = said.take(np.arange(0, 60, 2))
    for fresh in (more, replace(some, weight=-some.weight), replace(said, weight=-said.weight)):
        fitted, alone = fit(state, items, fresh, said), folded(state, len(items), fresh)
        np.testing.assert_array_equal(fitted.positive, alone.positive)
        np.testing.assert_array_equal(fitted.negative, alone.negative)
        np.testing.assert_array_equal(fitted.folded[:2], alone.folded[:2])


def test_the_given_state_is_not_touched() -> None:
    state, items, centres = trained()
    before = {name: array.copy() for name, array in state.to_arrays().items()}
    fit(state, items, told(*ask(centres, 50, 7)), NOTHING)
    for name, array in state.to_arrays().items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)


def test_nothing_new_changes_nothing() -> None:
    state, items, _ = trained()
    again = fit(state, items, NOTHING, NOTHING)
    for name in ("heads", "map", "positive", "folded"):
        np.testing.assert_array_equal(getattr(again, name), getattr(state, name))


def test_evidence_is_folded_once_and_replay_adds_none() -> None:
    items, centres = world()
    events = told(*ask(centres, 40, 1))
    once = fit(RankerState.initial(DIM), items, events, NOTHING)
    again = fit(once, items, NOTHING, events)
    np.testing.assert_array_equal(once.positive, np.bincount(events.correct, minlength=ITEMS))
    np.testing.assert_array_equal(again.positive, once.positive)


def test_a_revision_takes_the_old_evidence_back() -> None:
    items, centres = world()
    events = told(*ask(centres, 40, 1))
    state = fit(RankerState.initial(DIM), items, events, NOTHING)
    back = fit(state, items, replace(events, weight=-events.weight), NOTHING)
    np.testing.assert_allclose(back.positive, 0.0, atol=1e-9)
    np.testing.assert_allclose(back.query_sum, 0.0, atol=1e-9)


def test_poison_is_set_aside_and_the_rest_is_learned() -> None:
    items, centres = world()
    query, meant = ask(centres, 200, 1)
    poisoned = query.copy()
    poisoned[::10] = np.nan
    poisoned[5::10] = np.inf
    state = fit(RankerState.initial(DIM), items, told(poisoned, meant), NOTHING)
    clean = np.isfinite(poisoned).all(axis=1)
    expected = fit(RankerState.initial(DIM), items, told(query[clean], meant[clean]), NOTHING)
    np.testing.assert_array_equal(state.heads, expected.heads)


@pytest.mark.parametrize("kind", ["zero", "huge", "equal"])
def test_degenerate_queries_leave_a_finite_state(kind: str) -> None:
    items, centres = world()
    query, meant = ask(centres, 60, 1)
    query = {"zero": query * 0, "huge": query * np.float32(1e37), "equal": query[:1].repeat(60, 0)}[kind]
    state = fit(RankerState.initial(DIM), items, told(query, meant), NOTHING)
    for name, array in state.to_arrays().items():
        assert np.isfinite(array).all(), name


@pytest.mark.parametrize("items", [0, 1, 2])
def test_a_space_of_hardly_any_items_is_learned_from_without_harm(items: int) -> None:
    embeddings, _ = world(items=max(items, 1))
    query, _ = ask(world()[1], 40, 1)
    events = told(query, np.full(40, items - 1, np.int32))
    state = fit(RankerState.initial(DIM), embeddings[:items], events, NOTHING)
    state = fit(state, embeddings[:items], events, NOTHING)
    assert np.isfinite(score(state, query, embeddings[:items], rows(items))).all()


def test_items_may_be_added_later() -> None:
    state, items, centres = trained()
    more, more_centres = world(8)
    both, both_centres = np.concatenate([items, more]), np.concatenate([centres, more_centres])
    old = told(*ask(centres, 200, 1))
    state = fit(state, both, told(*ask(both_centres, 400, 2)), old)
    assert accuracy(state, both, both_centres) > accuracy(RankerState.initial(DIM), both, both_centres)


def test_candidates_outside_the_set_are_not_pushed_down() -> None:
    items, centres = world()
    query, meant = ask(centres[:3], 90, 1)
    offered = np.tile(np.array([0, 1, 2, NONE], np.int32), (90, 1))
    state = fit(RankerState.initial(DIM), items, replace(told(query, meant), candidates=offered), NOTHING)
    plain = fit(RankerState.initial(DIM), items, told(query, meant), NOTHING)
    outside = [score(s, centres[:3], items, rows(ITEMS))[:, 3:].mean() for s in (state, plain)]
    assert outside[0] > outside[1]


def test_an_event_without_a_set_of_its_own_chose_among_all_beside_one_that_has_one() -> None:
    events = told(*ask(world()[1], 4, 1))
    table = np.array([[0, 1, NONE], [NONE] * 3, [NONE] * 3, [5, NONE, NONE]], np.int32)
    offered = replace(events, candidates=table).offered(rows(ITEMS))
    assert offered[1:3].all()
    assert set(np.flatnonzero(offered[0])) == {0, 1, int(events.judged[0])}
    assert set(np.flatnonzero(offered[3])) == {5, int(events.judged[3])}


def test_feedback_teaches_the_same_after_a_candidate_was_added() -> None:
    """Then earlier events chose among fewer, and have a set, and the others have none."""
    items, centres = world()
    events = told(*ask(centres, 200, 1))
    table = np.full((200, ITEMS - 1), NONE, np.int32)
    table[0] = rows(ITEMS)[:-1]
    learned = [
        accuracy(fit(RankerState.initial(DIM), items, of, NOTHING), items, centres)
        for of in (events, replace(events, candidates=table))
    ]
    assert learned[0] > accuracy(RankerState.initial(DIM), items, centres) + 0.05
    assert abs(learned[1] - learned[0]) < 0.02


def test_wide_embeddings_are_learned_from_in_a_subspace() -> None:
    items, centres = world(dim=200)
    events = told(*ask(centres, 300, 1))
    config = RankerConfig(most_features=32)
    state = fit(RankerState.initial(200), items, events, RankEvents.empty(200), config)
    assert state.basis.shape == (200, 32)
    np.testing.assert_allclose(state.basis.T @ state.basis, np.eye(32), atol=1e-4)
    assert accuracy(state, items, centres) >= accuracy(RankerState.initial(200), items, centres)


def test_only_so_many_items_are_fitted_in_a_cycle() -> None:
    items, centres = world(items=60)
    events = told(*ask(centres[:10], 100, 1))
    state = fit(RankerState.initial(DIM), items, events, NOTHING, RankerConfig(most_rows=20))
    assert len(state.head_rows) == 20
    assert set(events.correct) <= set(state.head_rows)


def test_events_of_another_dimension_are_refused() -> None:
    with pytest.raises(DimensionMismatch):
        fit(RankerState.initial(DIM), world()[0], RankEvents.empty(DIM + 1), NOTHING)


def test_the_curvature_given_is_that_of_a_softmax_and_saves_most_steps():
    rng = np.random.default_rng(5)
    n, items, dim = 600, 12, 24
    spread = np.geomspace(1.0, 0.05, dim)  # queries vary much more in some directions than in others
    query = np.pad((rng.standard_normal((n, dim)) * spread).astype(np.float32), ((0, 0), (0, 1)), constant_values=1.0)
    truth = rng.standard_normal((items, dim + 1)).astype(np.float32) * 3
    objective = PartialLabels(
        query=query,
        base=np.zeros((n, items), np.float32),
        features=0.1 * rng.standard_normal((items, dim)).astype(np.float32),
        target=(query @ truth.T).argmax(axis=1),
        quality=np.ones(n, np.float32),
        weight=np.ones(n, np.float32),
        up_noise=0.02,
        down_noise=0.02,
        ridge=0.01,
    )
    start = np.zeros((items + dim, dim + 1), np.float32)
    for fitted in (False, True):
        point = objective.at(start)
        inverse = inverse_curvature(point, fitted=fitted)
        np.testing.assert_allclose(inverse.directions.T @ inverse.directions, np.eye(dim + 1), atol=1e-5)
        assert inverse.steps.min() > 0.0
        plain = minimise(objective.at(start), iterations=12)
        given = minimise(point, iterations=9, inverse=inverse)
        assert given.value < plain.value
        start = given.at
