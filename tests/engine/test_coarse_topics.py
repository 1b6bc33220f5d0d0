"""Coarser topics: patterns that were split by politeness are put together, and their ratings are counted together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from uuid import UUID

import numpy as np
import pytest

from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import LoopConfig, MaintenanceConfig, PatternConfig
from sona_pg.domain.pattern import LearnedPattern, RouteRecord
from sona_pg.domain.route_choice import NONE_BEST, BestRoutes
from sona_pg.domain.wording import masked
from sona_pg.engine.coarse_topics import LINKED, LinkedPatterns, by_ratings
from sona_pg.engine.overview import Overview
from sona_pg.engine.pattern_maps import AS_RATED
from sona_pg.store.topic_cost_rows import TopicCost, TopicCosts

DIM = 32
INTENTS, GREETINGS = 8, 3
CONFIG = SonaConfig(
    hidden_dim=DIM, loops=LoopConfig(automatic=False), maintenance=MaintenanceConfig(automatic=False),
    patterns=PatternConfig(clusters=INTENTS * GREETINGS, min_size=2),
)  # fmt: skip
GREETED = ("{}", "Hello, {}", "Quick question: {}")
SHARED = 1.2 * np.eye(DIM)[-1]  # what all questions have in common


def asked(intent: int, greeting: int) -> np.ndarray:
    vector = np.eye(DIM)[intent] + 0.6 * np.eye(DIM)[INTENTS + greeting] + SHARED
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def pattern(number: int, vector: np.ndarray, size: int = 4) -> LearnedPattern:
    routes = {"mini": RouteRecord(size, float(size), 0.5)}
    return LearnedPattern(UUID(int=number), vector, size, float(size), 0.5, routes=routes)


def greeted() -> list[LearnedPattern]:
    return [
        pattern(place * GREETINGS + greeting, asked(place, greeting))
        for place in range(INTENTS)
        for greeting in range(GREETINGS)
    ]


@pytest.fixture
def shop(database_url: str) -> Iterator[SonaEngine]:
    """Eight questions with three greetings; "good" answers all of them, four times rated each, and "bad" none."""
    with SonaEngine(DIM, database_url, config=CONFIG) as engine:
        for intent in range(INTENTS):
            for greeting in range(GREETINGS):
                for place in range(8):
                    text = GREETED[greeting].format(f"question {'abcdefgh'[intent]}")
                    trajectory = engine.begin_trajectory(asked(intent, greeting), query=text)
                    route = ("good", "bad")[place % 2]
                    engine.set_trajectory_route(trajectory, route)
                    engine.end_trajectory(trajectory, float(route == "good"))
        engine.force_learn()
        engine.refresh()
        yield engine


def test_greetings_are_put_together_with_their_questions() -> None:
    of = LinkedPatterns(greeted()).topics(INTENTS).of
    for intent in range(INTENTS):
        members = {of[UUID(int=intent * GREETINGS + greeting)] for greeting in range(GREETINGS)}
        assert len(members) == 1
    assert len(set(of.values())) == INTENTS


def test_topics_do_not_depend_on_the_order_of_patterns_and_each_cut_joins_the_finer_one() -> None:
    known = greeted()
    finer, again = LinkedPatterns(known), LinkedPatterns(known[::-1])
    for wanted in (12, 8, 3, 1):
        assert finer.topics(wanted).of == again.topics(wanted).of
        assert len(finer.topics(wanted).patterns) == wanted
    coarse, fine = finer.topics(3).of, finer.topics(8).of
    assert all(coarse[one] == coarse[fine[one]] for one in fine)


def test_ratings_of_a_topic_are_pooled_not_averaged() -> None:
    one, other = pattern(1, asked(0, 0), 1), pattern(2, asked(0, 1), 9)
    one = replace(one, quality=1.0, routes={"mini": RouteRecord(1, 1.0, 1.0)})
    other = replace(other, quality=0.0, routes={"mini": RouteRecord(9, 9.0, 0.0)})
    (topic,) = LinkedPatterns([one, other]).topics(1).patterns
    assert (topic.id, topic.size, topic.weight) == (other.id, 10, 10.0)
    assert topic.quality == topic.routes["mini"].quality == pytest.approx(0.1)


def test_small_patterns_beyond_the_limit_join_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sona_pg.engine.coarse_topics.LINKED", INTENTS)
    large = [pattern(place, asked(place, 0), 9) for place in range(INTENTS)]
    small = [pattern(100 + place, asked(place, 1), 2) for place in range(INTENTS)]
    of = LinkedPatterns([*small, *large]).topics(INTENTS).of
    assert LINKED > INTENTS
    assert all(of[UUID(int=100 + place)] == UUID(int=place) for place in range(INTENTS))


def test_nothing_to_put_together() -> None:
    assert LinkedPatterns([]).topics(10).of == {}
    assert LinkedPatterns([]).enough((), {}) is None
    (only,) = LinkedPatterns([pattern(1, asked(0, 0))]).topics(1).patterns
    assert only.id == UUID(int=1)


def test_the_answer_to_a_small_part_of_a_topic_is_not_its_best() -> None:
    answers = [
        replace(
            one,
            routes={
                f"answer {one.id.int // GREETINGS}": RouteRecord(12, 12.0, 0.9),
                "model": RouteRecord(12, 12.0, 0.6),
            },
        )
        for one in greeted()
    ]
    linked = LinkedPatterns(answers)
    greetings = by_ratings(linked.topics(INTENTS))
    assert {best.best for best in greetings.values()} == {f"answer {place}" for place in range(INTENTS)}
    (whole,) = linked.topics(1).patterns
    best = {whole.id: BestRoutes("answer 0", "answer 1", "model")}
    assert linked.topics(1).spanning(best) == {whole.id: BestRoutes(None, None, "model")}
    assert by_ratings(linked.topics(1)) == {whole.id: NONE_BEST}
    assert linked.enough((), {}) is None


def test_where_no_level_has_enough_the_one_with_most_is_chosen_the_coarsest_of_equals() -> None:
    few = [replace(one, routes={"model": RouteRecord(1, 0.1, 0.6)}, weight=0.1) for one in greeted()]
    assert LinkedPatterns(few).enough((), {}) == 10
    one_speaks = [replace(few[0], routes={"answer": RouteRecord(12, 12.0, 0.9)}), *few[1:]]
    assert LinkedPatterns(one_speaks).enough((), {}) is None


def test_costs_of_a_topic_are_those_of_its_patterns() -> None:
    grouped = LinkedPatterns(greeted()).topics(INTENTS)
    told = grouped.costs(TopicCosts([TopicCost(one, 2, 0.5) for one in grouped.of], 100))
    assert {(one.costed, one.cost) for one in told.topics} == {(6, 1.5)}
    assert (len(told.topics), told.latest) == (INTENTS, 100)


def test_topics_have_a_best_route_where_their_patterns_have_too_few_ratings(shop: SonaEngine) -> None:
    overview = Overview(shop)
    whole = overview.pattern_map()
    assert (whole.topics, whole.levels, whole.all_patterns) == (None, [20, 10], INTENTS * GREETINGS)
    assert {one.best_route for one in whole.patterns} == {None}
    coarse = overview.pattern_map(topics=INTENTS)
    assert [one.best_route for one in coarse.patterns] == ["good"] * INTENTS
    for one in coarse.patterns:
        assert len({masked(text)[-1] for text in one.typical_queries}) == 1
        assert (one.size, one.rated, one.judged, one.bad, len(one.members)) == (24, 24, 24, 12, GREETINGS)
        assert one.routes["good"]["quality"] == 1.0
        assert one.routes["good"]["rated"] == 12


def test_as_many_topics_are_chosen_as_have_enough_ratings(shop: SonaEngine) -> None:
    coarse = Overview(shop).pattern_map(topics=AS_RATED)
    assert coarse.topics == 10
    assert sum(one.best_route == "good" for one in coarse.patterns) >= 6


def test_periods_of_topics_are_those_of_their_ratings(shop: SonaEngine) -> None:
    found = Overview(shop).topics_in_period(topics=INTENTS).period
    assert {(one.now.rated, one.bad, one.now.quality) for one in found.topics} == {(24, 12, 0.5)}
    assert len(Overview(shop).topics_in_period().period.topics) == INTENTS * GREETINGS


def test_earlier_versions_are_put_together_as_well(shop: SonaEngine) -> None:
    shop.end_trajectory(shop.begin_trajectory(asked(0, 0)), 1.0)
    shop.force_learn()
    shop.refresh()
    then = Overview(shop).pattern_map(version=1, topics=INTENTS)
    assert (then.version, then.basis, len(then.patterns)) == (1, 2, INTENTS)
    assert Overview(shop).pattern_map(version=0, topics=INTENTS).patterns == []
