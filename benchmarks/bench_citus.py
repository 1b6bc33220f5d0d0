"""A store on Citus beside one on a plain Postgres of the same image, on the same cores: what distribution costs.

Both record, learn, search and poll in turns. ``SONA_PG_CITUS_URL`` names a coordinator, ``SONA_PG_PLAIN_URL`` the other
one (docker/citus-cluster.sh start); each gets a store. ``python -m benchmarks.bench_citus``.
"""

from __future__ import annotations

import os
import statistics
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from typing import NamedTuple

import numpy as np

from benchmarks.report import Line, Options, run
from benchmarks.server import DIM
from sona_pg import SonaEngine
from sona_pg.config import IngestConfig, LoopConfig, MaintenanceConfig, SonaConfig
from sona_pg.domain.space import Space
from sona_pg.store.admin import migrate
from sona_pg.store.admin.distribution import distribute
from sona_pg.store.database import Database
from sona_pg.store.roll_call import Beat, Beats, Look, SpaceIds

QUERIES = np.random.default_rng(0).standard_normal((2000, DIM)).astype(np.float32)
ROUNDS = 9
QUIET = SonaConfig(
    hidden_dim=DIM,
    ingest=IngestConfig(capacity=200_000, buffer_bytes=1 << 30),
    loops=LoopConfig(automatic=False),
    maintenance=MaintenanceConfig(automatic=False),
)


class Side(NamedTuple):
    """A space of one of the two stores."""

    engine: SonaEngine
    database: Database
    space: Space
    look: Look


def record(side: Side, rows: int, *, steps: bool = False) -> None:
    engine = side.engine
    for row in range(rows):
        trajectory = engine.begin_trajectory(QUERIES[row % len(QUERIES)])
        if steps:
            engine.add_step(trajectory, QUERIES[row % len(QUERIES)], None, 0.5)
        engine.set_trajectory_route(trajectory, f"r{row % 4}")
        engine.end_trajectory(trajectory, 0.75)
    engine.flush()


def record_steps(side: Side, rows: int) -> None:
    record(side, rows, steps=True)


def search(side: Side, calls: int) -> None:
    for row in range(calls):
        assert len(side.engine.search(QUERIES[row], k=5)) == 5


def poll(side: Side, calls: int) -> None:
    heard = side.database.call_roll(side.look)
    again = side.look._replace(known=heard.digest, known_signals=heard.signals_digest)
    for _ in range(calls):
        assert side.database.call_roll(again).live is None


def learn(side: Side, rows: int) -> float:
    """Return the seconds that learning ``rows`` records takes, which are recorded first."""
    record(side, rows)
    began = time.perf_counter()
    side.engine.force_learn()
    return time.perf_counter() - began


def bench_citus(options: Options, citus: Side, plain: Side) -> None:
    sides, rows = (citus, plain), options.rows(20_000)
    learned = [(learn(citus, options.rows(5000)), learn(plain, options.rows(5000))) for _ in range(3)]
    emit(options, "learning 5,000", learned, None)
    tell(options, "search of 15,000", sides, search, 5)
    tell(options, "poll with a heartbeat", sides, poll, 20)
    tell(options, "one record to its commit", sides, record, 1, most=1.5, rounds=25)
    tell(options, "recording a burst", sides, record, rows, most=1 / 0.85)
    tell(options, "recording a burst with steps", sides, record_steps, rows, most=1 / 0.85)


def tell(
    options: Options,
    what: str,
    sides: tuple[Side, Side],
    work: Callable[[Side, int], None],
    calls: int,
    *,
    most: float | None = None,
    rounds: int = ROUNDS,
) -> None:
    """Time ``work`` on both sides in turns; tell the medians, and the median of the ratios of neighbours."""
    pairs: list[tuple[float, float]] = []
    for turn in range(rounds + 1):
        took = [0.0, 0.0]
        for place in (0, 1) if turn % 2 else (1, 0):
            began = time.perf_counter()
            work(sides[place], calls)
            took[place] = (time.perf_counter() - began) / calls
        if turn:  # the first one warms up
            pairs.append((took[0], took[1]))
    emit(options, what, pairs, most)


def emit(options: Options, what: str, pairs: list[tuple[float, float]], most: float | None) -> None:
    ratio = statistics.median(ours / theirs for ours, theirs in pairs)
    ours, theirs = (f"{statistics.median(one) * 1e6:,.1f} µs" for one in zip(*pairs, strict=True))
    target = "" if most is None else f"at most {most:.2f} of plain Postgres"
    reached = None if most is None else ratio <= most
    options.emit(Line(f"Citus, {what}", ours, f"{theirs}, plain Postgres", ratio, target, reached))


def side_of(url: str, stack: ExitStack) -> Side:
    """Open a new space of the store at ``url``."""
    name = f"bench {uuid.uuid4()}"
    engine = stack.enter_context(SonaEngine(DIM, url, name, config=QUIET))
    database = Database.open(url)
    stack.callback(database.close)
    space = database.find_space(name)
    ids = SpaceIds.of([space.space_id])
    return Side(
        engine, database, space, Look(ids, signals=ids, beats=Beats.of([Beat(space.space_id, uuid.uuid4(), 0)]))
    )


def main(options: Options) -> None:
    urls = [os.environ.get(name) for name in ("SONA_PG_CITUS_URL", "SONA_PG_PLAIN_URL")]
    if urls[0] is None or urls[1] is None:
        print("SONA_PG_CITUS_URL and SONA_PG_PLAIN_URL name no servers (docker/citus-cluster.sh start): not measured")
        return
    for url in urls:
        migrate.upgrade(str(url))
    for _ in distribute(urls[0]):
        pass
    with ExitStack() as stack:
        citus, plain = (side_of(str(url), stack) for url in urls)
        bench_citus(options, citus, plain)


if __name__ == "__main__":
    run(__doc__, main)
