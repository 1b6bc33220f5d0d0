"""Changes of routes are found once for all pages, and again as soon as they may be others."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial

import numpy as np
import psycopg
import pytest

from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import LoopConfig, MaintenanceConfig
from sona_pg.domain.ids import uuid7
from sona_pg.engine import kept_route_changes, shared_finds
from sona_pg.engine.overview import Overview
from sona_pg.engine.shared_finds import BeingFound, FindThreads, SharedFinds, awaiting_finds
from sona_pg.errors import DatabaseUnavailable

pytestmark = pytest.mark.no_vectors

CONFIG = SonaConfig(loops=LoopConfig(automatic=False), maintenance=MaintenanceConfig(automatic=False))
DAYS, FELL, EACH = 20, 10, 12
QUERY = np.eye(4, dtype=np.float32)[0]
SLOW = {"QUICK": -1.0, "PAUSES": 1e9}  # as if finding them took long


@pytest.fixture
def shop(database_url: str) -> Iterator[SonaEngine]:
    """One of three answers is wrong from the tenth day on; a user asked on each day."""
    with SonaEngine(4, database_url, config=CONFIG) as engine:
        for day in range(DAYS):
            for place in range(EACH):
                route = ("track", "refund", "return")[place % 3]
                record(engine, day, place, route, float(route != "track" or day < FELL))
        engine.force_learn()
        yield engine


def record(engine: SonaEngine, day: int, place: int, route: str, quality: float) -> None:
    start = datetime.now(UTC).replace(hour=0, minute=1, second=0) - timedelta(days=DAYS - 1)
    id_ = uuid7(int((start + timedelta(days=day, seconds=place)).timestamp() * 1000))
    trajectory = engine.begin_trajectory(QUERY, query="where is it?", id=id_)
    engine.set_trajectory_route(trajectory, route)
    engine.add_trajectory_context(trajectory, "user:ann" if place < 3 else "user:bob")
    engine.end_trajectory(trajectory, quality)


@pytest.fixture
def finds(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every statement that finds changes of routes from now on, of all threads."""
    sent: list[str] = []
    send = psycopg.Cursor.execute

    def noted(cursor: psycopg.Cursor, query: str, *args: object, **how: object) -> psycopg.Cursor:
        if "sona.route_changes(" in str(query) or "sona.best_routes(" in str(query):  # which finds them itself
            sent.append(str(query))
        return send(cursor, query, *args, **how)

    monkeypatch.setattr(psycopg.Cursor, "execute", noted)
    return sent


def rated(overview: Overview, days: float = 30) -> list[tuple[str, int]]:
    return [(one.change.route, one.change.after_rated) for one in overview.route_changes(days)]


def test_the_leaderboard_and_the_panels_beside_it_find_them_once(shop: SonaEngine, finds: list[str]) -> None:
    overview = Overview(shop)
    after = 4 * (DAYS - FELL)
    assert rated(overview) == [("track", after)]
    marked = {one.route: one.changed for one in overview.leaderboard(30).routes}
    assert marked["track"] is not None
    assert (marked["track"].rated, marked["refund"]) == (after, None)
    assert rated(overview, 30.2) == [("track", after)]
    assert len(finds) == 1
    assert rated(overview, 5) == []
    assert len(finds) == 2


def test_the_map_of_topics_and_time_travel_find_them_once(shop: SonaEngine, finds: list[str]) -> None:
    overview = Overview(shop)
    (topic,) = overview.pattern_map().patterns
    assert (topic.routes["track"]["quality"], topic.routes["track"]["rated"]) == (0.0, 4 * (DAYS - FELL))
    overview.answers(QUERY, [])
    assert len(finds) == 1
    assert {topic.id: (topic.best_route, topic.former_best, topic.succeeded)} == overview.best_routes()
    assert topic.best_route in ("refund", "return")


def test_new_facts_are_in_them_at_once(shop: SonaEngine, finds: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_route_changes, "QUICK", 1e9)  # however busy this machine is
    overview = Overview(shop)
    before = rated(overview)
    record(shop, DAYS - 1, 50, "track", 0.0)
    shop.flush()
    ((route, count),) = rated(overview)
    assert (before, len(finds)) == ([(route, count - 1)], 2)


def test_a_day_that_is_summed_up_or_taken_back_counts_at_once(
    shop: SonaEngine, finds: list[str], database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_route_changes, "QUICK", 1e9)
    overview = Overview(shop)
    rated(overview)
    with psycopg.connect(database_url, autocommit=True) as connection:
        for number, change in enumerate((
            "INSERT INTO sona.summary_days (space_id, day, summed_at) VALUES (1, '2020-02-02', now())",
            "UPDATE sona.summary_days SET stale_since = now()",
            "DELETE FROM sona.summary_days",
        )):  # fmt: skip
            connection.execute(change)
            rated(overview)
            assert len(finds) == number + 2


