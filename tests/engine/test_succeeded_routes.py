"""The best route of a topic is one that does well now: of one that got worse, only what it was rated since counts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import psycopg
import pytest

from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import LoopConfig, MaintenanceConfig, PatternConfig
from sona_pg.domain.ids import uuid7
from sona_pg.engine.overview import Overview

CONFIG = SonaConfig(
    hidden_dim=8, loops=LoopConfig(automatic=False), maintenance=MaintenanceConfig(automatic=False),
    patterns=PatternConfig(clusters=2, min_size=2),
)  # fmt: skip
DAYS, BROKE = 24, 12
RATED = "UPDATE sona.pattern_routes SET weight = %s, quality = %s WHERE route = %s"
RETIRED = "UPDATE sona.candidates SET retired_at = CASE WHEN candidate_id = %s THEN now() END"
TRACKING, REFUND = np.eye(8, dtype=np.float32)[:2]


@pytest.fixture
def shop(database_url: str) -> Iterator[SonaEngine]:
    """An article of tracking is wrong from the 12th day on, and in the last two another is given six times."""
    start = datetime.now(UTC).replace(hour=0, minute=1, second=0) - timedelta(days=DAYS - 1)
    with SonaEngine(8, database_url, config=CONFIG) as engine:
        for day in range(DAYS):
            for place in range(16):
                asks, late = place % 4 == 0, day >= DAYS - 2 and place < 12
                given = ("portal" if late else "track") if asks else f"refund {place % 3}"
                good = given == "portal" or (given == "track" and day < BROKE) or (not asks and (place + day) % 3 > 0)
                id_ = uuid7(int((start + timedelta(days=day, seconds=place)).timestamp() * 1000))
                trajectory = engine.begin_trajectory(TRACKING if asks else REFUND, query="where is it?", id=id_)
                engine.set_trajectory_route(trajectory, given)
                engine.end_trajectory(trajectory, float(good))
        engine.force_learn()
        engine.refresh()
        yield engine


def test_a_topic_names_the_answer_that_took_the_place_of_a_broken_one(shop: SonaEngine) -> None:
    overview = Overview(shop)
    (topic,) = (one for one in overview.pattern_map().patterns if "track" in one.routes)
    assert (topic.best_route, topic.succeeded) == ("portal", "track")
    track = topic.routes["track"]
    assert (track["rated"], track["quality"]) == (4 * (DAYS - BROKE) - 6, 0.0)
    assert track["since"] == datetime.now(UTC).date() - timedelta(days=DAYS - 1 - BROKE)
    assert topic.routes["portal"]["since"] is None
    sql = overview.best_routes()
    placed = overview.pattern_map().patterns
    assert {one.id: (one.best_route, one.former_best, one.succeeded) for one in placed} == sql
    assert sql[topic.id] == ("portal", None, "track")
    then = overview.pattern_map(version=0)
    assert all(one.succeeded is None for one in then.patterns)
    near = overview.answers(TRACKING, [], 3).now.patterns[0]
    assert (near.best_route, near.best_since, near.succeeded) == ("portal", None, "track")


@pytest.mark.parametrize(
    ("weight", "quality", "retired", "told"),
    [
        (8, 0.88, "", ("portal", None, "track")),
        (5, 0.88, "", ("portal", None, "track")),
        (4, 0.88, "", ("track", None, None)),  # too few
        (9, 0.05, "", ("track", None, None)),  # not shown to be better
        (30, 0.88, "portal", ("track", "portal", None)),
        (30, 0.88, "track", ("portal", None, None)),  # it was no advice before either
    ],
)
def test_the_dashboard_tells_what_sql_tells_of_an_answer_that_broke(
    shop: SonaEngine, database_url: str, weight: float, quality: float, retired: str, told: tuple[str | None, ...]
) -> None:
    shop.remember(["track", "portal"], np.eye(8)[:2])
    shop.flush()
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(RATED, [weight, quality, "portal"])
        connection.execute(RETIRED, [retired])
    overview = Overview(shop)
    best = overview.best_routes()
    placed = overview.pattern_map().patterns
    assert {one.id: (one.best_route, one.former_best, one.succeeded) for one in placed} == best
    (topic,) = (one for one in placed if "track" in one.routes)
    assert tuple(best[topic.id]) == told
    near = overview.answers(TRACKING, [], 3).now.patterns[0]
    assert (near.id, near.best_route, near.succeeded) == (topic.id, told[0], told[2])
    shown = topic.routes[near.best_route or ""]
    assert (near.best_rated, near.best_quality, near.best_since) == (shown["rated"], shown["quality"], shown["since"])


def test_a_version_tells_the_best_route_by_all_ratings_that_it_held(shop: SonaEngine) -> None:
    overview = Overview(shop)
    version = overview.answers(TRACKING, [], 3).now.version
    held = overview.answers(TRACKING, [version], 3).then[0].patterns[0]
    assert held.best_route is not None
    assert (held.best_since, held.succeeded) == (None, None)
    assert (held.best_rated or 0) > 4 * (DAYS - BROKE) - 6  # more than since it got worse
