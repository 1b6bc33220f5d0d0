"""Patterns: clustering, stable ids, bounded number, merging, revising."""

from __future__ import annotations

import dataclasses
import uuid

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sona_pg import kernels
from sona_pg.config import PatternConfig
from sona_pg.domain.ledger_slice import Outcome
from sona_pg.domain.pattern import LearnedPattern, RouteRecord
from sona_pg.domain.trajectory import QueryTrajectory
from sona_pg.domain.verdict import VerdictCounts
from sona_pg.errors import PatternExtractionError
from sona_pg.learning.patterns.extraction import extract, merge_similar
from sona_pg.learning.patterns.pattern_revision import Counted, home_of, revise
from sona_pg.learning.patterns.tally import Observations
from sona_pg.learning.patterns.verdicts import judge
from sona_pg.learning.vectors import unit
from sona_pg.standalone.reasoning_bank import ReasoningBank

DIM = 12
FAILED = VerdictCounts(failure=1)


def observations(n: int, seed: int = 0, centers: int = 4, spread: float = 0.1) -> Observations:
    rng = np.random.default_rng(seed)
    around = unit(np.random.default_rng(99).standard_normal((centers, DIM)).astype(np.float32))
    which = rng.integers(0, centers, n)
    points = unit(around[which] + spread * rng.standard_normal((n, DIM)).astype(np.float32))
    routes, queries = [f"r{row % 2}" for row in which], [f"q {row}" for row in which]
    return seen(points, rng.random(n), routes, queries)


def seen(points, quality, routes=None, queries=None, parameters=None) -> Observations:
    nothing = [None] * len(points)
    verdicts = [judge(Outcome(value), np.nan, PatternConfig()) for value in quality]
    return Observations(points, quality, routes or nothing, queries or nothing, verdicts, parameters or nothing)


def pattern(seed: int, size: int = 1, weight: float = 1.0, quality: float = 0.5) -> LearnedPattern:
    centroid = unit(np.random.default_rng(seed).standard_normal(DIM).astype(np.float32))
    routes = {f"r{seed % 3}": RouteRecord(size, weight, quality)}
    return LearnedPattern(uuid.UUID(int=seed), centroid, size, weight, quality, routes=routes)


patterns = st.builds(pattern, st.integers(0, 50), st.integers(1, 1000), st.floats(0.01, 1e4), st.floats(0, 1))


@given(patterns, patterns, patterns)
def test_merging_is_associative_in_size_weight_quality_and_routes(a, b, c):
    left, right = a.merge(b).merge(c), a.merge(b.merge(c))
    assert left.size == right.size
    assert left.weight == pytest.approx(right.weight)
    assert left.quality == pytest.approx(right.quality)
    assert left.routes.keys() == right.routes.keys()
    for name, record in left.routes.items():
        assert record.weight == pytest.approx(right.routes[name].weight)
        assert record.quality == pytest.approx(right.routes[name].quality)


@given(patterns, patterns, st.floats(0.01, 1.0))
def test_merging_and_decay_keep_quality_in_bounds_and_centroids_of_length_one(a, b, factor):
    merged = a.merge(b).decay(factor)
    assert min(a.quality, b.quality) - 1e-9 <= merged.quality <= max(a.quality, b.quality) + 1e-9
    assert np.linalg.norm(merged.centroid) == pytest.approx(1.0, abs=1e-5)
    assert merged.weight == pytest.approx((a.weight + b.weight) * factor)
    assert merged.id == a.id
    assert b.id in merged.merged_from


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 12), st.lists(st.integers(1, 60), min_size=1, max_size=5))
def test_the_number_of_patterns_is_bounded_and_ids_are_stable(clusters, slices):
    config = PatternConfig(clusters=clusters, min_size=2)
    known: list[LearnedPattern] = []
    for version, n in enumerate(slices, 1):
        result = extract(known, observations(n, version), config, seed=version, version=version)
        assert len(result.patterns) <= clusters
        ids = {item.id for item in result.patterns}
        assert {item.id for item in known} - set(result.removed) <= ids
        assert len(ids) == len(result.patterns)
        known = result.patterns
    assert sum(item.size for item in known) <= sum(slices)


