"""A cycle claims a slice of the unlearned facts, in whole batches; cycles repeat until none are left."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import psycopg
import pytest

from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import BaseConfig, IngestConfig, LoopConfig
from sona_pg.domain.ids import uuid7
from sona_pg.store import claims
from sona_pg.store.unit import LearningUnit
from sona_pg.worker import background

DIM = 16
LOOPS = LoopConfig(automatic=False, replay=60, slice=50)
SELDOM = IngestConfig(flush_interval=60)  # a batch is what a flush commits, however slow the machine is
CONFIG = SonaConfig(hidden_dim=DIM, base=BaseConfig(rank=4, layers=2), loops=LOOPS, ingest=SELDOM)


@pytest.fixture
def engine(database_url: str) -> Iterator[SonaEngine]:
    with SonaEngine(DIM, database_url, config=CONFIG) as opened:
        yield opened


def record(engine: SonaEngine, n: int, batch: int = 20, seed: int = 0) -> list:
    """Record rankings and routes with steps, thumbs and late feedback, ``batch`` trajectories a transaction."""
    rng = np.random.default_rng(seed)
    documents = np.random.default_rng(99).standard_normal((8, DIM)).astype(np.float32)
    ids = [f"d{index}" for index in range(8)]
    seen: list = []
    for index in range(n):
        meant = int(rng.integers(8))
        query = documents[meant] + 0.5 * rng.standard_normal(DIM).astype(np.float32)
        ranking = engine.rank(query, documents, ids=ids) if index % 2 else None
        handle = engine.begin_trajectory(query, query=f"question {meant}", ranking=ranking)
        engine.add_step(handle, documents[meant], None, float(rng.random()))
        engine.set_trajectory_route(handle, ranking.ids[0] if ranking else ("small", "big")[index % 4 == 0])
        engine.end_trajectory(handle, float(rng.random()) if index % 3 else None)
        seen.append(handle.id)
        if index % 4 == 0:
            engine.feedback(seen[int(rng.integers(len(seen)))], quality=float(rng.random()), source="late")
        if index % batch == batch - 1:
            engine.flush()
    engine.flush()
    return seen


def claimed_facts(url: str) -> list[int]:
    """How many facts each cycle claimed, by version."""
    with psycopg.connect(url) as connection:
        return [
            facts
            for (facts,) in connection.execute(
                """
                SELECT sum(b.trajectories + b.feedback)::int FROM sona.batches b
                JOIN sona.cycles c ON c.space_id = b.space_id AND c.cycle_id = b.cycle_id
                GROUP BY c.version ORDER BY c.version
                """
            )
        ]


def test_a_backlog_is_learned_in_slices_and_rebuilt_to_the_bit(engine, database_url):
    record(engine, 200)
    result = engine.force_learn()
    assert (result.trajectories, result.feedback, result.base_version) == (200, 50, 0)
    assert result.version == result.cycles == len(claimed_facts(database_url)) > 4
    assert not result.followed
    assert engine.version == result.version
    assert max(claimed_facts(database_url)) <= 50
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT count(*) FROM sona.batches WHERE cycle_id IS NULL").fetchone() == (0,)
    rebuilt = engine.rebuild()
    assert rebuilt.equal, rebuilt.differences
    assert (rebuilt.cycles, rebuilt.trajectories) == (result.cycles, 200)


def test_facts_within_a_slice_are_learned_in_one_cycle(engine, database_url):
    record(engine, 30)
    assert engine.force_learn().cycles == 1
    assert engine.force_learn().cycles == 1
    assert engine.version == 1


def test_a_batch_larger_than_a_slice_is_learned_whole(engine, database_url):
    record(engine, 120, batch=120)
    result = engine.force_learn()
    assert result.trajectories == 120
    assert claimed_facts(database_url) == [150]  # of slices of 50
    assert engine.rebuild().equal


def test_no_cycle_holds_more_than_its_slice_however_much_waits(engine, monkeypatch):
    record(engine, 160)
    held = []
    usual = background.learn

    def weigh(before, claimed, stored, *rest):
        held.append(len(claimed.fresh) + len(claimed.revised) + claimed.feedback)
        assert len(stored.trajectories) <= LOOPS.replay
        return usual(before, claimed, stored, *rest)

    monkeypatch.setattr(background, "learn", weigh)
    assert engine.force_learn().trajectories == 160
    assert len(held) > 3
    assert max(held) <= 2 * LOOPS.slice  # new facts, and the trajectories that they are about


def test_steps_and_wide_embeddings_bound_a_slice_too(engine, monkeypatch):
    monkeypatch.setattr(claims, "MOST_VECTOR_BYTES", 4 * DIM * 60)  # 30 trajectories with a step each
    record(engine, 60, batch=10)
    assert engine.force_learn().cycles >= 2
    assert engine.rebuild().equal


def test_slices_begin_with_the_oldest_facts(engine):
    seen = record(engine, 120)
    session = engine._session
    with session.database.learning_unit(session.space, uuid7()) as unit:
        claimed = unit.claim(50)
        assert claimed.followed
        assert [row.bytes for row in seen[: len(claimed.fresh)]] == [row.tobytes() for row in claimed.fresh.ids]


def test_of_many_waiting_batches_only_a_slice_is_listed(engine, database_url):
    engine.end_trajectory(engine.begin_trajectory(np.ones(DIM, np.float32)), 0.5)
    engine.flush()
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "INSERT INTO sona.batches (space_id, batch, server_id, trajectories, steps, feedback, recorded_at)"
            " SELECT 1, n, gen_random_uuid(), 1, 0, 0, now() + n * interval '1 us' FROM generate_series(1, 5000) n"
        )
        connection.execute("ANALYZE sona.batches")
        plan = connection.execute(
            "EXPLAIN (ANALYZE, FORMAT JSON) " + claims.NEXT_SLICE,
            {"space": 1, "until": "infinity", "last": 2**63 - 1, "most": 50, "vectors": 10**6},
        ).fetchone()[0]
    found = list(scans(plan[0]["Plan"]))
    assert [(node["Index Name"], node["Actual Rows"]) for node in found] == [("batches_unlearned", 51)]


def scans(node: dict) -> Iterator[dict]:
    if "Relation Name" in node:
        yield node
    for inner in node.get("Plans", ()):
        yield from scans(inner)


def test_records_made_while_slices_are_learned_wait_for_the_next_call(engine, monkeypatch):
    record(engine, 120)
    usual, more = background.learn, [1, 2]

    def meanwhile(*arguments):
        if more:
            record(engine, 20, seed=more.pop())
        return usual(*arguments)

    monkeypatch.setattr(background, "learn", meanwhile)
    assert engine.force_learn().trajectories == 120
    assert engine.force_learn().trajectories == 40
    assert engine.rebuild().equal


def test_two_learners_share_a_backlog_and_nothing_is_learned_twice(engine, database_url):
    record(engine, 120)
    with SonaEngine(DIM, database_url, config=CONFIG) as other:
        results: list = []
        threads = [threading.Thread(target=lambda e=e: results.append(e.force_learn())) for e in (engine, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert sum(result.trajectories for result in results) == 120
        engine.refresh()
        assert engine.rebuild().equal


def test_a_slice_that_failed_leaves_those_before_it_learned(engine, monkeypatch):
    record(engine, 150)
    usual, calls = LearningUnit.publish, []

    def fail_third(unit, *arguments):
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("no more")
        return usual(unit, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(LearningUnit, "publish", fail_third)
        with pytest.raises(RuntimeError):
            engine.force_learn()
    assert engine.refresh() == 2
    result = engine.force_learn()
    assert result.base_version == 2
    assert engine.rebuild().equal
    assert engine.metrics()["totals"]["waiting"] == 0
