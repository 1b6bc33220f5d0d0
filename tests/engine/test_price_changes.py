"""Since when requests of a route cost another amount is found in its days, and chance is not taken for a price."""

from __future__ import annotations

import random
from datetime import date, timedelta

import pytest

from sona_pg.domain.period_figures import DaySums
from sona_pg.domain.price_change import price_changes

FIRST = date(2026, 9, 28)


def days(route: str, prices: list[float], each: int, spread: float = 0.3, seed: int = 1) -> list[DaySums]:
    """Return days on which ``each`` requests cost their day's price, give or take."""
    drawn = random.Random(seed)
    return [
        DaySums(FIRST + timedelta(days=place), route, each, 0, 0.0, each,
                sum(price * drawn.uniform(1 - spread, 1 + spread) for _ in range(each)))
        for place, price in enumerate(prices)
    ]  # fmt: skip


def test_a_model_that_became_cheaper_is_told_with_the_day_and_both_prices() -> None:
    large = days("large", [0.012] * 21 + [0.006] * 35, 30)
    (found,) = price_changes([*large, *days("small", [0.0004] * 56, 80, seed=2)], FIRST)
    assert (found.route, found.changed_on) == ("large", FIRST + timedelta(days=21))
    assert found.before == pytest.approx(12, rel=0.03)
    assert found.since == pytest.approx(6, rel=0.03)
    assert price_changes(large, FIRST + timedelta(days=28)) == []  # before the period


def test_of_several_changes_of_a_price_the_last_is_told() -> None:
    (found,) = price_changes(days("large", [4.0] * 20 + [8.0] * 10 + [6.0] * 20, 50), FIRST)
    assert found.changed_on == FIRST + timedelta(days=30)
    assert (found.before, found.since) == (pytest.approx(8000, rel=0.03), pytest.approx(6000, rel=0.03))


def test_prices_to_the_cent_are_compared_exactly_and_few_days_not_at_all() -> None:
    (found,) = price_changes(days("large", [2.0] * 5 + [1.0] * 5, 1, spread=0.0), FIRST)
    assert (found.before, found.since) == (pytest.approx(2000), pytest.approx(1000))
    assert price_changes(days("large", [2.0] * 5 + [1.0] * 4, 1, spread=0.0), FIRST) == []
    assert price_changes(days("large", [2.0] * 10 + [1.95] * 10, 1, spread=0.0), FIRST) == []  # less than a tenth
    assert price_changes([], FIRST) == []


def test_a_price_that_stays_is_hardly_ever_said_to_change() -> None:
    found = [
        price_changes(days(f"route {seed}", [0.002] * 60, each, spread, seed), FIRST)
        for seed in range(100) for each, spread in ((1, 0.9), (5, 0.9), (20, 0.5))
    ]  # fmt: skip
    assert sum(map(len, found)) <= 1
