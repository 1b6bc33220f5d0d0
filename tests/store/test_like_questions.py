"""``sona.routes_on_like_questions`` compares routes within topics, by standardisation, and says when it cannot."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count

import numpy as np
import psycopg
import pytest

from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import LoopConfig, MaintenanceConfig, PatternConfig
from sona_pg.domain.ids import uuid7
from sona_pg.engine.overview import Overview

DIM = 8
CONFIG = SonaConfig(
    hidden_dim=DIM, loops=LoopConfig(automatic=False), maintenance=MaintenanceConfig(automatic=False),
    patterns=PatternConfig(clusters=4, min_size=2),
)  # fmt: skip
FIGURES = "route, rated, quality, compared, like_quality, low, high, sampled"
ASKED = f"SELECT {FIGURES} FROM sona.routes_on_like_questions('default', %(since)s)"
Cells = list[tuple[int, str, int, int]]  # topic, route, ratings, good ones


@pytest.fixture
def engine(database_url: str) -> Iterator[SonaEngine]:
    with SonaEngine(DIM, database_url, config=CONFIG) as opened:
        yield opened


def record(engine: SonaEngine, cells: Cells, start: datetime) -> None:
    place = count()
    for topic, route, rated, good in cells:
        for row in range(rated):
            id_ = uuid7(int((start + timedelta(seconds=next(place))).timestamp() * 1000))
            trajectory = engine.begin_trajectory(np.eye(DIM, dtype=np.float32)[topic], query=f"topic {topic}", id=id_)
            engine.set_trajectory_route(trajectory, route)
            engine.end_trajectory(trajectory, float(row < good))
    engine.force_learn()
    engine.refresh()


def recent() -> datetime:
    return datetime.now(UTC) - timedelta(hours=3)


def test_a_route_that_gets_the_hard_questions_is_not_ranked_below_a_worse_one(
    engine: SonaEngine, database_url: str
) -> None:
    # On hard questions large has 75 %, small 40 %; on easy ones 95 % and 90 %. Most hard ones go to large.
    cells = [(0, "large", 400, 300), (0, "small", 60, 24), (1, "large", 60, 57), (1, "small", 400, 360)]
    record(engine, cells, recent())
    with psycopg.connect(database_url) as connection:
        first, second = connection.execute(ASKED, {"since": "2020-01-01"})
    assert (first[0], second[0]) == ("large", "small")
    assert first[2] < second[2]  # by plain means the other way round
    assert (first[1], first[3], first[7]) == (460, 460, False)
    assert first[4] == pytest.approx((460 * 0.75 + 460 * 0.95) / 920, abs=0.01)
    assert second[4] == pytest.approx((460 * 0.4 + 460 * 0.9) / 920, abs=0.01)
    assert second[6] < first[5] < first[4] < first[6]  # beyond chance
    large, small = Overview(engine).leaderboard(30).routes
    assert (large.route, large.like_quality, large.compared) == ("large", pytest.approx(first[4]), 460)
    assert (small.quality or 0) > (large.quality or 0)


def test_many_routes_are_compared_and_strangers_are_not(engine: SonaEngine, database_url: str) -> None:
    # No topic has all four, and each route is as much better or worse everywhere.
    better = {"a": 0.0, "b": 0.1, "c": 0.3, "d": 0.2, "z": 0.0}
    topics = [("abc", 0.3, 40), ("bcd", 0.5, 60), ("ad", 0.4, 80), ("z", 0.6, 40)]
    cells = [
        (topic, route, size, round(size * (level + better[route])))
        for topic, (routes, level, size) in enumerate(topics) for route in routes
    ]  # fmt: skip
    record(engine, cells, recent())
    with psycopg.connect(database_url) as connection:
        found = {row[0]: row[1:] for row in connection.execute(ASKED, {"since": "2020-01-01"})}
    questions = {level: size * len(routes) for routes, level, size in topics[:3]}
    middle = sum(level * size for level, size in questions.items()) / sum(questions.values())
    assert {route: found[route][3] for route in "abcd"} == pytest.approx(
        {route: middle + better[route] for route in "abcd"}, abs=1e-6
    )
    assert found["z"] == (40, pytest.approx(0.6), 0, None, None, None, False)
    # a stranger stands by the lower end of its plain mean, .446
    assert [one.route for one in Overview(engine).leaderboard(30).routes] == ["c", "d", "z", "b", "a"]


def test_what_was_seen_on_hard_questions_alone_is_not_carried_over_to_easy_ones(
    engine: SonaEngine, database_url: str
) -> None:
    # The router sends easy questions to small alone: added to the mean of all, large would be at 111 %.
    cells = [(0, "small", 1000, 900), (1, "small", 250, 125), (1, "large", 200, 176)]
    record(engine, cells, recent())
    with psycopg.connect(database_url) as connection:
        large, small = connection.execute(ASKED, {"since": "2020-01-01"})
    assert (large[0], large[4]) == ("large", pytest.approx(0.88, abs=1e-6))
    assert (small[0], small[4]) == ("small", pytest.approx(0.5, abs=1e-6))
    assert large[5] < 0.88 < large[6] < 1


def test_a_route_that_is_better_on_hard_questions_alone_is_so_there_alone(
    engine: SonaEngine, database_url: str
) -> None:
    # By additive effects large would be above 100 % on easy questions, for most comparisons are of hard ones.
    cells = [(0, "small", 900, 810), (0, "large", 20, 18), (1, "small", 30, 6), (1, "large", 130, 117)]
    record(engine, cells, recent())
    with psycopg.connect(database_url) as connection:
        large, small = connection.execute(ASKED, {"since": "2020-01-01"})
    assert (large[0], large[4]) == ("large", pytest.approx(0.9, abs=0.02))
    assert (small[0], small[4]) == ("small", pytest.approx((920 * 0.9 + 160 * 0.2) / 1080, abs=0.02))
    assert large[5] < 0.9 < large[6]


def test_routes_that_answered_the_same_questions_keep_their_plain_means(engine: SonaEngine, database_url: str) -> None:
    cells = [(topic, route, 60, good) for topic in (0, 1) for route, good in (("a", 54), ("b", 20 + 30 * topic))]
    record(engine, cells, recent())
    with psycopg.connect(database_url) as connection:
        for row in connection.execute(ASKED, {"since": "2020-01-01"}):
            assert row[4] == pytest.approx(row[2], abs=1e-6)


def test_answers_to_different_questions_are_not_compared(engine: SonaEngine, database_url: str) -> None:
    # Each topic has an answer of its own; now and then another one was given by mistake.
    cells = [(topic, route, 20 if place == topic else 2, 15 if place == topic else 0)
             for topic in range(3) for place, route in enumerate("abc")]  # fmt: skip
    record(engine, cells, recent())
    with psycopg.connect(database_url) as connection:
        found = connection.execute(ASKED, {"since": "2020-01-01"}).fetchall()
    assert [row[4] for row in found] == [None, None, None]
    ordered = Overview(engine).leaderboard(30).routes
    assert [one.low for one in ordered] == sorted((one.low or 0 for one in ordered), reverse=True)


@pytest.mark.parametrize(
    "truth",
    [
        {"a": (0.3, 0.6, 0.9), "b": (0.4, 0.7, 1.0)},  # b is better by .1 everywhere
        {"a": (0.1, 0.8, 0.9), "b": (0.7, 0.8, 0.6)},  # b by .6 on hard questions, and worse on easy ones
    ],
)
def test_intervals_hold_the_truth_19_times_out_of_20(database_url: str, truth: dict[str, tuple[float, ...]]) -> None:
    drawn = np.random.default_rng(1)
    inside = 0
    for turn in range(20):
        with SonaEngine(DIM, database_url, f"turn-{turn}", config=CONFIG) as engine:
            cells = []
            for topic, sizes in enumerate(((20, 80), (50, 50), (80, 20))):
                for route, size in zip("ab", sizes, strict=True):
                    cells.append((topic, route, size, int(drawn.binomial(size, truth[route][topic]))))
            record(engine, cells, recent())
        with psycopg.connect(database_url) as connection:
            found = connection.execute(ASKED.replace("default", f"turn-{turn}"), {"since": "2020-01-01"}).fetchall()
        known = {row[0]: row[5:7] for row in found}
        inside += sum(
            known[route][0] <= mean <= known[route][1]
            for route, mean in ((name, np.mean(of)) for name, of in truth.items())
        )
    print(f"{inside} of 40 intervals hold the true quality on like questions")
    assert inside >= 35


def test_without_topics_nothing_is_compared(engine: SonaEngine, database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        assert connection.execute(ASKED, {"since": "-infinity"}).fetchall() == []
        record(engine, [(0, "a", 3, 2), (0, "b", 30, 20)], recent())
        assert connection.execute(ASKED, {"since": "-infinity"}).fetchall() == [
            ("b", 30, pytest.approx(2 / 3), 0, None, None, None, False)
        ]  # a has fewer than 10 ratings
        assert connection.execute(ASKED, {"since": "infinity"}).fetchall() == []
    assert [one.like_quality for one in Overview(engine).leaderboard(30).routes] == [None, None]
