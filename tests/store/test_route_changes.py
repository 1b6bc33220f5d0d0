"""``sona.route_changes`` names routes whose own quality changed, and hardly another: over many simulated spaces."""

from __future__ import annotations

from datetime import UTC, date, datetime

import numpy as np
import psycopg
import pytest
from fix_daily_figures import DailyFigures

DAYS, ROUTES, SPACES = 60, 20, 30
FOUND = """
SELECT route, changed_on, before_quality, after_quality, after_rated, others_before, others_after
FROM sona.route_changes('default', %(days)s) ORDER BY route
"""
FORMER = "SELECT before_from, former_quality FROM sona.route_changes('default', %(days)s)"
Change = tuple[str, date, float, float, int, float, float]


def changes(figures: DailyFigures, rng: np.random.Generator, levels: np.ndarray, each: float) -> list[Change]:
    """Return the changes that are found of routes whose means are ``levels`` (routes, days), rated so often a day."""
    rated = rng.poisson(each, levels.shape)
    quality = rng.binomial(rated, levels).astype(float)
    routes = [("route", f"route {place:02}", rated[place], quality[place]) for place in range(len(levels))]
    figures.fill([*routes, ("space", "", rated.sum(axis=0), quality.sum(axis=0))])
    return list(figures.connection.execute(FOUND, {"days": levels.shape[1]}))


@pytest.mark.parametrize(("each", "between"), [(0.7, 0.0), (3.0, 0.0), (40.0, 0.0), (40.0, 0.05)])
def test_no_route_is_named_where_all_change_alike(daily_figures: DailyFigures, each: float, between: float) -> None:
    rng = np.random.default_rng(round(10 * each))
    named = 0
    for _ in range(SPACES):
        levels = rng.uniform(0.2, 0.9, (ROUTES, 1)) + rng.normal(0, between, (ROUTES, DAYS))
        levels[:, 30:] += 0.1  # a better embedder, say
        named += len(changes(daily_figures, rng, np.clip(levels, 0.02, 0.98), each))
    print(f"{named} routes of {SPACES} spaces are named")
    assert named <= 1


def test_a_route_that_collapsed_while_all_others_rose_is_named_with_its_day(daily_figures: DailyFigures) -> None:
    rng = np.random.default_rng(1)
    levels = np.full((ROUTES, DAYS), 0.55)
    levels[:, 40:] = 0.65
    levels[3, 28:] = 0.03
    ((route, day, before, after, rated, others, others_after),) = changes(daily_figures, rng, levels, 3.0)
    assert route == "route 03"
    assert abs((datetime.now(UTC).date() - day).days - 31) <= 1
    assert before > 0.4
    assert after < 0.1
    assert 60 < rated < 130
    assert abs(others - 0.55) < 0.04 < others_after - others


@pytest.mark.parametrize(("fell", "mended", "each"), [(15, 45, 5.0), (4, 10, 5.0), (27, 33, 5.0), (40, 52, 5.0)])
def test_an_answer_that_was_wrong_for_some_days_is_named_with_both(
    daily_figures: DailyFigures, fell: int, mended: int, each: float
) -> None:
    levels = np.full((ROUTES, DAYS), 0.7)
    levels[5, fell:mended] = 0.1
    ((route, day, before, after, *_),) = changes(daily_figures, np.random.default_rng(2), levels, each)
    assert (route, before < 0.25, after > 0.55) == ("route 05", True, True)
    ((begun, former),) = daily_figures.connection.execute(FORMER, {"days": DAYS})
    today = datetime.now(UTC).date()
    assert abs((today - day).days - (DAYS - 1 - mended)) <= 1
    assert abs((today - begun).days - (DAYS - 1 - fell)) <= 1
    assert former > 0.55


def test_a_recovery_before_the_days_that_are_asked_about_is_no_news(daily_figures: DailyFigures) -> None:
    levels = np.full((ROUTES, DAYS), 0.7)
    levels[5, 20:28] = 0.1
    assert len(changes(daily_figures, np.random.default_rng(2), levels, 5.0)) == 1
    assert not daily_figures.connection.execute(FOUND, {"days": 20}).fetchall()


def test_the_only_route_of_a_space_is_left_to_the_changes_of_the_space(daily_figures: DailyFigures) -> None:
    levels = np.full((1, DAYS), 0.8)
    levels[:, 30:] = 0.2
    assert changes(daily_figures, np.random.default_rng(3), levels, 20.0) == []
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        daily_figures.connection.execute("SELECT * FROM sona.route_changes('default', 0)")
