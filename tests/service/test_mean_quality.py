"""Means of ratings, with their intervals."""

from __future__ import annotations

import pytest

from sona_pg.domain.overview_figures import MeanQuality, SpanSums


def mean_of(*qualities: float | None) -> MeanQuality:
    return MeanQuality.of(SpanSums(1, 0, 0.0) if quality is None else SpanSums(1, 1, quality) for quality in qualities)


def test_an_interval_is_wilsons():
    few = mean_of(1.0, None, 0.0)
    assert (few.trajectories, few.rated, few.quality) == (3, 2, 0.5)
    assert mean_of(*[1.0] * 10)[3:] == pytest.approx((0.722, 1.0), abs=0.001)
    assert mean_of(*[1.0] * 50 + [0.0] * 50)[3:] == pytest.approx((0.404, 0.596), abs=0.001)
    assert mean_of(None)[2:] == (None, None, None)