def test_where_finding_them_takes_long_new_facts_wait_and_an_erasure_does_not(
    shop: SonaEngine, finds: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SLOW.items():
        monkeypatch.setattr(kept_route_changes, name, value)
    overview = Overview(shop)
    before = rated(overview)
    record(shop, DAYS - 1, 50, "track", 0.0)
    shop.flush()
    assert (rated(overview), len(finds)) == (before, 1)
    shop.forget(user="ann")
    assert rated(overview) == [("track", 3 * (DAYS - FELL) + 1)]
    monkeypatch.setattr(kept_route_changes, "LONGEST", -1.0)
    record(shop, DAYS - 1, 51, "track", 0.0)
    shop.flush()
    assert rated(overview) == [("track", 3 * (DAYS - FELL) + 2)]


class Noted(dict):  # type: ignore[type-arg]
    """What is under way, with a word of each thread that has looked for its own."""

    def __init__(self) -> None:
        super().__init__()
        self.looked = threading.Semaphore(0)

    def get(self, key: object, default: object = None) -> object:
        found = super().get(key, default)
        self.looked.release()
        return found


@pytest.fixture
def threads() -> Iterator[FindThreads]:
    threads = FindThreads()
    yield threads
    threads.stop(lambda: None)


def all_at_once(finds: SharedFinds[str], fails: bool, threads: FindThreads) -> tuple[list[str], int]:
    """Ask from four threads while the first finds; return what each was told, and how often it was found."""
    seen, begun = Noted(), []
    finds._under_way = seen

    def work() -> str:
        begun.append(threading.get_ident())
        for _ in range(4):
            assert seen.looked.acquire(timeout=60)
        if fails:
            raise DatabaseUnavailable("away")
        return "found"

    def ask(_: int) -> str:
        try:
            return finds.find(1, "key", work, threads)
        except DatabaseUnavailable as exc:
            return str(exc)

    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(ask, range(4))), len(begun)


@pytest.mark.parametrize(("fails", "told"), [(False, "found"), (True, "away")])
def test_who_asks_while_it_is_found_waits_for_it_and_shares_its_error(
    fails: bool, told: str, threads: FindThreads
) -> None:
    finds: SharedFinds[str] = SharedFinds()
    assert all_at_once(finds, fails, threads) == ([told] * 4, 1)
    assert finds.find(1, "key", lambda: "again", threads) == "again"


def test_one_thing_does_not_wait_for_another(threads: FindThreads) -> None:
    finds: SharedFinds[str] = SharedFinds()
    assert finds.find(1, "one", lambda: finds.find(2, "other", lambda: "both", threads), threads) == "both"


def test_who_gives_up_waiting_finds_the_answer_when_asking_again(
    threads: FindThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    finds: SharedFinds[str] = SharedFinds()
    goes_on, begun = threading.Event(), []

    def work() -> str:
        begun.append(1)
        assert goes_on.wait(60)
        return "found"

    monkeypatch.setattr(shared_finds, "PATIENCE", 0.0)
    with pytest.raises(DatabaseUnavailable, match="goes on: ask again"):
        finds.find(1, "key", work, threads)
    with awaiting_finds():
        with pytest.raises(BeingFound) as raised:
            finds.find(1, "key", work, threads)
        goes_on.set()
        assert raised.value.future.result(60) == "found"
        assert (finds.find(1, "key", work, threads), begun) == ("found", [1])


def test_one_space_occupies_one_thread_and_its_finds_come_in_turn(threads: FindThreads) -> None:
    goes_on, order = threading.Event(), list[int]()
    first = threads.start(1, lambda: goes_on.wait(60))
    others = [threads.start(1, partial(order.append, place)) for place in range(3)]
    assert threads.start(2, lambda: "of another").result(60) == "of another"
    assert order == []
    goes_on.set()
    assert first.result(60)
    assert [one.result(60) for one in others] == [None] * 3
    assert order == [0, 1, 2]


def test_who_waits_in_the_queue_when_the_threads_end_is_told_so() -> None:
    threads, finds, ends = FindThreads(), SharedFinds[bool](), threading.Event()
    running = threads.start(1, lambda: ends.wait(60))
    with awaiting_finds():
        with pytest.raises(BeingFound):
            finds.find(1, "queued", lambda: True, threads)
        threads.stop(ends.set)
        with pytest.raises(DatabaseUnavailable, match="closed"):
            finds.find(1, "queued", lambda: True, threads)
    assert running.result() is True
    with pytest.raises(DatabaseUnavailable, match="closed"):
        finds.find(1, "late", lambda: True, threads)
