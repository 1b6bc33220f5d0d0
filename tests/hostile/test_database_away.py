"""Opening and closing an engine while the database is away: it records, serves its last version, and loses nothing."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from uuid import UUID

import numpy as np
import psycopg
import pytest
from fix_proxy import Proxy

from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import IngestConfig, LoopConfig
from sona_pg.errors import DatabaseUnavailable, TrajectoryError
from sona_pg.ingest import outage, writer

DIM = 8
LEVELS = ["memory", "spool"]
IDS = ["a", "b", "c"]
DOCUMENTS = np.eye(3, DIM, dtype=np.float32)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SONA_PG_HOME", str(tmp_path))
    return tmp_path


def config(durability: str = "memory") -> SonaConfig:
    loops = LoopConfig(automatic=False, poll_interval=0.1)
    return SonaConfig(loops=loops, ingest=IngestConfig(durability=durability))  # type: ignore[arg-type]


def opened(proxy: Proxy, durability: str = "memory", **arguments: object) -> SonaEngine:
    return SonaEngine(DIM, proxy.url, config=config(durability), **arguments)  # type: ignore[arg-type]


def record(engine: SonaEngine, n: int) -> set[UUID]:
    """Record trajectories with steps, rankings of new candidates, and feedback."""
    rng = np.random.default_rng(n)
    ids = set()
    for number in range(n):
        query = rng.standard_normal(DIM).astype(np.float32)
        names = [f"{name}{number % 7}" for name in IDS]
        ranking = engine.rank(query, DOCUMENTS, ids=names)
        handle = engine.begin_trajectory(query, query=f"question {number}", ranking=ranking)
        engine.add_step(handle, query, None, 0.5)
        engine.set_trajectory_route(handle, ranking.ids[0])
        engine.end_trajectory(handle, 0.5)
        engine.feedback(handle, quality=1.0)
        ids.add(handle.id)
    return ids


def require_stored(url: str, ids: set[UUID]) -> None:
    """Require that all is there, once, with steps and feedback, and with the sets and candidates it names."""
    with psycopg.connect(url) as connection:
        rows = [row[0] for row in connection.execute("SELECT id FROM sona.trajectories")]
        assert set(rows) == ids
        assert len(rows) == len(ids)
        for table, column in (("steps", "trajectory_id"), ("feedback", "trajectory_id")):
            found = [row[0] for row in connection.execute(f"SELECT {column} FROM sona.{table}")]
            assert (set(found), len(found)) == (ids, len(ids)), table
        unnamed = "SELECT count(*) FROM sona.trajectories t WHERE NOT EXISTS (SELECT FROM sona.candidate_sets s"
        assert connection.execute(unnamed + " WHERE s.set_id = t.candidate_set)").fetchone() == (0,)
        missing = (
            "SELECT count(*) FROM (SELECT DISTINCT unnest(candidate_ids) AS id FROM sona.candidate_sets) named"
            " WHERE NOT EXISTS (SELECT FROM sona.candidates c WHERE c.candidate_id = named.id)"
        )
        assert connection.execute(missing).fetchone() == (0,)
        counted = "SELECT sum(trajectories), sum(feedback) FROM sona.batches"
        assert connection.execute(counted).fetchone() == (len(ids), len(ids))


def wait_until_attached(engine: SonaEngine) -> None:
    while isinstance(engine._session.writer, outage.Outage):
        time.sleep(0.01)


@pytest.mark.parametrize("durability", LEVELS)
def test_records_made_without_the_database_are_written_once_it_answers(proxy, database_url, durability, caplog):
    proxy.refuse()
    with caplog.at_level(logging.WARNING), opened(proxy, durability) as engine:
        ids = record(engine, 50)
        assert "opened without the database, serving nothing learned" in caplog.text
        assert engine.version == 0
        assert "has not answered since" in engine.metrics()["database"]
        with pytest.raises(DatabaseUnavailable, match="has not answered since the engine was opened"):
            engine.flush(1)
        with pytest.raises(DatabaseUnavailable):
            engine.search(np.ones(DIM))
        proxy.accept()
        wait_until_attached(engine)
        ids |= record(engine, 21)
        engine.flush()
        require_stored(database_url, ids)
        assert engine.force_learn().trajectories == 71
        assert engine.rebuild().equal


def test_sync_refuses_to_promise_and_the_record_waits(proxy, database_url):
    proxy.refuse()
    with opened(proxy, "sync") as engine:
        handle = engine.begin_trajectory(np.ones(DIM, np.float32))
        with pytest.raises(DatabaseUnavailable, match="not committed: the record waits"):
            engine.end_trajectory(handle, 1.0)
        proxy.accept()
        wait_until_attached(engine)
        engine.flush()
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT id FROM sona.trajectories").fetchall() == [(handle.id,)]


def test_it_serves_the_last_version_that_this_machine_knew(proxy):
    query = np.ones(DIM, np.float32)
    with opened(proxy) as engine:
        record(engine, 30)
        engine.force_learn()
        known = [pattern.id for pattern in engine.find_patterns(query)]
        adapted, ranked = engine.apply_micro_lora(query), engine.rank(query, ids=["a0", "b0"]).ids
        engine.set_trajectory_route(engine.begin_trajectory(query), "x")
    proxy.refuse()
    with opened(proxy) as engine:
        assert engine.version == 1
        assert [pattern.id for pattern in engine.find_patterns(query)] == known
        assert np.array_equal(engine.apply_micro_lora(query), adapted)
        assert engine.rank(query, ids=["a0", "b0"]).ids == ranked
        proxy.accept()
        wait_until_attached(engine)
        assert engine.refresh() == 1


def test_an_engine_that_requires_its_database_raises_without_it(proxy):
    proxy.refuse()
    with pytest.raises(DatabaseUnavailable, match="does not answer"):
        opened(proxy, require_database=True)


@pytest.mark.parametrize("durability", LEVELS)
def test_records_of_a_process_that_never_reached_its_database_are_written_by_the_next(proxy, database_url, durability):
    proxy.refuse()
    engine = opened(proxy, durability)
    ids = record(engine, 40)
    with pytest.raises(DatabaseUnavailable, match="the next process that opens this space writes them"):
        engine.close()
    with pytest.raises(TrajectoryError):
        engine.begin_trajectory(np.ones(DIM, np.float32))
    proxy.accept()
    with opened(proxy) as engine:
        engine.flush()
        require_stored(database_url, ids)
    with opened(proxy) as engine:
        engine.flush()
    require_stored(database_url, ids)


def test_records_in_memory_at_an_outage_are_kept_at_the_end(proxy, database_url, monkeypatch, home):
    monkeypatch.setattr(writer.Writer.close, "__defaults__", (0.5,))
    engine = opened(proxy)
    ids = record(engine, 10)
    engine.flush()
    proxy.cut_after(b"COMMIT")  # in doubt: it is committed, and the writer does not know
    ids |= record(engine, 25)
    proxy.refuse()
    ids |= record(engine, 30)
    with pytest.raises(DatabaseUnavailable, match="the next process that opens this space on this machine writes them"):
        engine.close()
    assert list(home.glob("spool/*/*/batch-*")) or list(home.glob("spool/*/*/0*"))
    proxy.accept()
    with opened(proxy) as engine:
        engine.flush()
        require_stored(database_url, ids)
        assert engine.force_learn().trajectories == 65
        assert engine.rebuild().equal
    assert not list(home.glob("spool/*/*/batch-*"))


def test_an_unwritable_home_is_reported_with_the_number_lost(proxy, monkeypatch, home):
    proxy.refuse()
    engine = opened(proxy)
    record(engine, 3)
    (home / "spool").write_text("no folder")
    with pytest.raises(DatabaseUnavailable, match="6 records are lost: the database is away"):
        engine.close()
    assert outage.Outage is type(engine._session.writer)


def test_a_mismatched_space_is_reported_and_its_records_are_kept(proxy, database_url):
    with SonaEngine(DIM + 1, database_url, config=config()):
        pass
    proxy.refuse()
    engine = opened(proxy)
    record(engine, 3)
    proxy.accept()
    while "dimensions" not in engine._session.writer.stats().last_error:
        time.sleep(0.01)
    with pytest.raises(DatabaseUnavailable, match=f"has {DIM + 1} dimensions, not {DIM}"):
        engine.flush(0.1)
    with pytest.raises(DatabaseUnavailable, match="are kept in"):
        engine.close()
