"""Every setting has an effect: each is set to an extreme, and must change the named part of the result.

Settings of a space are tested on the pure step of learning; those of a process on its objects without a database, or by
the test named for it.
"""

from __future__ import annotations

import dataclasses
import functools
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from sona_pg.config import EwcConfig, IngestConfig, LoopConfig, MaintenanceConfig, SonaConfig
from sona_pg.config.space_settings import PARTS, TYPES, applied
from sona_pg.domain.catalog import Catalog
from sona_pg.domain.ledger_slice import LedgerSlice, Outcome, Steps, Trajectories
from sona_pg.domain.pattern import LearnedPattern
from sona_pg.errors import ConfigError, DatabaseUnavailable
from sona_pg.ingest.outage import Outage
from sona_pg.learning.adapters.ewc import EwcPlusPlus
from sona_pg.learning.graph.deep_round import Extent
from sona_pg.learning.graph.deep_step import deepen
from sona_pg.learning.knowledge import Knowledge, Stored
from sona_pg.learning.step import learn, replay_ids
from sona_pg.recorder import HotPath
from sona_pg.serving.instant import InstantLoop
from sona_pg.worker.rebuild import differences
from sona_pg.worker.schedule import is_due

DIM = 8
N = 40  # trajectories a cycle
SMALL = SonaConfig(hidden_dim=DIM)
ROOT = Path(__file__).parent.parent

# An extreme of each setting, and a part of the learned state that it changes ("shape": of an adapter).
LEARNED: dict[str, tuple[Any, str]] = {
    "micro.rank": (1, "micro adapter"),
    "micro.learning_rate": (1.0, "micro adapter"),
    "micro.max_norm": (1e-3, "micro adapter"),
    "base.rank": (1, "base adapters"),
    "base.learning_rate": (1.0, "base adapters"),
    "base.layers": (3, "base adapters"),
    "base.passes": (1, "base adapters"),
    "base.max_norm": (1e-3, "base adapters"),
    "ewc.fisher": ("diagonal", "protected tasks"),
    "ewc.sketch": (1, "protected tasks"),
    "ewc.lambda_": (15_000.0, "base adapters"),
    "ewc.max_tasks": (1, "base adapters"),
    "ewc.fisher_decay": (0.1, "ewc"),
    "ewc.boundary_threshold": (1e6, "protected tasks"),
    "patterns.clusters": (1, "patterns"),
    "patterns.max_iterations": (1, "patterns"),
    "patterns.tolerance": (10.0, "patterns"),
    "patterns.min_size": (20, "patterns"),
    "patterns.quality_threshold": (1.0, "patterns"),
    "patterns.merge_similarity": (0.01, "patterns"),
    "patterns.decay": (0.01, "patterns"),
    "patterns.success_quality": (1.0, "patterns"),
    "patterns.failure_quality": (0.0, "patterns"),
    "patterns.failing_reward": (1e6, "patterns"),
    "graph.nodes": (3, "graph"),
    "graph.degree": (1, "graph"),
    "graph.half_life": (1.0, "graph"),
    "loops.replay": (1, "replay"),
    "loops.seed": (1, "base adapters"),
}
# The same of dreams: each changes the graph after a deep step.
DREAMT: dict[str, Any] = {
    "dreams.count": 1,
    "dreams.path": 2,
    "dreams.creative_jump": 1.0,
    "dreams.restart": 1.0,
    "dreams.temperature": 100.0,
    "dreams.novelty": 0.0,
    "dreams.coherence": 0.0,
    "dreams.utility": 0.0,
    "dreams.least_quality": 0.0,
    "dreams.least_integration": 10.0,
    "dreams.edge_weight": 0.9,
    "dreams.exploration": 1.0,
}
# Unlearned facts, learned facts, and seconds since the last cycle, at which the setting decides whether a cycle is due.
DUE: dict[str, tuple[Any, int, int, float]] = {
    "loops.background_interval": (60.0, 150, 10_000, 100.0),
    "loops.min_trajectories": (1, 50, 1000, 4000.0),
    "loops.growth": (0.0, 2000, 10_000, 100.0),
    "loops.shortest_interval": (500.0, 2000, 10_000, 100.0),
    "loops.slice": (100, 200, 10_000, 100.0),
}
# Settings whose effect needs a database, threads or weeks, and the tests that set them.
SHOWN_BY = {
    "loops.automatic": "tests/worker/test_schedule.py",
    "loops.poll_interval": "tests/engine/test_fleet.py",
    "loops.recent": "tests/engine/test_recent_evidence.py",
    "dreams.interval": "tests/worker/test_schedule.py",
    "dreams.budget": "tests/worker/test_deep_loop.py",
    "costs.unit": "tests/service/test_cost_unit.py",
    "gate.mode": "tests/worker/test_gate.py",
    "gate.margin": "tests/learning/test_wager.py",
    "gate.confidence": "tests/learning/test_wager.py",
    "gate.decisions": "tests/worker/test_gate.py",
    "gate.share": "tests/worker/test_gate.py",
    "ingest.flush_interval": "tests/ingest/test_writer.py",
    "maintenance.interval": "tests/engine/test_ledger.py",
    "maintenance.weeks_ahead": "tests/engine/test_ledger.py",
    "maintenance.grace_hours": "tests/store/test_maintenance.py",
    "maintenance.keep_weeks": "tests/store/test_maintenance.py",
    "maintenance.keep_steps_weeks": "tests/store/test_maintenance.py",
    "maintenance.drop_unlearned": "tests/store/test_retention.py",
    "maintenance.keep_waiting_weeks": "tests/store/test_retention.py",
    "maintenance.keep_versions": "tests/store/test_maintenance.py",
    "maintenance.keep_servers_days": "tests/hostile/test_simulated_year.py",
    "maintenance.automatic": "tests/engine/test_fleet.py",
}
GATE = [name for name in SHOWN_BY if name.startswith("gate.")]
HERE = {
    "ewc.lambda_min",
    "ewc.lambda_max",
    "ingest.capacity",
    "ingest.buffer_bytes",
    "ingest.durability",
    "ingest.when_full",
    "maintenance.memory_mb",
}


