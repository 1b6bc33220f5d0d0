"""``sona.quality_changes`` of a longer period tells what it tells of a shorter one, as a fall that has recovered."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
from fix_daily_figures import DailyFigures

# Ratings and their sums on the days of a shop whose model was broken for a week. Over 60 days that shows, over all 71 a
# single rise hid it.
RATED = (
    11, 10, 9, 11, 6, 4, 4, 9, 4, 11, 7, 12, 8, 12, 11, 8, 12, 7, 9, 5, 11, 4, 8, 10, 8, 17, 5, 4, 27, 22, 23, 26,
    23, 23, 23, 9, 10, 8, 8, 12, 10, 3, 8, 15, 5, 7, 6, 7, 9, 11, 9, 14, 4, 11, 4, 9, 9, 9, 15, 10, 6, 8, 13, 12, 11,
    13, 10, 9, 8, 12, 4,
)  # fmt: skip
QUALITY = (
    5, 3, 0, 4, 2, 1, 2, 5, 2, 6, 3, 8, 3, 7, 6, 6, 9, 3, 3, 3, 8, 3, 5, 2, 4, 6, 3, 3, 14, 8.5, 12, 11, 14, 19, 10,
    3, 5, 2, 4, 6, 8, 2, 4, 0, 3, 2, 2, 1, 2, 4, 4, 8, 2, 5, 1, 7, 5, 8, 11, 7, 2, 4, 10, 7, 9, 10, 6, 4, 5, 6, 3,
)  # fmt: skip
FOUND = "SELECT changed_on, sign(difference) FROM sona.quality_changes('default', %(days)s) ORDER BY 1"
PERIODS = (7, 30, 90, 3650)


def told(figures: DailyFigures, days: int) -> list[tuple[date, float]]:
    return [(day, sign) for day, sign in figures.connection.execute(FOUND, {"days": days})]


def test_a_fall_that_recovered_is_told_in_90_days_and_all_time_as_in_30(daily_figures: DailyFigures) -> None:
    daily_figures.fill([("space", "", RATED, QUALITY)])
    today = datetime.now(UTC).date()
    fall, rise = today - timedelta(days=27), today - timedelta(days=20)
    for days in PERIODS[1:]:
        assert told(daily_figures, days) == [(fall, -1), (rise, 1)]


def test_each_period_tells_what_the_shorter_ones_tell(daily_figures: DailyFigures) -> None:
    rng = np.random.default_rng(3)
    first, found = datetime.now(UTC).date(), 0
    for _ in range(5):
        levels = np.full(200, 0.6)
        for start in rng.integers(20, 195, 3):
            levels[start : start + rng.integers(4, 20)] -= 0.3
        rated = np.maximum(rng.poisson(10, 200), 1)
        daily_figures.fill([("space", "", rated, rng.binomial(rated, levels).astype(float))])
        by_period = [{day for day, _ in told(daily_figures, days)} for days in PERIODS]
        for days, shorter, longer in zip(PERIODS, by_period, by_period[1:], strict=False):
            assert shorter <= longer
            assert {day for day in longer if day > first - timedelta(days=days)} >= shorter
        found += len(by_period[-1])
    assert found >= 15  # of 5 * 3 spells with two ends each, some too short or too late to be seen


def test_where_nothing_changed_the_longer_look_marks_hardly_a_space(daily_figures: DailyFigures) -> None:
    rng = np.random.default_rng(4)
    marked = 0
    for _ in range(30):
        rated = np.maximum(rng.poisson(20, 120), 1)
        daily_figures.fill([("space", "", rated, rng.binomial(rated, 0.7).astype(float))])
        marked += bool(told(daily_figures, 120))
    print(f"{marked} of 30 spaces are marked")
    assert marked <= 1
