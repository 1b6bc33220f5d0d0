"""The best route of a topic is one that does well now: of one that got worse, only what it was rated since counts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import numpy as np
import psycopg
import pytest

from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import LoopConfig, MaintenanceConfig, PatternConfig
from sona_pg.domain.ids import uuid7
from sona_pg.domain.pattern import RouteRecord
from sona_pg.domain.route_choice import RatingsSince, choose_now, rated_routes
from sona_pg.engine import level_changes
from sona_pg.engine.overview import Overview

CONFIG = SonaConfig(
    hidden_dim=8, loops=LoopConfig(automatic=False), maintenance=MaintenanceConfig(automatic=False),
    patterns=PatternConfig(clusters=2, min_size=2),
)  # fmt: skip
DAYS, BROKE = 24, 12
RATED = "UPDATE sona.pattern_routes SET weight = %s, quality = %s WHERE pattern_id = %s AND route = %s"
RETIRED = "UPDATE sona.candidates SET retired_at = CASE WHEN candidate_id = %s THEN now() END"
TRACKING, REFUND = np.eye(8, dtype=np.float32)[:2]
ALL = {"track": RouteRecord(158, 158, 0.4), "portal": RouteRecord(8, 8, 0.88), "damaged": RouteRecord(14, 14, 0.1)}


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


def chosen(**since: RatingsSince) -> tuple[str | None, str | None]:
    found = choose_now(ALL, rated_routes(ALL, {}, since))
    assert found is not None
    return found.best and found.best.route, found.succeeded and found.succeeded.route


def test_an_answer_that_broke_is_succeeded_by_one_that_is_shown_to_be_better() -> None:
    day = date(2026, 10, 26)
    assert chosen() == ("track", None)
    assert chosen(track=RatingsSince(day, 82, 0.03)) == ("portal", "track")  # 8 ratings
    assert chosen(track=RatingsSince(day, 82, 0.8)) == ("track", None)  # got worse, and is the best still
    assert chosen(portal=RatingsSince(day, 2, 1.0), track=RatingsSince(day, 9, 0.0)) == ("damaged", "track")
    few = {name: record for name, record in ALL.items() if name != "damaged"}
    found = choose_now(few, rated_routes(few, {}, {"track": RatingsSince(day, 5, 0.0)}))
    assert found is not None
    assert (found.best, found.succeeded and found.succeeded.rated) == (None, 5)


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
    now = overview.answers(TRACKING, [], 3).now
    assert now.patterns[0].best_route == "portal"


def test_sql_tells_the_same_best_routes_whatever_the_ratings(shop: SonaEngine, database_url: str) -> None:
    session, rng = shop._session, np.random.default_rng(0)
    since = level_changes.ratings_since(session)
    told = set()
    with psycopg.connect(database_url, autocommit=True) as connection:
        names = [name for (name,) in connection.execute("SELECT DISTINCT route FROM sona.pattern_routes ORDER BY 1")]
        shop.remember(names, np.eye(8)[: len(names)])
        shop.flush()
        for turn in range(60):
            gone = names[turn % 7 : turn % 7 + 1]
            connection.execute(RETIRED, [*gone, ""][:1])
            rows = connection.execute("SELECT pattern_id, route, size FROM sona.pattern_routes").fetchall()
            records: dict[UUID, dict[str, RouteRecord]] = {}
            for pattern, route, size in rows:
                weight, quality = (
                    float(rng.choice([0.0, 4.4, 9.5, 10.5, 30.0, 400.0])),
                    float(rng.choice([0.05, 0.5, 0.95])),
                )
                connection.execute(RATED, [weight, quality, pattern, route])
                records.setdefault(pattern, {})[route] = RouteRecord(size, weight, quality)
            found = Overview(shop).best_routes()
            for pattern, routes in records.items():
                chosen = choose_now(routes, rated_routes(routes, {}, since[pattern]), gone)
                best = None if chosen is None else tuple(
                    one and one.route for one in (chosen.best, chosen.former, chosen.succeeded))  # fmt: skip
                assert tuple(found[pattern]) == (best or (None, None, None)), (turn, routes)
                told.add(tuple(one is None for one in found[pattern]))
    assert len(told) >= 5  # with and without each of them
