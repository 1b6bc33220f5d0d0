"""Topics of a period are told to have changed only beyond the chance of all that are compared."""

from __future__ import annotations

from datetime import date
from uuid import UUID

import numpy as np
import pytest

from sona_pg.domain.topic_period import TopicSums, topics_in_period

DAY = date(2026, 11, 23)


def sums(place: int, before: tuple[int, float], now: tuple[int, float]) -> list[TopicSums]:
    return [
        TopicSums(UUID(int=place), "nova", is_now, rated, good, int(rated - good), False)
        for is_now, (rated, good) in ((False, before), (True, now))
    ]


def test_four_ratings_of_one_topic_of_a_hundred_are_no_clear_change() -> None:
    few = sums(0, (12, 9.0), (4, 0.0))
    (alone,) = topics_in_period(DAY, DAY, few).topics
    assert alone.change is not None
    assert (alone.change.is_clear, alone.change.high < 0) == (True, True)
    among = topics_in_period(DAY, DAY, [*few, *(one for place in range(1, 100) for one in sums(place, (9, 6), (9, 6)))])
    told = {one.pattern: one.change for one in among.topics}
    first = told[UUID(int=0)]
    assert first is not None
    assert first[:3] == alone.change[:3]  # its own interval
    assert not first.is_clear
    broke = sums(200, (60, 45.0), (50, 10.0))
    found = topics_in_period(
        DAY, DAY, [*few, *broke, *(one for place in range(1, 99) for one in sums(place, (9, 6), (9, 6)))]
    )
    assert [one.pattern.int for one in found.topics if one.change and one.change.is_clear] == [200]


@pytest.mark.parametrize(
    ("between", "before", "now"),
    [((0.3, 0.95), (2, 40), (2, 40)), ((0.95, 0.99), (100, 400), (10, 20)), ((0.95, 0.99), (10, 20), (100, 400))],
)
def test_chance_alone_marks_a_topic_on_one_page_of_twenty_at_most(
    between: tuple[float, float], before: tuple[int, int], now: tuple[int, int]
) -> None:
    drawn = np.random.default_rng(1)
    marked = 0
    for _ in range(200):
        quality = drawn.uniform(*between, 100)
        rated = np.array([drawn.integers(*before, 100), drawn.integers(*now, 100)])
        good = drawn.binomial(rated, quality)
        rows = [
            one for place in range(100)
            for one in sums(place, *((int(rated[side, place]), float(good[side, place])) for side in (0, 1)))
        ]  # fmt: skip
        marked += any(one.change and one.change.is_clear for one in topics_in_period(DAY, DAY, rows).topics)
    assert marked <= 10, marked
