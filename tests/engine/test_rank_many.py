"""Ranking many queries at once equals ranking them one by one, before and after learning."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from sona_pg import SonaEngine
from sona_pg.errors import DimensionMismatch, InvalidValue
from sona_pg.serving.candidate_ranker import best_first

DIM = 16
IDS = [f"document {number}" for number in range(8)]


@pytest.fixture
def engine(database_url: str) -> Iterator[SonaEngine]:
    with SonaEngine(DIM, database_url) as opened:
        yield opened


@pytest.fixture
def candidates() -> np.ndarray:
    return unit_rows(1, len(IDS))


def unit_rows(seed: int, rows: int) -> np.ndarray:
    values = np.random.default_rng(seed).standard_normal((rows, DIM)).astype(np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def test_a_batch_ranks_as_its_queries_do_one_by_one(engine: SonaEngine, candidates: np.ndarray) -> None:
    queries = unit_rows(2, 40)
    for _ in range(2):
        many = engine.rank_many(queries, candidates, ids=IDS, k=3)
        for query, ranking in zip(queries, many, strict=True):
            alone = engine.rank(query, candidates, ids=IDS, k=3)
            assert alone.ids == ranking.ids
            assert np.allclose(alone.scores, ranking.scores, atol=1e-5)
            assert (alone.version, alone.candidate_set) == (ranking.version, ranking.candidate_set)
            assert alone.confidence == pytest.approx(ranking.confidence, rel=1e-4)
            assert (alone.fit is None) == (ranking.fit is None) == (alone.version == 0)
            assert alone.fit is None or 0 <= (alone.confidence or 0.0) <= alone.fit <= 1
        for query, ranking in zip(queries, many, strict=True):  # afterwards: what is judged counts at once
            handle = engine.begin_trajectory(query, ranking=ranking)
            engine.set_trajectory_route(handle, ranking.ids[0])
            engine.end_trajectory(handle, quality=1.0)
        assert engine.force_learn().learned


def test_a_batch_may_be_empty_and_k_larger_than_the_set(engine: SonaEngine, candidates: np.ndarray) -> None:
    assert engine.rank_many(candidates[:0], candidates, ids=IDS) == []
    assert [len(ranking.ids) for ranking in engine.rank_many(candidates, candidates, ids=IDS, k=99)] == [8] * 8


def test_ids_that_were_ranked_before_are_still_told_apart(engine: SonaEngine, candidates: np.ndarray) -> None:
    first = engine.rank(candidates[0], candidates, ids=IDS)
    other = engine.rank(candidates[0], candidates, ids=[*IDS[:7], "another"])
    assert first.candidate_set != other.candidate_set
    moved = engine.rank(candidates[0], candidates[::-1], ids=IDS)
    assert moved.ids[0] == IDS[-1]


@pytest.mark.parametrize("ids", [[], ["one", "one"], ["", "two"], [["a list"], "two"], [1, 2]])
def test_ids_that_cannot_be_used_are_refused_by_name(engine: SonaEngine, ids: list[str]) -> None:
    for _ in range(2):
        with pytest.raises(InvalidValue, match="id"):
            engine.rank_many(unit_rows(3, 2), unit_rows(4, len(ids)), ids=ids)


def test_queries_of_another_dimension_are_refused(engine: SonaEngine, candidates: np.ndarray) -> None:
    with pytest.raises(DimensionMismatch):
        engine.rank_many(np.zeros((2, DIM + 1), np.float32), candidates, ids=IDS)


@pytest.mark.parametrize("columns", [1, 8, 80, 999, 1000, 3000])
@pytest.mark.parametrize("k", [0, 1, 3, 10])
def test_the_best_come_first_and_equal_ones_in_their_order(columns: int, k: int) -> None:
    scores = np.random.default_rng(columns).integers(0, 6, (20, columns)).astype(np.float32)
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    assert np.array_equal(best_first(scores, k), expected)
    assert best_first(scores[:0], k).shape == (0, min(k, columns))
