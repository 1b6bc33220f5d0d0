"""A route that changed on one kind of question alone is told where topics show it, and chance is not."""

from __future__ import annotations

from uuid import UUID

import numpy as np
import pytest

from sona_pg.domain.topic_period import TopicSums, topics_in_period
from sona_pg.domain.topic_routes import topic_route_changes
from tests.engine.test_topic_periods import DAY

PATTERNS = [UUID(int=place) for place in range(12)]
MERGES = [(PATTERNS[place // 4 * 4], PATTERNS[place]) for place in range(12) if place % 4]


def sums(pattern: UUID, route: str, before: tuple[int, int], now: tuple[int, int]) -> list[TopicSums]:
    return [
        TopicSums(pattern, route, is_now, rated, good, rated - good, False)
        for is_now, (rated, good) in ((False, before), (True, now))
    ]


def steady(*routes: str) -> list[TopicSums]:
    return [row for one in PATTERNS for route in routes for row in sums(one, route, (12, 8), (12, 8))]


def test_a_fall_in_one_topic_alone_is_told_with_what_the_route_did_elsewhere() -> None:
    rows = [one for one in steady("nova", "swift") if (one.pattern, one.route) != (PATTERNS[5], "nova")]
    rows += sums(PATTERNS[5], "nova", (21, 15), (27, 4))
    (found,) = topic_route_changes(rows, MERGES)
    assert (found.route, found.patterns) == ("nova", frozenset({PATTERNS[5]}))
    assert (found.there.rated, found.there.total, found.there.before_rated) == (27, 4.0, 21)
    assert (found.elsewhere.rated, found.elsewhere.total) == (11 * 12, 11 * 8.0)
    assert found.sentence("send money abroad", 30) == (
        "Answers of “nova” to questions like “send money abroad” were rated lower in this period than in the 30 days "
        "before it: 15 % of 27 ratings (6 % to 32 %), before 71 % of 21. Its answers to all other questions: 67 % of "
        "132, before 67 % of 132."
    )
    assert "to one group of like questions, recorded without texts, were rated lower" in found.sentence(None, 7)


def test_a_fall_that_is_spread_over_like_topics_is_found_where_they_are_put_together() -> None:
    few = [row for one in PATTERNS[4:8] for row in sums(one, "nova", (7, 6), (7, 1))]  # too few in each
    rest = [one for one in steady("nova") if one.pattern not in PATTERNS[4:8]]
    assert topic_route_changes([*few, *rest], []) == []
    (found,) = topic_route_changes([*few, *rest], MERGES)
    assert found.patterns == set(PATTERNS[4:8])
    assert (found.there.before_rated, found.there.before_total) == (28, 24.0)


def test_a_route_that_fell_everywhere_and_one_without_other_questions_are_not_told_as_of_one_topic() -> None:
    everywhere = [row for one in PATTERNS for row in sums(one, "nova", (30, 24), (30, 6))]
    assert topic_route_changes(everywhere, MERGES) == []
    alone = sums(PATTERNS[0], "article", (40, 36), (40, 4))  # the change of the route itself
    assert topic_route_changes([*alone, *steady("nova")], MERGES) == []


def test_a_rise_is_told_and_overlapping_topics_once() -> None:
    rows = [one for one in steady("nova") if one.pattern not in PATTERNS[:4]]
    rows += [row for one in PATTERNS[:4] for row in sums(one, "nova", (30, 5), (30, 26))]
    found = topic_route_changes(rows, MERGES)
    assert [one.patterns for one in found] == [set(PATTERNS[:4])]  # the clearest of five that are clear
    assert "were rated higher" in found[0].sentence("x", 30)


def test_another_mix_of_questions_in_a_topic_is_no_change() -> None:
    mix = [*sums(PATTERNS[0], "nova", (60, 54), (10, 9)), *sums(PATTERNS[1], "nova", (10, 2), (60, 12))]
    others = [row for one in PATTERNS[4:] for row in sums(one, "nova", (30, 20), (30, 20))]
    assert topic_route_changes([*mix, *others], MERGES) == []


def test_a_fall_that_the_plain_means_deny_is_not_told() -> None:
    rows = [*sums(PATTERNS[0], "nova", (20, 19), (140, 98)), *sums(PATTERNS[1], "nova", (140, 56), (20, 2))]
    rest = [row for one in PATTERNS[4:] for row in sums(one, "nova", (30, 20), (30, 20))]
    assert topic_route_changes([*rows, *rest], MERGES) == []


@pytest.mark.parametrize(
    ("quality", "fall", "before", "now"),
    [
        pytest.param((0.3, 0.95), 0.0, (8, 60), (8, 60), id="nothing changed"),
        pytest.param((0.95, 0.99), 0.0, (100, 400), (10, 20), id="few ratings of what is nearly always good"),
        pytest.param((0.8, 0.8), 0.3, (100, 200), (100, 200), id="fell everywhere alike"),
    ],
)
def test_chance_alone_tells_a_route_on_one_page_of_twenty_at_most(
    quality: tuple[float, float], fall: float, before: tuple[int, int], now: tuple[int, int]
) -> None:
    drawn = np.random.default_rng(2)

    def good(rated: int, share: float) -> tuple[int, int]:
        return rated, int(drawn.binomial(rated, share))

    told = 0
    for _ in range(200):
        rows = []
        for one in PATTERNS:
            for route in ("nova", "swift", "atlas"):
                share, sizes = drawn.uniform(*quality), (int(drawn.integers(*before)), int(drawn.integers(*now)))
                rows += sums(one, route, good(sizes[0], share), good(sizes[1], share - fall))
        told += bool(topic_route_changes(rows, MERGES))
    assert told <= 10, told


def test_topics_tell_their_routes_the_most_rated_first() -> None:
    rows = [*sums(PATTERNS[0], "swift", (0, 0), (3, 1)), *sums(PATTERNS[0], "nova", (5, 5), (8, 2))]
    (topic,) = topics_in_period(DAY, DAY, rows).topics
    assert [(one.route, one.now.rated, one.before.rated) for one in topic.routes] == [("nova", 8, 5), ("swift", 3, 0)]
    assert (topic.now.rated, topic.before.quality) == (11, 1.0)
