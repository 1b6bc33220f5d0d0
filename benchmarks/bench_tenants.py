"""A login that Postgres holds to one space beside the schema's owner: what row-level security costs.

Both record, rank and search in the same space of the same database, in turns. ``python -m benchmarks.bench_tenants``.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
from sqlalchemy import make_url

from benchmarks.report import Line, Options, run
from benchmarks.server import DIM, server
from sona_pg import SonaEngine
from sona_pg.config import IngestConfig, LoopConfig, MaintenanceConfig, SonaConfig
from sona_pg.store.admin import logins, roles

RNG = np.random.default_rng(0)
QUERIES = RNG.standard_normal((2000, DIM)).astype(np.float32)
CANDIDATES = RNG.standard_normal((200, DIM)).astype(np.float32)
IDS = [f"candidate {number}" for number in range(len(CANDIDATES))]
ROUNDS = 15
QUIET = SonaConfig(
    ingest=IngestConfig(capacity=200_000, buffer_bytes=1 << 30),
    loops=LoopConfig(automatic=False),
    maintenance=MaintenanceConfig(automatic=False),
)


def record(engine: SonaEngine, rows: int) -> None:
    for row in range(rows):
        trajectory = engine.begin_trajectory(QUERIES[row % len(QUERIES)])
        engine.add_step(trajectory, QUERIES[row % len(QUERIES)], None, 0.5)
        engine.end_trajectory(trajectory, 0.75)


def rank(engine: SonaEngine, calls: int) -> None:
    for row in range(calls):
        engine.rank(QUERIES[row % len(QUERIES)], CANDIDATES, ids=IDS)


def committed(engine: SonaEngine, rows: int) -> None:
    record(engine, rows)
    engine.flush()


def search(engine: SonaEngine, calls: int) -> None:
    for row in range(calls):
        assert len(engine.search(QUERIES[row], k=5)) == 5


def bench_tenants(options: Options, url: str) -> None:
    rows = options.rows(20_000)
    with SonaEngine(DIM, url, "acme", config=QUIET) as owner:
        owner.remember(IDS, CANDIDATES)
        for row in range(500):
            ranking = owner.rank(QUERIES[row], CANDIDATES, ids=IDS)
            trajectory = owner.begin_trajectory(QUERIES[row], ranking=ranking)
            owner.set_trajectory_route(trajectory, ranking.ids[0])
            owner.end_trajectory(trajectory, 0.75)
        owner.force_learn()
        owner.refresh()
        roles.install(url, "bench")
        made = logins.grant(url, "bench_acme", "recorder", "acme")
        login = make_url(url).set(username=made.name, password=made.password).render_as_string(hide_password=False)
        with SonaEngine(DIM, login, "acme", config=QUIET, migrate="check") as restricted:
            assert restricted.refresh() == owner.refresh() == 1
            beside = (restricted, owner)
            tell(options, "record: a call", beside, record, rows, flush=True, most=1.05)
            tell(options, "rank: a call over 200 candidates", beside, rank, options.rows(1000), most=1.05)
            tell(options, "search: in SQL", beside, search, 20)
            tell(options, "recorded to committed: a record of a burst", beside, committed, rows)
            tell(options, "recorded to committed: one record alone", beside, committed, 1)


def tell(
    options: Options,
    what: str,
    beside: tuple[SonaEngine, SonaEngine],
    work: Callable[[SonaEngine, int], None],
    calls: int,
    *,
    flush: bool = False,
    most: float | None = None,
) -> None:
    """Time ``work`` by both engines in turns; tell the medians, and the median of the ratios of neighbours."""
    times: list[list[float]] = [[], []]
    for turn in range(ROUNDS + 1):
        for place in (0, 1) if turn % 2 else (1, 0):
            began = time.perf_counter()
            work(beside[place], calls)
            took = time.perf_counter() - began
            if flush:
                beside[place].flush()
            if turn:  # the first one warms up
                times[place].append(took / calls)
    ratio = statistics.median(ours / theirs for ours, theirs in zip(*times, strict=True))
    ours, theirs = (f"{statistics.median(one) * 1e6:.2f} µs" for one in times)
    reached = None if most is None else ratio <= most
    target = "" if most is None else f"at most {most:.2f} of the owner's"
    options.emit(Line(f"a login of one space, {what}", ours, f"{theirs}, the owner", ratio, target, reached))


def main(options: Options) -> None:
    with server(options.home) as url:
        bench_tenants(options, url)


if __name__ == "__main__":
    run(__doc__, main)
