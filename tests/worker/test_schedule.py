"""Schedule of automatic cycles: the rule, and the coordinator on a simulated clock."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import numpy as np
import psycopg
import pytest

from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import DreamConfig, LoopConfig
from sona_pg.domain.cycle import DeepSchedule, LearningSchedule
from sona_pg.domain.ids import uuid7
from sona_pg.domain.space import Space
from sona_pg.store.database import Database
from sona_pg.worker.background import BackgroundLoop
from sona_pg.worker.coordinator import LoopCoordinator
from sona_pg.worker.schedule import due_at, is_deep_due, is_due

pytestmark = pytest.mark.no_vectors

DIM = 8
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


def test_a_young_space_learns_often_and_an_old_one_with_every_tenth_of_its_history() -> None:
    learned, cycles = 0, []
    for fact in range(1, 14_001):
        if is_due(fact - learned, learned, MINUTE, LoopConfig()):
            learned = fact
            cycles.append(fact)
    assert cycles[:12] == [20, 40, 80, 160, 260, 360, 460, 560, 660, 760, 860, 960]
    assert 35 <= len(cycles) <= 45
    assert due_at(10**9, LoopConfig()) == LoopConfig().slice  # a cycle claims no more, so waiting would save none


@pytest.mark.parametrize(
    ("waiting", "learned", "elapsed", "due"),
    [
        (19, 0, 2 * HOUR, False),  # too few facts, however late
        (20, 0, MINUTE, True),  # the first cycle of a small space
        (39, 40, MINUTE, False),  # as much again
        (40, 40, MINUTE, True),
        (99, 100, 2 * HOUR, False),
        (100, 100, MINUTE, True),
        (100, 5000, MINUTE, False),  # few facts beside the history
        (100, 5000, HOUR, True),  # but on time
        (5000, 0, timedelta(seconds=29), False),  # not at once again
        (5000, 0, timedelta(seconds=30), True),
        (5000, 0, -MINUTE, False),  # another server's clock runs ahead
    ],
)
def test_the_rule(waiting: int, learned: int, elapsed: timedelta, due: bool) -> None:
    assert is_due(waiting, learned, elapsed, LoopConfig()) == due


def test_without_growth_only_the_interval_counts() -> None:
    config = LoopConfig(growth=0)
    assert not is_due(10**6, 10, MINUTE, config)
    assert is_due(10**6, 10, HOUR, config)


class Clock:
    """Simulated time: for this process, and for the database by backdating its rows."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds

    def pass_(self, seconds: float) -> None:
        self.seconds += seconds
        with psycopg.connect(self.url) as connection:
            connection.execute("UPDATE sona.cycles SET started_at = started_at - %s", [timedelta(seconds=seconds)])


class Server:
    """A coordinator on a clock, beside a recorder that never learns by itself."""

    def __init__(self, url: str, **loops: float) -> None:
        quiet = SonaConfig(loops=LoopConfig(automatic=False, **loops))  # type: ignore[arg-type]
        SonaEngine(DIM, url, config=quiet).close()
        with psycopg.connect(url) as connection:  # before it is opened: a space of another time is another space
            connection.execute("UPDATE sona.spaces SET created_at = created_at - interval '31 seconds'")
        self.engine = SonaEngine(DIM, url, config=quiet)
        self.database = Database.open(url)
        self.space = self.database.find_space("default")
        self.clock = Clock(url)
        config = SonaConfig(hidden_dim=DIM, loops=LoopConfig(**loops))  # type: ignore[arg-type]
        background = BackgroundLoop(self.database, self.space, uuid7(), config)
        self.coordinator = LoopCoordinator(background, self.database, self.space, config, self.clock)

    def record(self, n: int) -> list[object]:
        handles = [self.engine.begin_trajectory(np.ones(DIM, np.float32)) for _ in range(n)]
        for handle in handles:
            self.engine.end_trajectory(handle, 0.5)
        self.engine.flush()
        return [handle.id for handle in handles]


