"""Parameters suggested from similar patterns: local, weighed by quality and evidence, and explained."""

from __future__ import annotations

import uuid

import numpy as np
import pytest

from sona_pg import LearnedPattern, PatternConfig, QueryTrajectory, ReasoningBank
from sona_pg.domain.pattern import ParameterRecord
from sona_pg.learning.patterns.parameters import interpolate

SPOT = np.eye(4, dtype=np.float32)


def pattern(similarity: float, quality: float = 1.0, **settings: ParameterRecord) -> LearnedPattern:
    return LearnedPattern(
        uuid.uuid4(), SPOT[0], 10, 10.0, quality, parameters=settings, similarity=similarity
    )  # fmt: skip


def record(*values: float) -> ParameterRecord:
    first, *others = (ParameterRecord.of(value, 1.0) for value in values)
    for other in others:
        first = first.merge(other)
    return first


def test_one_pattern_gives_its_own_mean_with_the_evidence() -> None:
    found = pattern(0.9, temperature=record(0.2, 0.4))
    suggested = interpolate([found], 7)
    assert suggested.values == {"temperature": pytest.approx(0.3)}
    [evidence] = suggested.evidence["temperature"]
    assert (evidence.pattern_id, evidence.trajectories, evidence.share) == (found.id, 2, 1.0)
    assert (evidence.low, evidence.high, evidence.deviation) == (0.2, 0.4, pytest.approx(0.1))
    assert suggested.version == 7


def test_nearer_better_and_better_proven_patterns_count_more() -> None:
    low, high = record(*[0.0] * 4), record(*[1.0] * 4)
    assert interpolate([pattern(0.9, t=low), pattern(0.9, t=high)], 1).values["t"] == pytest.approx(0.5)
    assert interpolate([pattern(0.9, t=low), pattern(0.6, t=high)], 1).values["t"] < 0.05
    assert interpolate([pattern(0.9, 0.3, t=low), pattern(0.9, 0.9, t=high)], 1).values["t"] == pytest.approx(0.75)
    assert interpolate([pattern(0.9, t=record(0.0)), pattern(0.9, t=high)], 1).values["t"] > 0.55


def test_unknown_and_opposite_patterns_are_left_out() -> None:
    assert interpolate([], 0).values == {}
    assert interpolate([pattern(-0.5, t=record(1.0)), pattern(0.0, u=record(1.0))], 0).values == {}
    both = interpolate([pattern(0.9, t=record(1.0)), pattern(0.5, u=record(2.0))], 0)
    assert both.values == {"t": 1.0, "u": 2.0}
    assert {name: len(items) for name, items in both.evidence.items()} == {"t": 1, "u": 1}


def test_a_bank_learns_parameters_from_successes_only() -> None:
    bank = ReasoningBank(PatternConfig(min_size=2, clusters=2))
    rng = np.random.default_rng(0)
    for row in range(200):
        spot = row % 2
        best = 0.2 if spot else 0.8
        temperature = float(rng.random())
        x = SPOT[spot] + 0.05 * rng.standard_normal(4).astype(np.float32)
        quality = 1.0 - min(2.0 * abs(temperature - best), 1.0)
        bank.add_trajectory(QueryTrajectory(x, quality=quality, parameters={"temperature": temperature}))
    bank.extract_patterns()
    assert bank.interpolate_parameters(SPOT[0]).values["temperature"] == pytest.approx(0.8, abs=0.05)
    assert bank.interpolate_parameters(SPOT[1]).values["temperature"] == pytest.approx(0.2, abs=0.05)
    assert all(0 < item.parameters["temperature"].size < item.size / 2 for item in bank.patterns)


def test_unfolding_a_record_leaves_the_rest() -> None:
    kept, gone = record(0.25, 0.75), record(4.0)
    left = kept.merge(gone).without(gone)
    assert left is not None
    assert (left.size, left.mean, left.deviation) == (2, pytest.approx(0.5), pytest.approx(0.25))
    assert kept.without(kept) is None
    assert (kept.times(2.0).size, kept.times(2.0).mean) == (4, pytest.approx(0.5))
