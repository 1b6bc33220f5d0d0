"""Distributing a store: every row stays, an ended run goes on, and the same code records, learns and searches."""

from __future__ import annotations

from itertools import islice

import numpy as np
import psycopg
import pytest

from sona_pg import LoopConfig, SonaConfig, SonaEngine
from sona_pg.errors import ConfigError
from sona_pg.store.admin import check, health, migrate
from sona_pg.store.admin.distribution import distribute, topology_at
from sona_pg.store.admin.spreading import HASHED_TABLES, REFERENCE_TABLES, spread
from sona_pg.store.topology import read_topology

pytestmark = pytest.mark.citus

DIM = 16
FIRST = "0043"  # before any store was distributed: every later revision has to run on one that is
WITH_DATA = "0050"


def engine_at(url: str, space: str) -> SonaEngine:
    config = SonaConfig(hidden_dim=DIM, loops=LoopConfig(automatic=False))
    return SonaEngine(url=url, space=space, config=config)


def record(engine: SonaEngine, n: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    for row in range(n):
        trajectory = engine.begin_trajectory(random.standard_normal(DIM))
        engine.set_trajectory_route(trajectory, "a" if row % 2 else "b")
        engine.add_step(trajectory, random.standard_normal(DIM), reward=0.5)
        engine.end_trajectory(trajectory, row % 10 / 10)
    engine.flush()


def counts(url: str) -> dict[str, int]:
    with psycopg.connect(url) as connection:
        return {
            name: connection.execute(f"SELECT count(*) FROM sona.{name}").fetchone()[0]  # type: ignore[index]
            for name in (*HASHED_TABLES, *REFERENCE_TABLES)
            if name not in ("servers", "acts", "leases")
        }


def test_every_row_stays_and_the_same_code_goes_on(empty_database_url: str) -> None:
    url = empty_database_url
    for number in range(3):
        with engine_at(url, f"s{number}") as engine:
            record(engine, 60, number)
            engine.force_learn()
    before = counts(url)
    assert before["trajectories"] == before["steps"] == 180

    assert [step.step for step in islice(distribute(url, shards=4), 12)] == list(range(1, 13))
    ended = topology_at(url)
    assert ended is not None
    assert ended.distributed
    assert [found.status for found in health.examine(url) if found.check == "distribution"] == ["fault"]
    rest = list(distribute(url, shards=4))
    assert len(rest) == len(HASHED_TABLES) + len(REFERENCE_TABLES) - 12 + 2
    assert [step.action for step in distribute(url)] == ["shared", "cleared"]

    done = topology_at(url)
    assert done is not None
    assert (done.tables, done.copied) == (frozenset(HASHED_TABLES), frozenset(REFERENCE_TABLES))
    assert (done.shards, len(done.workers)) == (4, 2)
    assert counts(url) == before
    assert check.faults(url) == []
    assert [found.status for found in health.examine(url) if found.check == "distribution"] == ["ok"]
    with psycopg.connect(url) as connection:
        left = connection.execute(
            "SELECT sum(pg_relation_size(c.oid)) FROM pg_class c JOIN pg_dist_partition p ON p.logicalrelid = c.oid"
            " WHERE c.relnamespace = 'sona'::regnamespace AND p.partmethod = 'h' AND c.relkind = 'r'"
        ).fetchone()
        assert left == (0,)
    with engine_at(url, "s1") as engine:
        assert engine.version == 1
        record(engine, 40, 7)
        assert engine.force_learn().version == 2
        assert len(engine.search(np.random.default_rng(7).standard_normal(DIM), k=5)) == 5
        assert engine.rebuild().equal
        assert engine.rollback(1).version == 3
        receipt = engine.forget(user="nobody", drop_contents=True)
        assert receipt.facts["removed"]["candidate_contents"] == 0
    with engine_at(url, "new") as engine:
        record(engine, 20, 8)
        assert engine.force_learn().version == 1


def distributed_and_upgraded(url: str) -> None:
    """Distribute the store of an earlier release, and upgrade it."""
    with psycopg.connect(url, autocommit=True) as connection:
        topology = read_topology(connection)
        assert topology is not None
        list(spread(connection, topology, 4))
    assert migrate.upgrade(url).current
    done = topology_at(url)
    assert done is not None
    assert (done.tables, done.copied) == (frozenset(HASHED_TABLES), frozenset(REFERENCE_TABLES))


def test_a_distributed_store_of_an_earlier_release_is_upgraded(empty_database_url: str) -> None:
    url = empty_database_url
    migrate.upgrade(url, FIRST)
    distributed_and_upgraded(url)
    with engine_at(url, "s") as engine:
        record(engine, 20, 1)
        assert engine.force_learn().version == 1


def test_a_distributed_store_with_data_keeps_them_when_it_is_upgraded(empty_database_url: str) -> None:
    url = empty_database_url
    for number in range(2):
        with engine_at(url, f"s{number}") as engine:
            engine.set_budget(5.0, "day")
            record(engine, 60, number)
            assert engine.force_learn().version == 1
    before = counts(url)
    migrate.downgrade(url, WITH_DATA)
    distributed_and_upgraded(url)
    assert counts(url) == before
    assert check.faults(url) == []
    with engine_at(url, "s1") as engine:
        assert engine.version == 1
        record(engine, 20, 7)
        assert engine.force_learn().version == 2
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT space, spent FROM sona.budgets ORDER BY 1").fetchall() == [
            ("s0", 0),
            ("s1", 0),
        ]
        assert connection.execute("SELECT count(*) FROM sona.learning_gaps WHERE space = 's1'").fetchone() == (2,)
        assert connection.execute("SELECT route FROM sona.routes_on_like_questions('s1') ORDER BY 1").fetchall() == [
            ("a",),
            ("b",),
        ]


def test_the_address_of_a_worker_is_refused(empty_database_url: str) -> None:
    migrate.upgrade(empty_database_url)
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        for (node,) in connection.execute("SELECT nodename FROM pg_dist_node WHERE groupid > 0").fetchall():
            connection.execute("SELECT citus_remove_node(%s, 5432)", [node])
    with pytest.raises(ConfigError, match="has no node that may hold shards: SELECT citus_add_node"):
        list(distribute(empty_database_url))
