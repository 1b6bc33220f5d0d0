"""A space with several cycles, and all answers of its versions."""

from __future__ import annotations

from typing import Any

import numpy as np
import psycopg

from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import BaseConfig, EwcConfig, LoopConfig, MaintenanceConfig
from sona_pg.domain.cycle import RebuildResult
from sona_pg.domain.space import Space
from sona_pg.domain.state import LearnedState
from sona_pg.learning.knowledge import Knowledge, initial_state
from sona_pg.store import versions
from sona_pg.store.database import Database
from sona_pg.store.learned import StoredKnowledge
from sona_pg.store.transactions import snapshot
from sona_pg.worker.rebuild import rebuild

DIM = 16
DAY = 40  # trajectories
FACTS = DAY + 18  # with the feedback about them
CONFIG = SonaConfig(
    hidden_dim=DIM,
    base=BaseConfig(rank=4, layers=2),
    ewc=EwcConfig(max_tasks=2, boundary_threshold=0.5),
    loops=LoopConfig(automatic=False, replay=50, poll_interval=30.0, recent=0),  # answers of versions alone
    maintenance=MaintenanceConfig(automatic=False),
)
DOCUMENTS = np.random.default_rng(7).standard_normal((9, DIM)).astype(np.float32)
IDS = [f"d{index}" for index in range(9)]


def record_day(engine: SonaEngine, day: int, quality: float | None = None) -> None:
    """Record the facts of one cycle: rankings, decisions, steps, parameters, late feedback; each day another task."""
    rng = np.random.default_rng(day)
    centre = 0.8 * rng.standard_normal(DIM)
    handles = []
    for index in range(DAY):
        meant = int(rng.integers(9))
        query = (DOCUMENTS[meant] + centre + 0.5 * rng.standard_normal(DIM)).astype(np.float32)
        if index % 2:
            ranking = engine.rank(query, DOCUMENTS, ids=IDS, k=3)
            handle = engine.begin_trajectory(query, query=f"question {meant}", ranking=ranking)
            engine.set_trajectory_route(handle, ranking.ids[0])
        else:
            handle = engine.begin_trajectory(query)
            engine.set_trajectory_route(handle, ("small", "big")[index % 4 == 0])  # a decision would be drawn
            engine.set_trajectory_parameters(handle, {"temperature": float(rng.random())})
        engine.add_step(handle, np.roll(query, 1), None, float(rng.random()) - 0.2)
        told = float(rng.random()) if quality is None else quality
        engine.end_trajectory(handle, quality=told if index % 3 else None)
        if index % 5 == 0:
            engine.feedback(handle, correction=IDS[meant], source="label")
        handles.append(handle)
    for handle in handles[::4]:
        engine.feedback(handle, quality=float(rng.random()), source="late")


def learn_days(engine: SonaEngine, days: int, first: int = 1) -> None:
    """Record and learn, a cycle a day."""
    for day in range(first, first + days):
        record_day(engine, day)
        assert engine.force_learn().learned


def answers(engine: SonaEngine) -> dict[str, Any]:
    """Return all that the served version answers to some questions, to the bit."""
    queries = np.random.default_rng(3).standard_normal((6, DIM)).astype(np.float32)
    told: dict[str, Any] = {}
    for place, query in enumerate(queries):
        told[f"patterns {place}"] = [
            (p.id, p.similarity, p.centroid.tobytes(), p.size, p.weight, p.quality, p.kind, dict(p.routes), p.verdicts,
             p.typical_queries, p.typical_similarities, p.merged_from, dict(p.parameters), p.created_version,
             p.updated_version)
            for p in engine.find_patterns(query, 50)
        ]  # fmt: skip
        ranking = engine.rank(query, DOCUMENTS, ids=IDS)
        told[f"ranking {place}"] = (ranking.ids, ranking.scores.tobytes())
        told[f"routes {place}"] = engine.route(query, ["small", "big", "d0", "never tried"]).scores
        told[f"micro {place}"] = engine.apply_micro_lora(query).tobytes()
        told[f"base {place}"] = [engine.apply_base_lora(layer, query).tobytes() for layer in range(2)]
        told[f"settings {place}"] = dict(engine.interpolate_parameters(query).values)
    return told


def stored_knowledge(database: Database, space: Space, version: int) -> StoredKnowledge:
    """Return what is stored of a version, also of the live one."""
    with snapshot(database.engine, f"reading version {version}") as connection:
        return versions.knowledge(connection, space, version)


OF_ROUTER = "WHERE version = %s AND part = 'router'"
DAMAGE = {
    1: f"UPDATE sona.state_arrays SET data = substr(data, 1, 3) {OF_ROUTER}",
    2: "DELETE FROM sona.adapters WHERE version = %s AND kind = 'micro'",
    3: f"UPDATE sona.state_arrays SET shape = '{{-1}}', data = substr(data, 1, 8) {OF_ROUTER}",
    4: f"UPDATE sona.state_arrays SET dtype = '<x9' {OF_ROUTER}",
}
NOTHING: LearnedState = initial_state(DIM, CONFIG)


class Lived:
    """A space whose days were learned by one engine, and queries to its store."""

    def __init__(self, url: str, engine: SonaEngine) -> None:
        self.url = url
        self.engine = engine
        self.database = Database.open(url)
        self.space: Space = self.database.find_space("default")

    def rollback(self, version: int, *, keep_facts: bool = True) -> int:
        done = self.database.versions.rollback(
            self.space, self.engine.server_id, version, NOTHING, keep_facts=keep_facts
        )
        return done.version

    def rebuild(self) -> RebuildResult:
        return rebuild(self.database, self.space, CONFIG)

    def damage(self, version: int) -> None:
        with psycopg.connect(self.url) as connection:
            assert connection.execute(DAMAGE[version], [version]).rowcount > 0

    def known(self, version: int) -> Knowledge:
        held = stored_knowledge(self.database, self.space, version)
        return Knowledge(held.state, held.patterns, held.fisher)

    def waiting(self) -> int:
        return self.database.totals(self.space)["waiting"]

    def rows(self, query: str) -> list[tuple]:
        with psycopg.connect(self.url) as connection:
            return connection.execute(query).fetchall()  # type: ignore[call-overload]