def test_the_same_slice_and_seed_give_the_same_patterns():
    one, other = (extract([], observations(80), PatternConfig(), seed=3, version=1).patterns for _ in range(2))
    assert [item.id for item in one] == [item.id for item in other]
    for ours, theirs in zip(one, other, strict=True):
        np.testing.assert_array_equal(ours.centroid, theirs.centroid)


def test_the_clusters_are_as_good_as_the_best_by_brute_force():
    points = np.ascontiguousarray(observations(9, centers=2).embeddings)
    best = np.inf
    for code in range(1, 2**8):  # every split in two
        labels = np.array([code >> row & 1 for row in range(9)])
        if labels.min() == labels.max():
            continue
        centroids = unit(np.stack([points[labels == side].mean(axis=0) for side in (0, 1)]))
        best = min(best, float(np.square(points - centroids[labels]).sum()))
    found = extract([], observations(9, centers=2), PatternConfig(clusters=2, min_size=1), seed=0, version=1)
    centroids = np.stack([item.centroid for item in found.patterns])
    inertia = float(kernels.kmeans_assign(points, centroids)[1].sum())
    assert len(found.patterns) == 2
    assert inertia <= best * 1.001 + 1e-6


def test_a_pattern_keeps_the_five_most_typical_queries_each_once():
    def knowing(seed, *queries):
        similarities = tuple(1.0 - 0.1 * rank for rank in range(len(queries)))
        return dataclasses.replace(pattern(seed), typical_queries=queries, typical_similarities=similarities)

    merged = knowing(1, "a", "b", "c").merge(knowing(2, "d", "a", "e", "f"))
    assert merged.typical_queries == ("a", "d", "b", "c", "e")
    assert merged.typical_similarities == pytest.approx((1.0, 1.0, 0.9, 0.8, 0.8))
    distinct = dataclasses.replace(observations(40), queries=[f"question {row}" for row in range(40)])
    found = extract([], distinct, PatternConfig(clusters=2), seed=0, version=1).patterns
    assert [len(set(item.typical_queries)) for item in found] == [5, 5]


def test_similar_patterns_merge_into_the_larger():
    large, small = pattern(1, 10), pattern(1, 2)
    small = LearnedPattern(uuid.UUID(int=77), small.centroid, 2, 1.0, 0.5)
    kept, gone = merge_similar([small, large], 0.95)
    assert gone == 1
    assert [item.id for item in kept] == [large.id]
    assert kept[0].size == 12


def test_equally_good_routes_are_told_alike_in_whichever_order_they_were_read():
    tried = {"b": RouteRecord(2, 1.0, 1.0), "a": RouteRecord(2, 2.0, 1.0), "c": RouteRecord(1, 1.0, 1.0)}
    for names in (["a", "b", "c"], ["c", "b", "a"]):
        found = dataclasses.replace(pattern(1), routes={name: tried[name] for name in names}).best_route
        assert found == ("a", tried["a"])


def test_a_revised_quality_counts_as_if_given_first():
    before = LearnedPattern(uuid.UUID(int=1), pattern(1).centroid, 4, 4.0, 0.5, routes={"a": RouteRecord(4, 4.0, 0.5)})
    after = revise(before, Counted("a", 0.2), Counted("a", 1.0))
    assert after.quality == pytest.approx(0.7)
    assert after.routes["a"].quality == pytest.approx(0.7)
    told = revise(before, Counted("a", None), Counted("a", 1.0))
    assert (told.weight, told.quality) == (5.0, pytest.approx(0.6))
    taken = revise(told, Counted("a", 1.0), Counted("a", None))
    assert (taken.weight, taken.quality) == (4.0, pytest.approx(0.5))


