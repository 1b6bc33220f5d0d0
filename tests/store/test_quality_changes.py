"""``sona.quality_changes`` marks what is no chance, and little else: over many simulated spaces."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from fix_daily_figures import DailyFigures

SPACES, DAYS = 100, 60
FOUND = "SELECT changed_on, difference FROM sona.quality_changes('default', %(days)s) ORDER BY 1"


def changes(figures: DailyFigures, rng: np.random.Generator, levels: np.ndarray, each: int) -> list[tuple[date, float]]:
    """Return the changes that are found in days of ``each`` ratings whose means are ``levels`` (days,)."""
    rated = np.maximum(rng.poisson(each, len(levels)), 1)
    quality = rng.binomial(rated, levels).astype(float)
    figures.fill([("space", "", rated, quality)])
    found = figures.connection.execute(FOUND, {"days": len(levels)})
    return [(day, difference) for day, difference in found]


@pytest.mark.parametrize(
    ("each", "between", "weekend"),
    [(5, 0.0, 0.0), (50, 0.0, 0.0), (2000, 0.0, 0.0), (2000, 0.03, 0.0), (200, 0.0, -0.1), (2000, 0.01, -0.1)],
)
def test_where_nothing_changed_hardly_a_space_is_marked(
    daily_figures: DailyFigures, each: int, between: float, weekend: float
) -> None:
    rng = np.random.default_rng(each)
    marked = 0
    for turn in range(SPACES):
        levels = rng.normal(0.7, between, DAYS)  # days that differ by more than the chance of their ratings
        levels[(np.arange(DAYS) + turn) % 7 < 2] += weekend
        levels = np.clip(levels, 0, 1)
        marked += bool(changes(daily_figures, rng, levels, each))
    print(f"{marked} of {SPACES} spaces of {each} ratings a day are marked")
    assert marked <= 3


@pytest.mark.parametrize(("each", "fall"), [(20, 0.2), (200, 0.06), (2000, 0.03)])
def test_a_change_is_found_within_days_of_when_it_happened(daily_figures: DailyFigures, each: int, fall: float) -> None:
    rng = np.random.default_rng(each)
    at, found, near = datetime.now(UTC).date() - timedelta(days=DAYS - 40 - 1), 0, 0
    for _ in range(SPACES):
        told = changes(daily_figures, rng, np.where(np.arange(DAYS) < 40, 0.7, 0.7 - fall), each)
        found += len(told) == 1
        near += any(abs((day - at).days) <= 3 and abs(difference + fall) < 0.5 * fall for day, difference in told)
    print(f"a fall of {fall} of {each} ratings a day: {found} of {SPACES} found, {near} within three days")
    assert found >= 0.9 * SPACES
    assert near >= 0.75 * SPACES


@pytest.mark.parametrize("each", [40, 200])
def test_a_week_that_was_bad_is_told_by_its_two_ends(daily_figures: DailyFigures, each: int) -> None:
    levels = np.full(DAYS, 0.8)
    levels[30:37] = 0.55
    first, second = changes(daily_figures, np.random.default_rng(1), levels, each)
    start = datetime.now(UTC).date() - timedelta(days=DAYS - 1)
    assert abs((first[0] - start).days - 30) <= 1
    assert abs((second[0] - start).days - 37) <= 1
    assert first[1] == pytest.approx(-0.25, abs=0.06)
    assert second[1] == pytest.approx(0.25, abs=0.06)
