"""A learner of many spaces needs no engine: it is fair, and a failing space is retried later and stops no other."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import psycopg
import pytest

from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import LoopConfig
from sona_pg.domain.ids import uuid7
from sona_pg.errors import DatabaseUnavailable, LearningError
from sona_pg.store.database import Database
from sona_pg.worker import background, deep_loop
from sona_pg.worker import learner as learner_module
from sona_pg.worker.cache_shelf import CacheShelf, bytes_of
from sona_pg.worker.coordinator import LoopCoordinator
from sona_pg.worker.learner import Learner

pytestmark = pytest.mark.no_vectors

DIM = 8
NAMES = ("a", "b", "c")
LOOPS = LoopConfig(min_trajectories=10, shortest_interval=0.0, poll_interval=1.0, background_interval=900)
CONFIG = SonaConfig(hidden_dim=DIM, loops=LOOPS)
IDLE = SonaConfig(hidden_dim=DIM, loops=dataclasses.replace(LOOPS, automatic=False))


def record(engine: SonaEngine, n: int) -> None:
    for _ in range(n):
        engine.end_trajectory(engine.begin_trajectory(np.ones(DIM, np.float32)), 0.5)
    engine.flush()


class Fleet:
    """Recorders that learn nothing, and a learner on a clock of the test's own."""

    def __init__(self, url: str) -> None:
        self.engines = {name: SonaEngine(DIM, url, name, config=IDLE) for name in NAMES}
        self.database = Database.open(url)
        self.seconds = 0.0
        self.learner = Learner(self.database, clock=lambda: self.seconds)
        self.learned: list[str] = []
        self.coordinators: dict[str, LoopCoordinator] = {}
        for name in NAMES:
            space = self.database.find_space(name)
            made = self.coordinators[name] = self.learner.coordinator(space, uuid7(), CONFIG)
            self.learner.add(made, lambda _, name=name: self.learned.append(name))  # type: ignore[misc]

    def run(self, after: float = 2.0) -> list[str]:
        """Run what is due ``after`` seconds; return the spaces that learned, in order."""
        self.seconds += after
        self.learned.clear()
        self.learner.run_due()
        return list(self.learned)


@pytest.fixture
def fleet(database_url: str) -> Iterator[Fleet]:
    made = Fleet(database_url)
    yield made
    for engine in made.engines.values():
        engine.close()
    made.database.close()


def test_it_learns_where_enough_waits_and_nowhere_else(fleet: Fleet) -> None:
    record(fleet.engines["a"], 2)
    record(fleet.engines["b"], 1)
    assert fleet.run() == ["a"]
    assert fleet.run() == []
    assert fleet.engines["a"].refresh() == 1


@pytest.mark.parametrize(("after", "order"), [(2.0, ["a", "c", "b"]), (31.0, ["b", "c", "a"])])
def test_the_newest_need_comes_first_unless_it_has_waited_long(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, after: float, order: list[str]
) -> None:
    def away(*_: object, **__: object) -> None:
        raise DatabaseUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(fleet.database, "learning_unit", away)
        for name in ("b", "c", "a"):  # the order in which they come due
            record(fleet.engines[name], 2)
            with pytest.raises(DatabaseUnavailable):
                fleet.run()
    assert fleet.run(after) == order


def test_a_space_that_catches_up_with_a_backlog_lets_the_others_go_first(fleet: Fleet) -> None:
    fleet.learner.remove(fleet.coordinators["a"])
    slices = CONFIG.replace(loops=dataclasses.replace(LOOPS, slice=2))
    coordinator = fleet.learner.coordinator(fleet.database.find_space("a"), uuid7(), slices)
    fleet.learner.add(coordinator, lambda _: fleet.learned.append("a"))
    for _ in range(3):
        record(fleet.engines["a"], 2)
    assert fleet.run() == ["a"]
    record(fleet.engines["b"], 2)
    assert fleet.run(0.5) == ["b", "a"]


def test_a_space_in_which_it_learned_last_comes_before_those_of_other_learners(fleet: Fleet) -> None:
    for engine in fleet.engines.values():
        record(engine, 2)
    fleet.engines["a"].force_learn()
    fleet.learner.remove(fleet.coordinators["a"])
    assert sorted(fleet.run()) == ["b", "c"]
    fleet.learner.add(fleet.coordinators["a"], lambda _: fleet.learned.append("a"))
    for engine in fleet.engines.values():
        record(engine, 10)
    assert fleet.run(1000.0)[2] == "a"