@pytest.fixture
def server(database_url: str) -> Iterator[Server]:
    made = Server(database_url)
    yield made
    made.engine.close()
    made.database.close()


def test_it_learns_from_the_first_twenty_and_again_with_a_tenth_more(server: Server) -> None:
    server.record(19)
    server.clock.pass_(31)
    assert server.coordinator.run_due() is None
    server.record(1)
    server.clock.pass_(3)
    assert server.coordinator.run_due().trajectories == 20
    server.record(1980)
    server.clock.pass_(29)
    assert server.coordinator.run_due() is None  # so soon after the last cycle
    server.clock.pass_(3)
    assert server.coordinator.run_due().trajectories == 1980
    server.record(199)
    server.clock.pass_(60)
    assert server.coordinator.run_due() is None
    server.record(1)
    server.clock.pass_(3)
    assert server.coordinator.run_due().trajectories == 200
    server.record(100)
    server.clock.pass_(1800)
    assert server.coordinator.run_due() is None
    server.clock.pass_(1800)
    assert server.coordinator.run_due().trajectories == 100


def test_late_feedback_alone_makes_a_cycle_due(server: Server) -> None:
    ids = server.record(120)
    server.clock.pass_(31)
    assert server.coordinator.run_due().trajectories == 120
    for of in ids[:110]:
        server.engine.feedback(of, quality=1.0)
    server.engine.flush()
    server.clock.pass_(31)
    assert server.coordinator.run_due().revised == 110


def test_facts_learned_by_another_server_are_not_learned_again(server: Server) -> None:
    server.record(150)
    server.clock.pass_(31)
    server.engine.force_learn()  # by another server
    assert server.coordinator.run_due() is None


def test_of_servers_that_find_a_cycle_due_at_once_one_learns(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.record(150)
    server.clock.pass_(31)
    usual = server.database.schedule

    def another_is_faster(space: Space, loop: str) -> LearningSchedule:
        found = usual(space, loop)
        server.engine.force_learn()
        server.record(5)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(server.database, "schedule", another_is_faster)
        assert server.coordinator.run_due() is None
    found = server.database.schedule(server.space, "background")
    assert (found.waiting, found.learned) == (5, 150)
    server.record(100)
    server.clock.pass_(31)
    assert server.coordinator.run_due().trajectories == 105


def test_the_database_is_checked_at_most_every_tenth_of_the_shortest_interval(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []
    usual = server.database.schedule
    monkeypatch.setattr(server.database, "schedule", lambda *about: looks.append(1) or usual(*about))
    for _ in range(60):
        server.coordinator.run_due()
        server.clock.pass_(1)
    assert len(looks) == 20


def test_the_next_slice_is_due_at_once_until_nothing_waits(database_url: str) -> None:
    server = Server(database_url, slice=100)
    try:
        for _ in range(3):
            server.record(90)
        server.clock.pass_(31)
        taken = [server.coordinator.run_due() for _ in range(4)]
        assert [None if result is None else result.trajectories for result in taken] == [90, 90, 90, None]
    finally:
        server.engine.close()
        server.database.close()


@pytest.mark.parametrize(
    ("changes", "due"),
    [
        ({}, False),
        ({"elapsed": timedelta(hours=1)}, True),
        ({"elapsed": timedelta(hours=1), "learned_since": False}, False),
        ({"finished": False, "learned_since": False}, True),
        ({"finished": False, "failures": 1}, False),
        ({"finished": False, "failures": 1, "since_failure": timedelta(minutes=1)}, True),
    ],
)
def test_a_deep_cycle_is_due_by_its_interval_if_the_space_has_learned_or_to_finish_a_round(
    changes: dict[str, Any], due: bool
) -> None:
    found = DeepSchedule(
        live_version=3,
        learned_since=True,
        finished=True,
        elapsed=timedelta(minutes=59),
        failures=0,
        since_failure=timedelta(0),
        settings={},
    )
    assert is_deep_due(dataclasses.replace(found, **changes), DreamConfig(interval=3600.0), LoopConfig()) == due
