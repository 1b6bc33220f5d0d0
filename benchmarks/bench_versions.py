"""Cost of keeping each version, per cycle, and time of a rollback: ``python -m benchmarks.bench_versions``.

Publishes the same synthetic content in the product's own transaction, and times the copy of each version separately.
"""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import psycopg

from benchmarks.server import server
from sona_pg.config import BaseConfig, SonaConfig
from sona_pg.domain.cycle import CycleResult
from sona_pg.domain.ids import uuid7
from sona_pg.domain.pattern import LearnedPattern, RouteRecord
from sona_pg.domain.state import RouteStatistics
from sona_pg.learning.knowledge import initial_state
from sona_pg.store import version_contents
from sona_pg.store.database import Database
from sona_pg.store.unit import Publication

DIM = 256
CONFIG = SonaConfig(hidden_dim=DIM, base=BaseConfig())
CASES = {
    "100 patterns, 20 routes": (100, 20),
    "3,000 patterns, 20 routes": (3000, 20),
    "100 patterns, 5,000 routes": (100, 5000),
}
ROUNDS = 7
SIZES = """
SELECT coalesce(sum(pg_column_size(p.*)), 0) + (
    SELECT coalesce(sum(pg_column_size(c.*)), 0) FROM sona.version_contents c
    WHERE c.space_id = %(space)s AND c.version = %(version)s)
FROM sona.version_patterns p WHERE p.space_id = %(space)s AND p.version = %(version)s
"""


def patterns_of(count: int, version: int) -> list[LearnedPattern]:
    """Return patterns with eight routes and five typical queries each, moved a little in every version."""
    rng = np.random.default_rng(version)
    centroids = rng.standard_normal((count, DIM)).astype(np.float32)
    centroids /= np.linalg.norm(centroids, axis=1, keepdims=True)
    return [
        LearnedPattern(
            id=UUID(int=row), centroid=centroid, size=100, weight=float(rng.random()), quality=float(rng.random()),
            routes={f"model-{n}": RouteRecord(10, float(rng.random()), float(rng.random())) for n in range(8)},
            typical_queries=tuple(f"a question of some forty characters, {n}" for n in range(5)),
            typical_similarities=(0.9, 0.8, 0.7, 0.6, 0.5), created_version=1, updated_version=version,
        )
        for row, centroid in enumerate(centroids)
    ]  # fmt: skip


def measure(database: Database, name: str, patterns: int, routes: int) -> dict[str, Any]:
    """Return medians of a space with so many patterns and routes."""
    space = database.open_space(name, DIM, database.now())
    rng = np.random.default_rng(0)
    spent: list[float] = []
    keep = version_contents.keep_live

    def timed(connection: Any, space_id: int, version: int) -> None:
        began = time.perf_counter()
        keep(connection, space_id, version)
        spent[-1] += time.perf_counter() - began

    version_contents.keep_live = timed  # type: ignore[assignment]
    whole = []
    for version in range(1, ROUNDS + 1):
        cycle_id = uuid7()
        known = {f"route {n}": RouteStatistics(10, float(rng.random()), 0.1, 10.0, version) for n in range(routes)}
        state = dataclasses.replace(
            initial_state(DIM, CONFIG), version=version, parent=version - 1, cycle_id=cycle_id, routes=known
        )
        made = Publication(state, patterns_of(patterns, version), [], [], [], [])
        result = CycleResult("background", cycle_id, version - 1, version, 0, 0, 0, 0, patterns, 0, 0, 0, 0.0)
        with database.learning_unit(space, uuid7()) as unit:
            assert unit is not None
            spent.append(0.0)
            began = time.perf_counter()
            unit.publish(uuid7(), made, [], result)
            whole.append(time.perf_counter() - began)
    version_contents.keep_live = keep
    began = time.perf_counter()
    done = database.versions.rollback(space, uuid7(), 2, initial_state(DIM, CONFIG), keep_facts=False)
    seconds = time.perf_counter() - began
    assert done.version == ROUNDS + 1
    with psycopg.connect(database.url) as connection:
        (size,) = connection.execute(SIZES, {"version": 3, "space": space.space_id}).fetchone() or (0,)
    return {
        "case": name,
        "publish_ms": round(1e3 * statistics.median(whole[1:]), 1),
        "of_it_keeping_ms": round(1e3 * statistics.median(spent[1:]), 1),
        "kilobytes_a_version": round(int(size) / 1000),
        "rollback_ms": round(1e3 * seconds, 1),
    }


def main() -> None:
    """Print a line for each case."""
    with server(Path(tempfile.gettempdir())) as url:
        database = Database.open(url)
        try:
            for name, (patterns, routes) in CASES.items():
                print(measure(database, name, patterns, routes), flush=True)
        finally:
            database.close()


if __name__ == "__main__":
    main()
