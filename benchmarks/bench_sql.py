"""Every SQL view and function at a million trajectories: `python -m benchmarks.bench_sql`.

Fills 60 days of decisions of 8 routes and 5,000 users on 4 servers, with feedback on every fifth, learns from a part,
sums up, and times the example of each comment beside the target. Weeks are not sealed (their indexes take minutes), so
searches scan all embeddings.
"""

from __future__ import annotations

import statistics
import time
import uuid
from datetime import UTC, datetime

import numpy as np
import psycopg

from benchmarks.report import Line, Options, run, seconds
from benchmarks.server import DIM, SPACE, prepare, server
from benchmarks.sql_fill import ROUTES, AnalyticsFiller, vector
from sona_pg import LoopConfig, SonaConfig, SonaEngine
from sona_pg.config import MaintenanceConfig
from sona_pg.store.admin.sql_reference import read_objects
from sona_pg.store.admin.summaries import SummedDay
from sona_pg.store.database import Database

STORED, LEARNED = 1_000_000, 2_000
TARGET, ROUNDS = 1.0, 3  # seconds; calls of each
LEARNER = SonaConfig(hidden_dim=DIM, loops=LoopConfig(automatic=False), maintenance=MaintenanceConfig(automatic=False))
# They change the schema.
UNTIMED = {"ensure_dimension", "ensure_partitions"}
FILTERED = {  # of similar_trajectories: enough of the nearest pass, some, and so few that everything is judged
    "of good quality": "10, min_quality => 0.9",
    "of good quality and a route": "10, of_route => 'model-7', min_quality => 0.9",
    "1,000 of good quality": "1000, min_quality => 0.9",
    "100 of perfect quality": "100, min_quality => 1",
}
SIMILAR = "SELECT * FROM sona.similar_trajectories('support', '[1,0,0]', {})"


def fill(url: str, stored: int) -> None:
    """Store the ledger, and learn from some decisions of today."""
    prepare(url)
    with psycopg.connect(url) as connection:
        named = "INSERT INTO sona.space_names (space_id, name) OVERRIDING SYSTEM VALUE VALUES (%s, 'support')"
        connection.execute(named, [SPACE])
        connection.execute("UPDATE sona.spaces SET name = 'support' WHERE space_id = %s", [SPACE])
        connection.execute("SELECT sona.ensure_dimension(%s)", [DIM])
    AnalyticsFiller(url, datetime.now(UTC)).fill(stored, print)
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE sona.batches SET cycle_id = %s WHERE space_id = %s", [uuid.uuid4(), SPACE])
    rng = np.random.default_rng(1)
    with SonaEngine(DIM, url, "support", config=LEARNER) as engine:
        engine.set_budget(100.0, "day")
        for row in range(LEARNED):
            x = np.eye(DIM, dtype=np.float32)[row % 40] + 0.05 * rng.standard_normal(DIM).astype(np.float32)
            decision = engine.route(x, ROUTES)
            t = engine.begin_trajectory(x, query=f"question {row}", decision=decision)
            engine.end_trajectory(t, float(rng.random()))
            if row in (LEARNED // 2, LEARNED - 1):
                engine.force_learn()
                engine.refresh()


def summarise(url: str) -> list[SummedDay]:
    """Sum up, with the statistics that autovacuum would have taken."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ANALYZE sona.trajectories, sona.feedback")
    database = Database.open(url)
    try:
        return database.sum_up()
    finally:
        database.close()


def timed(connection: psycopg.Connection[object], example: str, x: str) -> float:
    """Return the median seconds of an example; what it changes is undone."""
    query = example.replace("'[1,0,0]'", f"'{x}'").encode()
    spent = []
    for _ in range(ROUNDS + 1):
        began = time.perf_counter()
        connection.execute(query).fetchall()
        spent.append(time.perf_counter() - began)
        connection.rollback()
    return statistics.median(spent[1:])


def suite(options: Options) -> None:
    """Time every object."""
    stored = options.rows(STORED)
    with server(options.home) as url:
        began = time.perf_counter()
        fill(url, stored)
        summed = summarise(url)
        took = time.perf_counter() - began
        options.emit(Line(f"filled and summed up: {stored} trajectories", seconds(took), target="<= 3 min",
                          reached=took <= 180))  # fmt: skip
        options.emit(Line(f"summing up {len(summed)} days", seconds(sum(done.seconds for done in summed))))
        with psycopg.connect(url) as connection:
            examples = {
                f"{known.kind} sona.{known.name}": known.example
                for known in read_objects(connection)
                if known.example and known.name not in UNTIMED
            }
            for name, wanted in FILTERED.items():
                examples[f"function sona.similar_trajectories, {name}"] = SIMILAR.format(wanted)
            for name, example in examples.items():
                spent = timed(connection, example, vector())
                options.emit(Line(name, seconds(spent), target=f"<= {TARGET:g} s", reached=spent <= TARGET))


if __name__ == "__main__":
    run(__doc__, suite)