def test_no_setting_is_left_out() -> None:
    classes = {**PARTS, "ingest": IngestConfig, "maintenance": MaintenanceConfig}
    known = {f"{part}.{field.name}" for part, made in classes.items() for field in dataclasses.fields(made)}
    shown = [*LEARNED, *DREAMT, *DUE, *SHOWN_BY, *HERE]
    assert sorted(shown) == sorted(known)
    of_space = {*LEARNED, *DREAMT, *DUE, "dreams.interval", "dreams.budget", *GATE, "ewc.lambda_min", "ewc.lambda_max"}
    assert set(TYPES) == of_space - {"loops.slice"} | {"costs.unit"}


@pytest.mark.parametrize("name", LEARNED)
def test_a_setting_of_a_space_changes_the_learned_state(name: str) -> None:
    value, part = LEARNED[name]
    # Pruning needs a low weight as well.
    beside = ("patterns.decay", 0.1) if name == "patterns.quality_threshold" else ()
    assert part in differences(learned(*beside, name, value), learned(*beside))


@pytest.mark.parametrize("name", DREAMT)
def test_a_setting_of_dreams_changes_the_graph_of_a_deep_step(name: str) -> None:
    assert differences(dreamt(name, DREAMT[name]), dreamt()) == ["graph"]


def test_lambda_rises_to_its_bound_and_is_set_no_lower_than_the_other() -> None:
    bounded = EwcPlusPlus(4, EwcConfig(lambda_=1000.0, lambda_min=900.0, lambda_max=1100.0))
    assert bounded.adapt_lambda(1.0) == 1100.0
    assert EwcPlusPlus(4).adapt_lambda(1.0) == 2000.0
    with pytest.raises(ConfigError):
        bounded.set_lambda(500.0)
    EwcPlusPlus(4).set_lambda(500.0)


