"""A period without a change of quality says how large a fall it could hide."""

from __future__ import annotations

import math
import random
from datetime import date, timedelta
from statistics import NormalDist

import psycopg
import pytest

from sona_pg.domain.hidden_change import Series, hidden_sentence, mean_sentence, worse_sentences
from sona_pg.domain.period_figures import DaySums, QualityChange

START = date(2026, 9, 14)
BROKEN = range(42, 56)  # days of the fall
EDGES = "SELECT sona.level_edges(%s::float8[], %s::float8[], 0, 60, '{}')"


def days(route: str | None, within: tuple[int, float], outside: tuple[int, float], span: int = 70) -> list[DaySums]:
    """Return days with so many ratings of such a quality, in the fall and around it."""
    rates = [within if day in BROKEN else outside for day in range(span)]
    return [
        DaySums(START + timedelta(days=day), route, rated, rated, rated * quality, 0, 0.0)
        for day, (rated, quality) in enumerate(rates)
    ]


def on(day: int) -> date:
    return START + timedelta(days=day)


def test_the_smallest_fall_is_that_of_a_spell_among_all_pairs_of_days() -> None:
    series = Series.of(None, days(None, (2, 0.7), (2, 0.7), 60), on(46), on(59))
    assert (series.stretch, len(series.days)) == (28, 60)
    fall = series.smallest_fall(1.0, 5)
    assert fall is not None
    sure = NormalDist().inv_cdf(1 - 0.01 / (60 * 59 / 2) / 2)
    assert sure * math.sqrt(0.21 * (1 / 28 + 1 / 92)) < fall < 0.7
    rougher, route = series.smallest_fall(1.2, 5), Series("a", series.stretch, series.days).smallest_fall(1.0, 5)
    assert rougher is not None
    assert rougher > fall  # days that differ by more hide more
    assert route is not None
    assert route > fall  # found among five routes


@pytest.mark.parametrize(("a_day", "quality"), [(5, 0.8), (20, 0.8), (100, 0.8), (20, 0.95)])
def test_falls_as_large_as_is_said_are_mostly_found(database_url: str, a_day: int, quality: float) -> None:
    drawn, tries = random.Random(3), 60
    fall = Series.of(None, days(None, (a_day, quality), (a_day, quality), 60), on(30), on(59)).smallest_fall(1.0, 0)
    assert fall is not None
    found = 0
    with psycopg.connect(database_url) as connection:
        for _ in range(tries):
            rated, good = [0.0], [0.0]
            for day in range(60):
                level = quality - fall if 30 <= day < 44 else quality
                rated.append(rated[-1] + a_day)
                good.append(good[-1] + sum(drawn.random() < level for _ in range(a_day)))
            row = connection.execute(EDGES, [rated, good]).fetchone()
            assert row is not None
            found += bool(row[0])
    assert found >= 0.8 * tries  # half of them are, of falls that are just told


def test_few_ratings_can_hide_any_fall() -> None:
    assert Series.of("a", days("a", (1, 0.1), (1, 0.1)), on(42), on(55)).smallest_fall(1.0, 1) is None
    assert Series.of("a", [], on(42), on(55)).smallest_fall(1.0, 1) is None
    assert Series.of(None, days(None, (1, 0.9), (1, 0.9)), on(42), on(55)).smallest_fall(1.0, 1) is None


def test_the_sentence_names_the_mean_and_routes() -> None:
    shown = [Series(None, 1400, []), Series("swift", 33, []), Series("nova", 4, [])]
    assert hidden_sentence(shown, [0.061, 0.4, None]) == (
        "That is no all-clear: of the mean of all (1,400 ratings in two weeks) a fall of two weeks by less than about "
        "7 points can hide; of “swift” (33) a fall of two weeks by less than about 40 points can hide; of “nova” (4) "
        "any fall of two weeks can hide. Days of your own show on Routes what they had."
    )


def test_a_route_that_fell_in_the_period_is_told_beside_the_days_around_it() -> None:
    sums = [*days("swift", (2, 0.36), (3, 0.78)), *days("nova", (5, 0.8), (5, 0.8)), *days(None, (7, 0.7), (8, 0.8))]
    (told,) = worse_sentences(sums, on(42), on(55), 60).values()
    assert told.startswith(
        "Answers of “swift” were rated lower in this period than in the 60 days before and after it: 36 % of 28 ratings"
    )
    assert "else 78 % of 168." in told
    assert worse_sentences(sums, on(42), on(55), 60, frozenset({"swift"})) == {}
    assert worse_sentences(sums, on(0), on(69), 60) == {}  # nothing around it


def test_a_mean_that_differs_over_the_whole_period_is_not_contradicted() -> None:
    told = mean_sentence(QualityChange(-0.124, -0.216, -0.03))
    assert told is not None
    assert told.startswith("Its mean is 12.4 points lower than that of as many days before (3.0 to 21.6): ")
    assert mean_sentence(QualityChange(-0.1, -0.3, 0.1)) is None
    assert mean_sentence(None) is None
