"""A short measurement of this machine and its database, in a space that is removed afterwards."""

from __future__ import annotations

import secrets
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import numpy as np
import typer

from sona_pg.cli.options import Url, address_of
from sona_pg.cli.render import progress_bar, show_rows
from sona_pg.config import IngestConfig, LoopConfig, MaintenanceConfig, SonaConfig

STAGES = 8


def bench(
    trajectories: Annotated[int, typer.Option(help="How many to record and learn.", min=100)] = 20_000,
    dim: Annotated[int, typer.Option(help="Dimension of the embeddings.", min=1)] = 256,
    url: Url = None,
) -> None:
    """Measure recording, serving, learning and searching here, in a space of its own that is removed afterwards.

    The medians of repeated calls, one thread. Against other software: `make bench` of the source repository.

    Example: sona-pg bench --trajectories 5000
    """
    from sona_pg.engine import Store

    name = f"bench {secrets.token_hex(4)}"
    config = SonaConfig(
        hidden_dim=dim,
        ingest=IngestConfig(when_full="wait"),
        loops=LoopConfig(automatic=False),
        maintenance=MaintenanceConfig(automatic=False),
    )
    with (
        address_of(url) as address,
        Store(address, require_database=True) as store,
        progress_bar("measuring") as progress,
    ):
        engine = store.space(name, dim, config=config)
        rows: list[dict[str, Any]] = []
        try:
            for row in measured(engine, trajectories, dim):
                rows.append(row)
                progress(min(len(rows), STAGES), STAGES)
        finally:
            store.remove_space(name)
    show_rows(rows, f"{trajectories:,} trajectories of {dim} dimensions")


def measured(engine: Any, count: int, dim: int) -> Iterator[dict[str, Any]]:
    """Yield a row for each thing that is measured."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((50, dim)).astype(np.float32)
    vectors = centres[np.arange(count) % 50] + 0.3 * rng.standard_normal((count, dim)).astype(np.float32)

    began = time.perf_counter()
    for row in range(count):
        t = engine.begin_trajectory(vectors[row], query=f"question {row % 50}")
        engine.set_trajectory_route(t, "small" if row % 2 else "large")
        engine.end_trajectory(t, float(row % 3) / 2)
    accepted = time.perf_counter() - began
    engine.flush()
    yield _row("recorded and committed", count / (time.perf_counter() - began), "trajectories/s")
    yield _row("accepted by the buffer", 1e6 * accepted / count, "µs each, waits included")

    def commit() -> None:
        engine.end_trajectory(engine.begin_trajectory(vectors[0]), 0.5)
        engine.flush()

    yield _row("one record to its commit", 1e3 * _median(commit, 10), "ms")
    began = time.perf_counter()
    result = engine.force_learn()
    assert result.learned
    yield _row("learned", result.trajectories / (time.perf_counter() - began), "trajectories/s")
    engine.refresh()
    x = vectors[0]
    assert len(engine.find_patterns(x))
    yield _row("find_patterns", 1e6 * _median(lambda: engine.find_patterns(x), 200), "µs")
    yield _row("apply_micro_lora", 1e6 * _median(lambda: engine.apply_micro_lora(x), 200), "µs")
    yield _row("route of 2", 1e6 * _median(lambda: engine.route(x, ["small", "large"]), 200), "µs")
    assert len(engine.search(x, 10)) == 10
    yield _row("search in the database", 1e3 * _median(lambda: engine.search(x, 10), 10), "ms")


def _median(call: Callable[[], object], times: int) -> float:
    took = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        took.append(time.perf_counter() - began)
    return statistics.median(took)


def _row(name: str, value: float, unit: str) -> dict[str, Any]:
    return {"measured": name, "value": round(value, 2 if value < 100 else 0), "unit": unit}
