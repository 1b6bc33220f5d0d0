"""Loop C in the store: its versions are recorded, rebuilt and rolled back; wherever it fails, nothing has changed."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from fix_databases import lasting_transactions

from sona_pg import AsyncSonaEngine, DeepLoop, SonaConfig, SonaEngine
from sona_pg.config import DreamConfig, EwcConfig, LoopConfig, MaintenanceConfig, PatternConfig
from sona_pg.domain.ids import uuid7
from sona_pg.domain.memory import NodeKind
from sona_pg.errors import DatabaseError, LearningConflict
from sona_pg.learning.graph import deep_round, deep_step
from sona_pg.learning.graph.learned_graph import LearnedGraph
from sona_pg.store import cycles, graph_rows, states, version_contents
from sona_pg.worker import deep_loop

DIM = 16
CONFIG = SonaConfig(
    loops=LoopConfig(automatic=False, poll_interval=60),
    maintenance=MaintenanceConfig(automatic=False),
    patterns=PatternConfig(clusters=12, min_size=2),
    ewc=EwcConfig(boundary_threshold=0.5),
    dreams=DreamConfig(count=10, least_quality=0.0, least_integration=0.0),
)
TOPICS = np.random.default_rng(5).standard_normal((12, DIM)).astype(np.float32)


@pytest.fixture
def engine(database_url: str) -> Iterator[SonaEngine]:
    with SonaEngine(DIM, database_url, config=CONFIG) as opened:
        yield opened


def learn(engine: SonaEngine, seed: int, topics: slice = slice(None)) -> None:
    """Learn from sessions about some topics."""
    rng = np.random.default_rng(seed)
    for number in range(12):
        for topic in TOPICS[topics]:
            t = engine.begin_trajectory(topic + 0.2 * rng.standard_normal(DIM).astype(np.float32))
            engine.add_step(t, topic, None, 0.5)
            engine.add_trajectory_context(t, f"session:{seed}-{number}")
            engine.set_trajectory_route(t, "small")
            engine.end_trajectory(t, quality=float(rng.random()))
    engine.force_learn()


def served(engine: SonaEngine) -> dict[str, bytes]:
    """Return the bytes of every array of the version that is served."""
    arrays = engine._session.serving.state.arrays
    return {f"{part}.{name}": values.tobytes() for part, of in arrays.items() for name, values in of.items()}


def stored(url: str) -> list[Any]:
    """Return every row that a deep cycle writes."""
    learned = ["patterns", "fisher_snapshots", "version_contents", "version_tasks", "memory_nodes", "memory_edges"]
    learned.append("memory_standing")
    tables = ["cycles", "state_versions", "state_arrays", *learned]
    with psycopg.connect(url) as connection:
        return [
            connection.execute(f"SELECT md5(string_agg(t::text, '' ORDER BY t::text)) FROM sona.{table} t").fetchone()  # type: ignore[call-overload]
            for table in tables
        ]


def test_a_cycle_publishes_a_version_with_patterns_dreams_and_a_hierarchy_and_records_it(engine, database_url):
    learn(engine, 1)
    result = engine.deep_learn()
    assert result.learned
    assert result.finished
    assert result.version == engine.metrics()["version"] == result.base_version + 1
    assert result.dreams.count == 10
    assert result.dreams.joined > 0
    assert result.abstractions > 0
    assert result.nodes > len(engine.find_patterns(TOPICS[0], 100))
    graph = LearnedGraph.from_arrays(engine._session.serving.state.arrays["graph"])
    assert {NodeKind.PATTERN, NodeKind.ABSTRACTION} <= set(graph.kinds.tolist())
    assert graph.communities.min() == 1
    assert result.communities == graph.communities.max()
    with psycopg.connect(database_url) as connection:
        row = connection.execute(
            "SELECT version, error, detail ->> 'units', (detail -> 'dreams' ->> 'joined')::int,"
            " detail -> 'best' -> 0 ->> 'path' FROM sona.cycles WHERE loop = 'deep'"
        ).fetchone()
    assert row is not None
    assert row[:4] == (result.version, None, str(result.units), result.dreams.joined)
    assert "pattern/" in row[4]


def test_the_live_tables_follow_in_statements_of_a_few_rows(engine, database_url, monkeypatch):
    monkeypatch.setattr(graph_rows, "ROWS", 7)
    learn(engine, 1)
    result = engine.deep_learn()
    edges = LearnedGraph.from_arrays(engine._session.serving.state.arrays["graph"]).edges
    with psycopg.connect(database_url) as connection:
        counts = "SELECT (SELECT count(*) FROM sona.memory_nodes), (SELECT count(*) FROM sona.memory_edges)"
        assert connection.execute(counts).fetchone() == (result.nodes, len(edges))


def test_deep_cycles_among_others_are_rebuilt_to_the_bit_and_rolled_back(engine):
    learn(engine, 1, slice(0, 6))
    before = served(engine)
    version = engine.metrics()["version"]
    engine.deep_learn()
    after = served(engine)
    learn(engine, 2, slice(6, 12))
    learn(engine, 3, slice(0, 4))
    assert engine.deep_learn().tasks_folded > 1, "EWC protects one task instead of several"
    learn(engine, 4, slice(4, 8))
    result = engine.rebuild()
    assert result.differences == ()
    assert result.cycles == 6
    engine.rollback(version + 1)
    assert served(engine) == after
    engine.rollback(version)
    assert served(engine) == before
    assert engine.rebuild().equal


def test_a_cycle_out_of_time_publishes_a_part_and_the_next_ones_finish_it_as_a_rebuild_does(engine):
    learn(engine, 1)
    parts = [engine.deep_learn(1e-9)]
    assert (parts[0].units, parts[0].finished) == (1, False)
    stop = threading.Event()
    parts.append(engine.deep_learn(progress=lambda done, total: done == 4 and stop.set(), stop=stop))
    learn(engine, 2)
    parts.append(engine.deep_learn())
    assert [part.units for part in parts[:2]] == [1, 4]
    assert parts[2].finished
    assert parts[2].from_done == 4
    assert sum(part.dreams.count for part in parts) == 10
    assert engine.rebuild().equal


def test_the_budget_of_a_space_ends_its_cycles(database_url):
    hurried = CONFIG.replace(dreams=dataclasses.replace(CONFIG.dreams, budget=1e-9))
    with SonaEngine(DIM, database_url, config=hurried) as engine:
        learn(engine, 1)
        assert engine.deep_learn(3600.0).units == 1


def test_a_space_that_has_learned_nothing_has_nothing_to_dream_of(engine, database_url):
    assert not engine.deep_learn().learned
    assert engine.metrics()["version"] == 0


@pytest.mark.parametrize(
    ("where", "name"),
    [
        (deep_loop, "position_of"),
        (deep_step, "run_round"),
        (deep_round, "settled"),
        (deep_round, "revalued"),
        (deep_round, "merged_duplicates"),
        (deep_round, "with_abstractions"),
        (deep_step, "grouped"),
        (deep_loop, "result_of"),
        (version_contents, "keep_live"),
        (states, "delete_fisher"),
        (cycles, "record"),
        (graph_rows, "follow"),
        (states, "write_stored"),
        (states, "publish"),
        (states, "make_live"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_cycle_that_fails_anywhere_leaves_the_graph_as_before(engine, database_url, monkeypatch, where, name):
    learn(engine, 1)
    before, graph = stored(database_url), served(engine)

    def fail(*_: Any, **__: Any) -> None:
        raise DatabaseError("here it fails")

    with monkeypatch.context() as broken:
        broken.setattr(where, name, fail)
        with pytest.raises(DatabaseError, match="here it fails"):
            engine.deep_learn()
    engine.refresh()
    assert served(engine) == graph
    with psycopg.connect(database_url, autocommit=True) as connection:
        noted = connection.execute("DELETE FROM sona.cycles WHERE error IS NOT NULL RETURNING error").fetchall()
    assert noted == ([] if name == "record" else [("DatabaseError: here it fails",)])
    assert stored(database_url) == before
    assert engine.deep_learn().learned


def test_a_process_that_is_killed_while_it_dreams_leaves_the_graph_as_before(engine, database_url):
    learn(engine, 1)
    before = stored(database_url)
    script = (
        "import os, signal; from sona_pg import SonaEngine\n"
        "from tests.worker.test_deep_loop import CONFIG, DIM\n"
        f"SonaEngine(DIM, {database_url!r}, config=CONFIG).deep_learn(\n"
        "    progress=lambda done, total: done == 5 and os.kill(os.getpid(), signal.SIGKILL))"
    )
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root / "tests")}  # where the fixtures are, for what it imports
    killed = subprocess.run([sys.executable, "-c", script], cwd=root, env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert stored(database_url) == before
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("UPDATE sona.leases SET expires_at = 'epoch'")
    assert engine.deep_learn().finished


def test_two_deep_cycles_of_a_space_never_run_at_once_and_the_second_goes_on_from_the_first(engine, database_url):
    learn(engine, 1)
    versions: list[tuple[int, int]] = []

    def run() -> None:
        space = engine._session.space
        result = DeepLoop(engine._session.database, space, uuid7(), CONFIG).run_cycle()
        versions.append((result.base_version, result.version))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (first, made), (again, last) = sorted(versions)
    assert (made, last) == (first + 1, first + 2)
    assert again == made


def test_a_learner_that_lost_its_lease_while_it_dreamt_publishes_nothing(engine, database_url, monkeypatch):
    learn(engine, 1)
    before = engine.metrics()["version"]

    def take_over(done: int, total: int) -> None:
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute("UPDATE sona.leases SET epoch = epoch + 1")

    monkeypatch.setattr(deep_loop, "ATTEMPTS", 1)
    with pytest.raises(LearningConflict):
        engine.deep_learn(progress=take_over)
    assert engine.refresh() == before


def test_no_transaction_is_open_while_a_deep_cycle_computes(engine, database_url):
    learn(engine, 1)
    stayed = []
    engine.deep_learn(progress=lambda done, total: stayed.append(lasting_transactions(database_url)))
    assert stayed
    assert not any(stayed)


def test_the_loops_dream_engine_dreams_over_the_live_graph(engine):
    learn(engine, 1)
    engine.deep_learn()
    session = engine._session
    dreams = DeepLoop(session.database, session.space, uuid7(), CONFIG).dream_engine
    assert dreams.node_count == len(LearnedGraph.from_arrays(session.serving.state.arrays["graph"]))
    assert len(dreams.generate_dreams(3)) == 3


def test_it_can_be_awaited(database_url):
    async def run() -> bool:
        async with AsyncSonaEngine(DIM, database_url, config=CONFIG) as engine:
            return (await engine.deep_learn()).learned

    assert asyncio.run(run()) is False
