"""Recent ranking: what feedback beyond a version adds to its scores."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sona_pg.learning.ranking.ranker import RankerState
from sona_pg.learning.ranking.ranker_events import NONE, RankEvents, unit_rows
from sona_pg.learning.ranking.ranker_fit import fit
from sona_pg.learning.ranking.ranker_prepared import prepare
from sona_pg.learning.ranking.recent_ranking import RecentRanking
from sona_pg.learning.ranking.recent_steps import RecentRankingConfig

DIM, ITEMS = 24, 12
RNG = np.random.default_rng(0)
ROWS = unit_rows(RNG.standard_normal((ITEMS, DIM)).astype(np.float32))
SLOTS = np.arange(ITEMS, dtype=np.int32)


def asked(rows: NDArray[np.int64], noise: float, seed: int) -> NDArray[np.float32]:
    """Queries that mean ``rows``, and stand a little off them, in a way that queries share."""
    random = np.random.default_rng(seed)
    off = np.roll(ROWS, 1, axis=0)[rows] * 1.1
    return unit_rows((ROWS[rows] + off + noise * random.standard_normal((len(rows), DIM))).astype(np.float32))


def thumbs(queries: NDArray[np.float32], shown: NDArray[np.int64], meant: NDArray[np.int64]) -> RankEvents:
    n = len(queries)
    return RankEvents(
        queries, shown.astype(np.int32), (shown == meant).astype(np.float32), np.full(n, NONE, np.int32),
        np.ones(n, np.float32),
    )  # fmt: skip


def scores(state: RankerState, recent: RecentRanking, queries: NDArray[np.float32]) -> NDArray[np.float32]:
    weights, offset = recent.moves
    served = prepare(state, ROWS, SLOTS)
    return queries @ (served.weights + weights).T + served.offset + offset


def taught(state: RankerState, count: int, seed: int = 1) -> RecentRanking:
    """Ask, show the best, judge it, and learn: one after the other."""
    recent = RecentRanking(state, ROWS, SLOTS)
    meant = np.random.default_rng(seed).integers(0, ITEMS, count)
    for query, right in zip(asked(meant, 0.05, seed), meant, strict=True):
        shown = scores(state, recent, query[None, :]).argmax(axis=1)
        recent.learn(thumbs(query[None, :], shown, np.array([right])))
    return recent


def accuracy(state: RankerState, recent: RecentRanking, rows: NDArray[np.int64] | None = None) -> float:
    meant = np.repeat(np.arange(ITEMS) if rows is None else rows, 20)
    return float((scores(state, recent, asked(meant, 0.05, 99)).argmax(axis=1) == meant).mean())


def test_thumbs_alone_teach_before_any_cycle() -> None:
    state = RankerState.initial(DIM)
    before = accuracy(state, RecentRanking(state, ROWS, SLOTS))
    assert accuracy(state, taught(state, 100)) > before + 0.3


def test_a_correction_changes_the_answer_to_the_same_question_at_once_and_later_ones_leave_it() -> None:
    random = np.random.default_rng(4)
    rows = unit_rows(random.standard_normal((250, 64)).astype(np.float32))
    queries = unit_rows(
        rows + 1.2 * random.standard_normal((250, 64)).astype(np.float32) / 8 + np.roll(rows, 1, axis=0)
    )
    state, slots = RankerState.initial(64), np.arange(250, dtype=np.int32)
    recent, served = RecentRanking(state, rows, slots), prepare(state, rows, slots)

    def best(query: NDArray[np.float32]) -> NDArray[np.int64]:
        weights, offset = recent.moves
        return np.asarray((query @ (served.weights + weights).T + served.offset + offset).argmax(axis=1))

    corrected, at_once = [], []
    for right in random.permutation(250):
        query = queries[right][None, :]
        shown = best(query)
        if shown[0] == right:
            continue
        told = RankEvents(
            query, shown.astype(np.int32), np.full(1, np.nan, np.float32), np.array([right], np.int32),
            np.ones(1, np.float32),
        )  # fmt: skip
        recent.learn(told)
        corrected.append(right)
        at_once.append(best(query)[0] == right)
    assert len(corrected) > 60
    assert np.mean(at_once) > 0.95
    assert (best(queries[corrected]) == corrected).mean() > 0.9


def test_nothing_said_moves_nothing_and_unjudged_events_are_left_out() -> None:
    state = RankerState.initial(DIM)
    recent = RecentRanking(state, ROWS, SLOTS)
    nothing = thumbs(ROWS[:2], np.array([NONE, NONE]), np.array([0, 1]))
    recent.learn(nothing)
    weights, offset = recent.moves
    assert not weights.any()
    assert not offset.any()


def test_the_first_thumbs_move_less_than_many_of_each_candidate() -> None:
    state = RankerState.initial(DIM)
    bold = RecentRankingConfig(caution=0.0)
    shares = []
    for each in (1, 20):
        meant = np.tile(np.arange(ITEMS), each)
        moved = []
        for config in (None, bold):
            recent = RecentRanking(state, ROWS, SLOTS, config)
            recent.learn(thumbs(asked(meant, 0.05, 1), meant, meant))
            moved.append(recent.moves[0])
        shares.append(np.linalg.norm(moved[0]) / np.linalg.norm(moved[1]))
    assert shares[0] < 0.7
    assert shares[1] > 0.95


def test_the_same_thumb_many_times_is_bounded() -> None:
    state = RankerState.initial(DIM)
    query, shown = asked(np.array([3]), 0.0, 0), np.array([4])
    sizes = []
    for count in (1, 8, 64, 256):
        recent = RecentRanking(state, ROWS, SLOTS)
        recent.learn(thumbs(np.repeat(query, count, 0), np.repeat(shown, count), np.full(count, 3)))
        weights, _ = recent.moves
        sizes.append(float(np.linalg.norm(weights, axis=1).max()))
        assert np.isfinite(weights).all()
        assert scores(state, recent, query).argmax() != 4
    assert sizes[-1] < 2 * sizes[-2] < 8 * sizes[1]


def test_candidates_that_nobody_asked_for_keep_their_place() -> None:
    state = RankerState.initial(DIM)
    recent = RecentRanking(state, ROWS, SLOTS)
    half = np.random.default_rng(2).integers(0, ITEMS // 2, 100)
    others = np.arange(ITEMS // 2, ITEMS)
    own = unit_rows(ROWS[others])
    before = scores(state, recent, own).argmax(axis=1) == others
    queries = asked(half, 0.05, 2)
    recent.learn(thumbs(queries, half, half))
    assert ((scores(state, recent, own).argmax(axis=1) == others) >= before).all()


def test_it_goes_on_from_a_fitted_version_and_its_moves_are_affine() -> None:
    state = RankerState.initial(DIM)
    meant = np.random.default_rng(3).integers(0, ITEMS, 200)
    state = fit(state, ROWS, thumbs(asked(meant, 0.05, 3), meant, meant), RankEvents.empty(DIM))
    recent = RecentRanking(state, ROWS, SLOTS)
    query = asked(np.array([7]), 0.05, 7)  # its answer is not beyond doubt
    shown = scores(state, recent, query).argmax(axis=1)
    before = scores(state, recent, query)[0, shown]
    recent.learn(thumbs(query, shown, shown + 1))
    assert scores(state, recent, query)[0, shown] < before
    assert accuracy(state, recent) > 0.9


def test_candidates_may_come_later() -> None:
    state = RankerState.initial(DIM)
    recent = RecentRanking(state, ROWS[:6], SLOTS[:6])
    recent.extend(ROWS[6:], SLOTS[6:])
    queries = asked(np.arange(ITEMS), 0.0, 5)
    recent.learn(thumbs(queries, np.roll(np.arange(ITEMS), 1), np.arange(ITEMS)))
    weights, offset = recent.moves
    assert weights.shape == ROWS.shape
    assert offset.shape == (ITEMS,)
    assert accuracy(state, recent) >= accuracy(state, RecentRanking(state, ROWS, SLOTS))


def test_facts_that_come_late_count_as_if_they_had_come_in_time() -> None:
    state = RankerState.initial(DIM)
    meant = np.random.default_rng(4).integers(0, ITEMS, 45)
    events = thumbs(asked(meant, 0.3, 4), np.roll(meant, 1), meant)
    at_once, late = RecentRanking(state, ROWS, SLOTS), RecentRanking(state, ROWS, SLOTS)
    at_once.learn(events)
    for row in range(5, 45):
        late.learn(events.take(np.array([row])))
    late.forget(0)
    late.learn(events.take(np.arange(30)))
    late.learn(events.take(np.arange(35)))
    late.forget(29)
    late.learn(events.take(np.arange(29, 45)))
    for one, other in zip(at_once.moves, late.moves, strict=True):
        np.testing.assert_array_equal(one, other)


def test_candidates_that_come_later_are_forgotten_with_the_facts_about_them() -> None:
    state = RankerState.initial(DIM)
    events = thumbs(asked(np.arange(ITEMS), 0.0, 5), np.arange(ITEMS), np.arange(ITEMS))
    recent, again = (RecentRanking(state, ROWS[:6], SLOTS[:6]) for _ in range(2))
    for one in (recent, again):
        one.extend(ROWS[6:], SLOTS[6:])
        one.learn(events)
    assert again.forget(8) == 8
    again.extend(ROWS[8:], SLOTS[8:])
    again.learn(events.take(np.arange(8, ITEMS)))
    np.testing.assert_array_equal(recent.moves[0], again.moves[0])


def test_few_candidates_in_many_dimensions_lose_nothing_by_thumbs() -> None:
    """Outside the span of ten candidates the metric was without a bound: 50 thumbs cost 20 points."""
    random = np.random.default_rng(4)
    dim, items = 128, 8
    rows = unit_rows(random.standard_normal((items, dim)).astype(np.float32))
    meant = random.integers(0, items, 300)
    queries = unit_rows(0.32 * rows[meant] + unit_rows(random.standard_normal((300, dim)).astype(np.float32)))
    state, slots = RankerState.initial(dim), np.arange(items, dtype=np.int32)
    recent = RecentRanking(state, rows, slots)
    before = float(((queries @ rows.T).argmax(axis=1) == meant).mean())
    for query, right in zip(queries[:60], meant[:60], strict=True):
        weights, offset = recent.moves
        shown = ((rows + weights) @ query + offset).argmax(keepdims=True)
        recent.learn(thumbs(query[None, :], shown, np.array([right])))
    weights, offset = recent.moves
    after = float(((queries[60:] @ (rows + weights).T + offset).argmax(axis=1) == meant[60:]).mean())
    assert before > 0.9
    assert after > before - 0.06