@pytest.mark.parametrize("name", DUE)
def test_a_setting_of_the_schedule_decides_when_a_cycle_is_due(name: str) -> None:
    value, waiting, known, seconds = DUE[name]
    changed = LoopConfig(**{name.partition(".")[2]: value})
    at = timedelta(seconds=seconds)
    assert is_due(waiting, known, at, changed) != is_due(waiting, known, at, LoopConfig())


@pytest.mark.parametrize("name", ["learning_rate", "max_norm"])
def test_loop_a_moves_its_adapter_by_the_settings_of_the_space(name: str) -> None:
    def moved(**changes: float) -> float:
        config = dataclasses.replace(SMALL.micro, **changes)
        loop = InstantLoop(Knowledge.initial(DIM, SMALL).state.micro, config)
        x = np.eye(DIM, dtype=np.float32)[:2]
        loop.on_batch(x[:1], np.ones(1), np.zeros(1), np.zeros(1, np.int64), x[1:])
        return loop.flush_updates().norm

    assert moved(**{name: 1e-3}) < moved()


def test_capacity_and_bytes_bound_the_buffer() -> None:
    def taken(**settings: int) -> int:
        config = IngestConfig(**{"capacity": 100, **settings})
        hot = HotPath(DIM, config.capacity, config.buffer_bytes)
        for _ in range(100):
            hot.end_trajectory(hot.begin_trajectory(np.ones(DIM), query="x" * 2000), 1.0)
        return 100 - hot.dropped_count

    assert taken() == 100
    assert taken(capacity=3) == 3
    assert taken(buffer_bytes=1 << 16) < 100


@pytest.mark.parametrize(
    ("settings", "refused"),
    [({}, False), ({"durability": "sync"}, True), ({"durability": "spool"}, False), ({"when_full": "wait"}, True)],
)
def test_durability_and_when_full_are_obeyed(tmp_path: Path, settings: dict[str, Any], refused: bool) -> None:
    config = IngestConfig(**{"capacity": 2, **settings})
    hot = HotPath(DIM, config.capacity, config.buffer_bytes)
    outage = Outage(hot, config, tmp_path / "spool", "away")

    def fill() -> None:
        for _ in range(4):
            hot.end_trajectory(hot.begin_trajectory(np.ones(DIM)), 1.0)

    if refused:
        with pytest.raises(DatabaseUnavailable):
            fill()
    else:
        fill()
        assert hot.dropped_count == (0 if config.durability == "spool" else 2)
    assert (tmp_path / "spool").exists() == (config.durability == "spool")
    with pytest.raises(DatabaseUnavailable, match="the next process that opens"):
        outage.close()


def test_the_memory_of_an_index_build_is_bounded() -> None:
    from sona_pg.store.admin.sealing import megabytes

    assert megabytes(10_000_000, 256, MaintenanceConfig(memory_mb=64).memory_mb) == 64
    assert megabytes(10_000_000, 256, MaintenanceConfig().memory_mb) == 1024


@pytest.mark.parametrize("name", SHOWN_BY)
def test_a_setting_that_takes_more_to_see_is_set_by_its_own_test(name: str) -> None:
    assert f"{name.partition('.')[2]}=" in (ROOT / SHOWN_BY[name]).read_text()


# -- four cycles of a space, and the same with one setting changed --------------------------------------------


@functools.cache
def dreamt(*changes: Any) -> Knowledge:
    """Return the state after a deep step."""
    start = applied(
        SMALL, {"dreams.count": 20, "dreams.path": 5, "dreams.least_quality": 0.45, "dreams.least_integration": 0.0}
    )
    config = applied(start, dict(zip(changes[::2], changes[1::2], strict=True)))
    rng = np.random.default_rng(3)
    before = Knowledge.initial(DIM, config)
    patterns = [
        LearnedPattern(UUID(int=row + 1), vector, 5, 1.0, rng.random())
        for row, vector in enumerate(rng.standard_normal((30, DIM)).astype(np.float32))
    ]
    known = dataclasses.replace(before, patterns=patterns)
    return deepen(known, Catalog.of([], np.zeros((0, DIM), np.float16)), config, 1, 10.0, Extent()).knowledge