def test_a_run_ends_when_its_time_is_over_and_the_rest_is_due_in_the_next(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    for engine in fleet.engines.values():
        record(engine, 2)
    usual = LoopCoordinator.run_noted

    def slow(self: LoopCoordinator) -> object:
        fleet.seconds += 1.0
        return usual(self)

    monkeypatch.setattr(LoopCoordinator, "run_noted", slow)
    fleet.seconds = 2.0
    assert len(fleet.learner.run_due(0.5)) == 1
    assert len(fleet.learner.run_due(0.5)) == 1
    assert len(fleet.learner.run_due(0.5)) == 1


def test_the_pause_after_a_failure_holds_for_every_learner(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise LearningError("it cannot be learned in")

    record(fleet.engines["a"], 2)
    with monkeypatch.context() as patch:
        patch.setattr(background, "learn", fail)
        assert fleet.run() == []
    other = Learner(fleet.database, clock=lambda: fleet.seconds)
    coordinator = other.coordinator(fleet.database.find_space("a"), uuid7(), CONFIG)
    other.add(coordinator)
    fleet.seconds += 2.0
    assert other.run_due() == []
    with psycopg.connect(fleet.database.url) as connection:
        connection.execute(
            "UPDATE sona.cycles SET started_at = (started_at AT TIME ZONE 'UTC' - interval '1 h') AT TIME ZONE 'UTC', "
            "finished_at = now() - interval '1 h'"
        )
    fleet.seconds += 100.0
    assert [result.trajectories for result in other.run_due()] == [2]


def test_a_space_that_fails_waits_longer_each_time_and_stops_no_other(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tries = []

    def fail(version: int, *, failed: bool) -> None:
        tries.append(fleet.seconds)
        raise LearningError("it cannot be learned in")

    monkeypatch.setattr(fleet.coordinators["a"].background, "run_cycle_after", fail)
    for engine in fleet.engines.values():
        record(engine, 2)
    with caplog.at_level(logging.ERROR):
        assert sorted(fleet.run()) == ["b", "c"]
        for _ in range(500):
            fleet.run(1.0)
    assert [round(after - before) for before, after in pairwise(tries)] == [60, 120, 240]
    assert fleet.coordinators["a"].failures == 4
    assert len([entry for entry in caplog.records if "a cycle of space 'a' failed" in entry.message]) == 1


def test_a_space_that_was_taken_back_is_learned_in_no_more(fleet: Fleet) -> None:
    for engine in fleet.engines.values():
        record(engine, 2)
    fleet.learner.remove(fleet.coordinators["b"])
    assert sorted(fleet.run()) == ["a", "c"]


def test_a_poll_of_a_thousand_idle_spaces_is_one_statement(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet.database, "schedules", None)  # not called: no space has unlearned facts
    looks = []
    usual = fleet.database.waiting_facts
    monkeypatch.setattr(fleet.database, "waiting_facts", lambda spaces: looks.append(len(spaces)) or usual(spaces))
    for _ in range(10):
        assert fleet.run(1.0) == []
    assert looks == [3] * 10


def test_caches_are_bounded_by_bytes_and_the_latest_stays(fleet: Fleet) -> None:
    for engine in fleet.engines.values():
        record(engine, 2)
    fleet.run()
    kept = {name: coordinator.background.cache for name, coordinator in fleet.coordinators.items()}
    sizes = {name: bytes_of(cache) for name, cache in kept.items()}
    assert all(10_000 < size < 100_000 for size in sizes.values()), sizes
    shelf = CacheShelf(sizes["a"] + sizes["b"] + 10)
    for name, cache in kept.items():
        shelf.put(name, cache)
        shelf.get("a")  # so that it is not the least recently used
    assert [shelf.get(name) is not None for name in kept] == [True, False, True]
    small = CacheShelf(1)
    small.put("a", kept["a"])
    small.put("b", kept["b"])
    assert (small.get("a"), small.get("b")) == (None, kept["b"])


def test_it_dreams_in_a_space_that_has_learned_when_its_interval_is_over_part_by_part(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(fleet.engines["a"], 2)
    assert fleet.run() == ["a"]
    assert fleet.run(100.0) == [], "not before a week is over"
    fleet.engines["a"].set_settings({"dreams.interval": 0.001, "dreams.count": 4, "patterns.min_size": 1})
    record(fleet.engines["a"], 10)
    assert fleet.run(1000.0) == ["a", "a"], "loop B, then loop C"
    assert fleet.run(1000.0) == [], "nothing was learned since"
    record(fleet.engines["a"], 100)
    monkeypatch.setattr(learner_module, "PART", 1e-9)
    assert fleet.run(1000.0) == ["a", "a"]
    for _ in range(100):
        if not fleet.run(0.1):
            break
    with psycopg.connect(fleet.database.url) as connection:
        rows = connection.execute(
            "SELECT (detail ->> 'finished')::boolean, (detail ->> 'units')::int FROM sona.cycles"
            " WHERE loop = 'deep' ORDER BY version"
        ).fetchall()
    assert rows[0][0]
    assert [finished for finished, _ in rows[1:]] == [False] * (len(rows) - 2) + [True]
    assert sum(units for _, units in rows[1:]) == rows[0][1]


def test_a_deep_cycle_that_fails_is_noted_retried_later_and_stops_no_other(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise LearningError("it cannot be dreamt of")

    for name in ("a", "b"):
        fleet.engines[name].set_settings({"dreams.interval": 0.001, "patterns.min_size": 1})
        record(fleet.engines[name], 10)
    assert sorted(fleet.run()) == ["a", "b"]
    with monkeypatch.context() as patch:
        patch.setattr(deep_loop, "deepen", fail)
        assert fleet.run(1000.0) == []
    assert "it cannot be dreamt of" in caplog.text
    assert fleet.run(1000.0) == [], "the pause is by the database's clock"
    with psycopg.connect(fleet.database.url, autocommit=True) as connection:
        connection.execute(
            "UPDATE sona.cycles SET finished_at = "
            "(finished_at AT TIME ZONE 'UTC' - interval '2 min') AT TIME ZONE 'UTC' WHERE error IS NOT NULL"
        )
    assert fleet.run(1000.0) + fleet.run(0.1) == ["a", "b"]
