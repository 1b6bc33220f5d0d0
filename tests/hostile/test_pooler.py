"""Behind PgBouncer in transaction mode: everything works, and no setting of ours stays on a session of others."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta

import numpy as np
import psycopg
import pytest
from fix_ledger import NOW, Ledger, weeks_ago
from fix_pgbouncer import POOL, Pooler, run_pooler

from sona_pg import LoopConfig, SonaConfig, SonaEngine
from sona_pg.config import MaintenanceConfig
from sona_pg.domain.upkeep import MaintenanceAction
from sona_pg.store.admin.health import examine
from sona_pg.store.admin.maintenance import Maintenance
from sona_pg.store.admin.migrate import upgrade
from sona_pg.store.connect import connect

DIM = 8
RNG = np.random.default_rng(0)
ROWS = RNG.standard_normal((60, DIM)).astype(np.float32)
CONFIG = SonaConfig(
    loops=LoopConfig(automatic=False, poll_interval=0.05), maintenance=MaintenanceConfig(automatic=False)
)
POLICY = MaintenanceConfig(keep_weeks=8, memory_mb=64)
UNTOUCHED = [{}] * POOL


@pytest.fixture(params=["refuses our settings", "ignores our settings"])
def either(request: pytest.FixtureRequest, database_url: str) -> Iterator[Pooler]:
    with run_pooler(database_url, "options" if "ignores" in request.param else "") as running:
        yield running


def maintain(url: str, policy: MaintenanceConfig = POLICY) -> list[MaintenanceAction]:
    engine = connect(url)
    try:
        return list(Maintenance(engine, policy, lambda: NOW).run())
    finally:
        engine.dispose()


def of(done: list[MaintenanceAction], action: str) -> list[str]:
    return [thing.subject for thing in done if thing.action == action]


def prepare(ledger: Ledger) -> None:
    space = ledger.space("pooled", DIM)
    for ago in (9, 2):
        ledger.ensure(weeks_ago(ago))
        ledger.fill(space, ROWS, weeks_ago(ago))


def test_recording_learning_following_and_searching_work(pooler: Pooler) -> None:
    with (
        SonaEngine(DIM, pooler.url, "pooled", config=CONFIG) as teacher,
        SonaEngine(DIM, pooler.url, "pooled", config=CONFIG) as follower,
    ):
        for row in ROWS:
            trajectory = teacher.begin_trajectory(row)
            teacher.end_trajectory(trajectory, 0.9)
        assert teacher.force_learn().trajectories == len(ROWS)
        polled = threading.Event()
        while follower.version != teacher.version:
            polled.wait(0.01)
        found = follower.search(ROWS[3], k=1)
        assert found[0].similarity == pytest.approx(1, abs=1e-3)
        follower.feedback(found[0].id, 0.1)
        follower.flush()
        assert teacher.force_learn().feedback == 1
        assert pooler.backends() == UNTOUCHED
    assert pooler.backends() == UNTOUCHED


def test_maintenance_does_all_its_work_and_leaves_no_setting_behind(either: Pooler, ledger: Ledger) -> None:
    prepare(ledger)
    done = maintain(either.url)
    assert "trajectories_w20261102_d8_hnsw" in of(done, "indexed")
    assert len(of(done, "dropped")) == 3
    assert ledger.indexes() == {"trajectories_w20261102_d8_hnsw": True}
    assert either.backends() == UNTOUCHED
    assert maintain(either.url) == []


def test_of_two_maintainers_behind_it_one_works(pooler: Pooler, ledger: Ledger) -> None:
    prepare(ledger)
    engine = connect(pooler.url)
    try:
        running = Maintenance(engine, POLICY, lambda: NOW).run()
        next(running)
        assert of(maintain(pooler.url), "skipped") == ["all"]
        assert of(maintain(ledger.url), "skipped") == ["all"]
        list(running)
    finally:
        engine.dispose()
    assert of(maintain(pooler.url), "skipped") == []  # the lock went with its transaction


def test_a_build_that_a_limit_of_the_pooler_would_end_is_left_with_what_to_do(pooler: Pooler, ledger: Ledger) -> None:
    prepare(ledger)
    (name,) = ledger.rows("SELECT current_database()")[0]
    ledger.execute(f"ALTER DATABASE {name} SET statement_timeout = '7s'")
    later = [thing for thing in maintain(pooler.url) if thing.action == "later"]
    assert [thing.subject for thing in later] == ["trajectories_w20261102_d8_hnsw"]
    assert "statement_timeout = 7s" in later[0].detail
    assert "sona-pg maintain" in later[0].detail
    assert of(maintain(ledger.url), "indexed") == ["trajectories_w20261102_d8_hnsw"]


def test_a_direct_build_has_its_memory_and_no_limit(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    from sona_pg.store.admin import sealing

    prepare(ledger)
    (name,) = ledger.rows("SELECT current_database()")[0]
    ledger.execute(f"ALTER DATABASE {name} SET statement_timeout = '7s'")
    met: list[tuple] = []
    build = sealing.build

    def watch(raw: psycopg.Connection, week: sealing.Week, dim: int) -> None:
        for setting in ("statement_timeout", "lock_timeout", "maintenance_work_mem"):
            met.extend(raw.execute(f"SHOW {setting}").fetchall())
        build(raw, week, dim)

    monkeypatch.setattr(sealing, "build", watch)
    assert of(maintain(ledger.url), "indexed") == ["trajectories_w20261102_d8_hnsw"]
    assert met == [("0",), ("10min",), ("16MB",)]


def test_a_schema_is_upgraded_through_it(empty_database_url: str) -> None:
    from sona_pg.store.admin import migrate

    with run_pooler(empty_database_url) as running:
        assert migrate.upgrade(running.url).current
        assert running.backends() == UNTOUCHED


def test_a_week_that_is_over_is_sealed_by_the_engine_behind_it(pooler: Pooler, ledger: Ledger) -> None:
    at = ledger.rows("SELECT clock_timestamp()")[0][0] - timedelta(weeks=2)
    space = ledger.space("pooled", DIM)
    ledger.ensure(at)
    ledger.fill(space, ROWS, at)
    with SonaEngine(DIM, pooler.url, "pooled", config=CONFIG) as engine:
        assert list(engine._session.database.maintenance(POLICY).run())
        assert engine.search(ROWS[0], k=5).complete
    assert list(ledger.indexes().values()) == [True]


def test_the_doctor_leaves_nothing_on_the_pool(pooler: Pooler) -> None:
    upgrade(pooler.url)
    found = {finding.check: finding.status for finding in examine(pooler.url)}
    assert found["pooler"] == "warning"
    assert pooler.backends() == UNTOUCHED
