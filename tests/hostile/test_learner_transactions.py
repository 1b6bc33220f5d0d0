"""A learner computes with no transaction open, and publishes only if no other learner has published meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import numpy as np
import psycopg
import pytest
from fix_databases import lasting_transactions

from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import LoopConfig
from sona_pg.errors import LearningConflict, LearningError, SpaceRemoved
from sona_pg.store import lease_hold, leases, unit
from sona_pg.worker import background
from sona_pg.worker.background import BackgroundLoop

DIM = 8
QUIET = SonaConfig(loops=LoopConfig(automatic=False))


def record(engine: SonaEngine, n: int) -> None:
    rng = np.random.default_rng(n)
    for _ in range(n):
        engine.end_trajectory(engine.begin_trajectory(rng.standard_normal(DIM).astype(np.float32)), 0.5)
    engine.flush()


@contextmanager
def while_computing(monkeypatch: pytest.MonkeyPatch, action: Callable[[], object]) -> Iterator[None]:
    """Do something once in the middle of a cycle."""
    usual, pending = background.learn, [action]

    def interrupted(*arguments: object) -> object:
        while pending:
            pending.pop()()
        return usual(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(background, "learn", interrupted)
        yield
    assert not pending


def test_no_transaction_is_open_while_it_computes(database_url, monkeypatch):
    seen = []
    with SonaEngine(DIM, database_url, config=QUIET) as engine:
        record(engine, 20)
        with while_computing(monkeypatch, lambda: seen.append(lasting_transactions(database_url))):
            assert engine.force_learn().learned
    assert seen == [set()]


def test_a_cycle_outlasts_the_timeout_of_idle_transactions(database_url, monkeypatch):
    name = psycopg.conninfo.conninfo_to_dict(database_url)["dbname"]
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f'ALTER DATABASE "{name}" SET idle_in_transaction_session_timeout = 50')
    passed = threading.Event()
    with SonaEngine(DIM, database_url, config=QUIET) as engine:
        record(engine, 20)
        with while_computing(monkeypatch, lambda: passed.wait(0.3)):
            assert engine.force_learn().learned


def test_a_suspended_learner_cannot_publish_facts_learned_by_another(database_url, monkeypatch):
    """A process that was stopped for a while wakes up with its cycle half done."""
    with SonaEngine(DIM, database_url, config=QUIET) as engine, SonaEngine(DIM, database_url, config=QUIET) as other:
        record(engine, 20)
        monkeypatch.setattr(lease_hold, "RENEW_EVERY", 60.0)

        def take_over() -> None:
            with psycopg.connect(database_url) as connection:
                connection.execute("UPDATE sona.leases SET expires_at = '2000-01-01'")
            assert other.force_learn().trajectories == 20

        loop: BackgroundLoop = engine._session._background
        with while_computing(monkeypatch, take_over):
            result = loop.run_cycle()  # runs again, and finds nothing left
        assert (result.learned, result.trajectories) == (False, 0)
        record(engine, 5)
        with while_computing(monkeypatch, lambda: (record(engine, 1), take_over_again(database_url, other))):
            assert loop.run_cycle_after(1) is None
        assert engine.rebuild().equal
        assert engine.refresh() == 2


def take_over_again(url: str, other: SonaEngine) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE sona.leases SET expires_at = '2000-01-01'")
    assert other.force_learn().trajectories == 6


def test_a_learner_of_the_last_release_does_not_wait_for_leases_and_nothing_is_learned_twice(database_url, monkeypatch):
    """It locks the space's row, marks the batches and publishes, ignoring the lease."""

    def learn_as_before() -> None:
        with psycopg.connect(database_url) as connection:
            connection.execute("SELECT live_version FROM sona.spaces FOR NO KEY UPDATE")
            connection.execute("UPDATE sona.batches SET cycle_id = gen_random_uuid() WHERE cycle_id IS NULL")

    with SonaEngine(DIM, database_url, config=QUIET) as engine:
        record(engine, 20)
        with while_computing(monkeypatch, learn_as_before):
            assert not engine.force_learn().learned
        assert engine.version == 0


def test_another_learner_waits_for_a_forced_cycle_and_leaves_a_due_one(database_url):
    with SonaEngine(DIM, database_url, config=QUIET) as engine:
        record(engine, 20)
        session = engine._session
        loop: BackgroundLoop = session._background
        with session.database.learning_unit(session.space, session.server_id):
            assert loop.run_cycle_after(0) is None
            waiting = threading.Thread(target=engine.force_learn)
            waiting.start()
            assert engine.version == 0
        waiting.join(30)
        assert engine.refresh() == 1


def test_the_lease_of_a_learner_that_died_is_taken_over(database_url):
    with SonaEngine(DIM, database_url, config=QUIET) as engine:
        session = engine._session
        with session.database.engine.begin() as connection:
            dead = leases.take(connection, session.space.space_id, session.server_id, timedelta(seconds=0.2))
        assert dead is not None
        record(engine, 3)
        assert engine.force_learn().learned
        with session.database.engine.begin() as connection:
            assert not leases.is_held(connection, dead)
            assert not leases.renew(connection, dead, timedelta(seconds=5))


def test_a_failed_cycle_stands_in_sql(database_url, monkeypatch):
    def fail() -> None:
        raise LearningError("no way on")

    with SonaEngine(DIM, database_url, config=QUIET) as engine:
        record(engine, 3)
        with while_computing(monkeypatch, fail), pytest.raises(LearningError, match="no way on"):
            engine.force_learn()
        with psycopg.connect(database_url) as connection:
            failed = connection.execute("SELECT error, trajectories FROM sona.cycle_log").fetchall()
            assert failed == [("LearningError: no way on", 0)]
            waiting = "SELECT failed_cycles, last_error, waiting_facts, age IS NULL FROM sona.learning"
            assert connection.execute(waiting).fetchone() == (1, "LearningError: no way on", 3, True)
        assert engine.force_learn().trajectories == 3
        with psycopg.connect(database_url) as connection:
            assert connection.execute(waiting).fetchone() == (0, None, 0, False)
        assert engine.rebuild().equal


def test_learning_raises_a_conflict_where_others_are_always_faster(database_url, monkeypatch):
    with SonaEngine(DIM, database_url, config=QUIET) as engine:
        record(engine, 3)

        def conflict(*_: object) -> None:
            raise LearningConflict("another was faster")

        monkeypatch.setattr(unit.LearningUnit, "publish", conflict)
        with pytest.raises(LearningConflict, match="other learners were faster"):
            engine.force_learn()


def test_a_space_that_is_gone_is_named(database_url):
    with SonaEngine(DIM, database_url, config=QUIET) as engine:
        session = engine._session
        gone = type(session.space)(999, "gone", DIM)
        with pytest.raises(SpaceRemoved):
            BackgroundLoop(session.database, gone, session.server_id, engine.config).run_cycle()


def test_rankings_without_a_route_are_reported(database_url, caplog):
    with SonaEngine(DIM, database_url, config=QUIET) as engine:
        x = np.ones(DIM, np.float32)
        for acted in (True, False, False):
            handle = engine.begin_trajectory(x, ranking=engine.rank(x, np.eye(2, DIM), ids=["a", "b"]))
            if acted:
                engine.set_trajectory_route(handle, "a")
            engine.end_trajectory(handle, 1.0)
        assert engine.force_learn().without_route == 2
        assert "2 of 3 trajectories name candidates but no route" in caplog.text
        with psycopg.connect(database_url) as connection:
            detail = connection.execute("SELECT detail ->> 'without_route' FROM sona.cycle_log").fetchone()
        assert detail == ("2",)
