"""``sona.routes_on_like_questions`` compares routes within topics, by least squares, and says when it cannot."""

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


def least_squares(cells: Cells) -> dict[str, float]:
    """Return the mean of the compared questions plus the effect of each route, by dummies of topics and routes."""
    names = sorted({route for _, route, _, _ in cells})
    topics = sorted({topic for topic, *_ in cells})
    rows, y, weights = [], [], []
    for topic, route, rated, good in cells:
        sizes = [size for one, _, size, _ in cells if one == topic]
        weights += [1 - sum(size**2 for size in sizes) / sum(sizes) ** 2] * rated
        row = [float(topic == one) for one in topics] + [float(route == one) for one in names]
        rows += [row] * rated
        y += [1.0] * good + [0.0] * (rated - good)
    x = np.array(rows)
    effects = np.linalg.lstsq(x, np.array(y), rcond=None)[0][len(topics) :]
    mean = np.average(y, weights=weights) - np.average(x[:, len(topics) :], axis=0, weights=weights) @ effects
    return dict(zip(names, (effects + mean).tolist(), strict=True))


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
    told = least_squares(cells)
    assert first[4] == pytest.approx(told["large"], abs=1e-6)
    assert second[4] == pytest.approx(told["small"], abs=1e-6)
    assert second[6] < first[5] < first[4] < first[6]  # beyond chance
    large, small = Overview(engine).routes(30)
    assert (large.route, large.like_quality, large.compared) == ("large", pytest.approx(first[4]), 460)
    assert (small.quality or 0) > (large.quality or 0)


def test_many_routes_are_compared_by_least_squares_and_strangers_are_not(engine: SonaEngine, database_url: str) -> None:
    drawn = np.random.default_rng(3)
    cells: Cells = []
    for topic, routes in ((0, "abc"), (1, "bcd"), (2, "ad"), (3, "z")):
        for route in routes:
            rated = int(drawn.integers(20, 60))
            cells.append((topic, route, rated, int(drawn.integers(0, rated + 1))))
    record(engine, cells, recent())
    with psycopg.connect(database_url) as connection:
        found = {row[0]: row[1:] for row in connection.execute(ASKED, {"since": "2020-01-01"})}
    told = least_squares([cell for cell in cells if cell[1] != "z"])
    assert {route: found[route][3] for route in "abcd"} == pytest.approx(told, abs=1e-6)
    (z,) = (cell for cell in cells if cell[1] == "z")
    assert found["z"] == (z[2], pytest.approx(z[3] / z[2]), 0, None, None, None, False)
    assert [one.route for one in Overview(engine).routes(30)][-1] == "z"


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
    ordered = Overview(engine).routes(30)
    assert [one.low for one in ordered] == sorted((one.low or 0 for one in ordered), reverse=True)


def test_intervals_hold_the_truth_19_times_out_of_20(database_url: str) -> None:
    drawn = np.random.default_rng(1)
    truth = {"a": (0.3, 0.6, 0.9), "b": (0.4, 0.7, 1.0)}  # b is better by .1 everywhere
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
        inside += sum(known[route][0] <= mean <= known[route][1] for route, mean in (("a", 0.6), ("b", 0.7)))
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
    assert [one.like_quality for one in Overview(engine).routes(30)] == [None, None]