@functools.cache
def learned(*changes: Any) -> Knowledge:
    """Return the state after four cycles: two alternating subjects, so that tasks end, and all qualities."""
    few = {"patterns.min_size": 2, "patterns.clusters": 6, "loops.replay": 40, "ewc.boundary_threshold": 0.5}
    start = applied(SMALL, {**few, "base.rank": 4, "patterns.max_iterations": 20})
    config = applied(start, dict(zip(changes[::2], changes[1::2], strict=True)))
    rng = np.random.default_rng(7)
    known = Knowledge.initial(DIM, config)
    earlier: list[LedgerSlice] = []
    for version in range(1, 5):
        claimed = facts(rng, version)
        known = learn(known, claimed, stored(known, earlier, config), config, version).knowledge
        earlier.append(claimed)
    return known


def facts(rng: np.random.Generator, version: int) -> LedgerSlice:
    """Return the facts of one cycle about one of two subjects; half of them chose among the candidates."""
    subject = np.roll(np.eye(DIM)[0] * 3 + np.eye(DIM)[3], 4 * (version % 2))
    embeddings = (subject + rng.standard_normal((N, DIM))).astype(np.float32)
    quality = np.round(rng.random(N), 2)
    quality[:3] = 0.0, 0.65, 1.0
    rewards = rng.random(N) * 2 - 0.5
    at = 10 * version * 86_400_000 << 80  # ten days apart
    fresh = Trajectories(
        ids=np.stack([np.frombuffer((at + row).to_bytes(16, "big"), np.uint8) for row in range(N)]),
        embeddings=embeddings,
        quality=quality,
        latency_us=np.full(N, np.nan),
        propensity=np.full(N, np.nan),
        candidate_sets=np.where(np.arange(N) % 2, 1, 0),
        cost=np.full(N, np.nan),
        features=np.zeros((N, 0), np.float32),
        routes=[f"d{row % 4}" for row in range(N)],
        queries=[f"question {row}" for row in range(N)],
        lowest_reward=rewards,
        parameters=[None] * N,
        paid=np.full(N, np.nan),
        sessions=[f"session:{row // 10}" for row in range(N)],
    )
    steps = Steps(np.arange(N), rewards, np.roll(embeddings, 1, axis=1), np.ones(N, np.bool_))
    nobody = fresh.take(np.zeros(0, np.intp))
    return LedgerSlice(
        batches=[version],
        fresh=fresh,
        steps=steps,
        outcomes=[Outcome(value) for value in quality.tolist()],
        revised=nobody,
        before=[],
        after=[],
        feedback=0,
        waiting=0,
        unreadable=[],
        revised_steps=steps.of_rows(np.zeros(0, np.intp), N),
    )


def stored(known: Knowledge, earlier: list[LedgerSlice], config: SonaConfig) -> Stored:
    """Return the replay of earlier cycles, and four candidates."""
    of = functools.reduce(Trajectories.joined, [one.fresh for one in earlier]) if earlier else facts_of_none()
    outcomes = [outcome for one in earlier for outcome in one.outcomes]
    keys = {row.tobytes() for row in replay_ids(known.state, config)}
    rows = np.array([row for row, id_ in enumerate(of.ids) if id_.tobytes() in keys], np.intp)
    ids = [f"d{number}" for number in range(4)]
    catalog = Catalog.of(ids, np.eye(4, DIM, dtype=np.float32))
    return Stored(of.take(rows), [outcomes[row] for row in rows], catalog, {1: ids})


def facts_of_none() -> Trajectories:
    return facts(np.random.default_rng(0), 1).fresh.take(np.zeros(0, np.intp))