def test_a_revised_outcome_counts_as_if_given_first():
    points = observations(40).embeddings
    settings = [{"temperature": row / 40} for row in range(40)]
    told = np.linspace(0, 1, 40)
    late = np.where(np.arange(40) % 2, told, 1.0 - told)
    config = PatternConfig(clusters=3)
    patterns = extract([], seen(points, late, ["a"] * 40, None, settings), config, seed=0, version=1).patterns
    for row in np.flatnonzero(late != told).tolist():
        old, new = (
            Counted("a", quality, judge(Outcome(quality), np.nan, config), settings[row])
            for quality in (float(late[row]), float(told[row]))
        )
        place = home_of(patterns, points[row] @ np.stack([item.centroid for item in patterns]).T, old)
        patterns[place] = revise(patterns[place], old, new)
    once = extract([], seen(points, told, ["a"] * 40, None, settings), config, seed=0, version=1).patterns
    for ours, theirs in zip(patterns, once, strict=True):
        assert ours.verdicts == theirs.verdicts == theirs.routes["a"].verdicts == ours.routes["a"].verdicts
        assert ours.parameters.keys() == theirs.parameters.keys()
        for name, record in theirs.parameters.items():
            assert ours.parameters[name].size == record.size
            assert ours.parameters[name].mean == pytest.approx(record.mean)
            assert ours.parameters[name].deviation == pytest.approx(record.deviation, abs=1e-6)


def test_verdicts_are_neither_lost_nor_doubled_when_patterns_split():
    config = PatternConfig(clusters=8, min_size=2)
    first = observations(30, 1, centers=2)
    known = extract([], first, config.__class__(clusters=1), seed=1, version=1).patterns
    for version in (2, 3):
        known = extract(known, observations(30, version), config, seed=1, version=version, stored=first).patterns
    assert len(known) > 2
    assert sum(item.verdicts.judged for item in known) == 90
    assert sum(record.verdicts.judged for item in known for record in item.routes.values()) == 90


def test_a_revision_goes_to_a_pattern_that_counts_the_old_outcome():
    near, far = pattern(1), pattern(2)
    far = dataclasses.replace(far, verdicts=VerdictCounts(failure=1), routes={"a": RouteRecord(1, 1.0, 0.0, FAILED)})
    similarities = np.array([0.9, 0.1], np.float32)
    assert home_of([near, far], similarities, Counted("a", 0.0, "failure")) == 1
    assert home_of([near, far], similarities, Counted("a", 1.0, "success")) == 0  # no pattern counts it: the nearest
    assert home_of([near, far], similarities, Counted("a", None)) == 0


@pytest.mark.parametrize("rows", [np.zeros((0, DIM)), np.zeros((3, DIM))], ids=["nothing", "zero vectors"])
def test_a_zero_vector_makes_no_pattern(rows):
    n = len(rows)
    nowhere = seen(rows.astype(np.float32), np.full(n, np.nan))
    assert extract([], nowhere, PatternConfig(), seed=0, version=1).patterns == []


def test_one_trajectory_and_equal_ones_make_one_pattern():
    for n in (1, 50):
        equal = seen(np.repeat(unit(np.ones((1, DIM), np.float32)), n, axis=0), np.ones(n))
        result = extract([], equal, PatternConfig(), seed=0, version=1)
        assert [item.size for item in result.patterns] == [n]
        assert result.patterns[0].quality == 1.0


def test_embeddings_that_are_not_finite_or_do_not_fit_are_refused():
    bad = observations(5)
    bad.embeddings[2, 3] = np.nan
    with pytest.raises(PatternExtractionError):
        extract([], bad, PatternConfig(), seed=0, version=1)
    other = seen(unit(np.ones((2, 3), np.float32)), np.ones(2))
    with pytest.raises(PatternExtractionError):
        extract([pattern(1)], other, PatternConfig(), seed=0, version=1)


def test_a_bank_in_memory_extracts_finds_and_forgets():
    bank = ReasoningBank(PatternConfig(min_size=2), seed=1)
    rows = observations(40)
    for embedding, quality in zip(rows.embeddings, rows.quality, strict=True):
        bank.add_trajectory(QueryTrajectory(embedding, quality=float(quality)))
    assert bank.trajectory_count == 40
    found = bank.extract_patterns()
    assert bank.trajectory_count == 0
    nearest = bank.find(rows.embeddings[0], 2)
    assert nearest[0].similarity >= nearest[1].similarity > -1
    assert bank.get_pattern(found[0].id) is found[0]
    assert bank.get_pattern(uuid.UUID(int=0)) is None
    bank.clear()
    assert bank.find(rows.embeddings[0]) == []
