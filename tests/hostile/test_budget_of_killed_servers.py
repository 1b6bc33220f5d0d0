"""Eight servers that are killed keep within one budget: what a killed one has reported still counts."""

from __future__ import annotations

import numpy as np

from benchmarks.bench_budget import ask, opened, spend_with_kills


def test_eight_processes_that_are_killed_keep_within_one_budget(database_url: str) -> None:
    with opened(database_url, "shared") as engine:
        before, rng = np.zeros(2), np.random.default_rng(1)
        for _ in range(100):
            ask(engine, rng, before)
        engine.force_learn()
        engine.set_budget(0.3)
    spent, asked = spend_with_kills(database_url, "shared", 1200, 4, poll=0.05)
    with opened(database_url, "shared") as engine:
        status = engine.budget()
    assert status is not None
    assert 0 < status.requests <= asked
    assert 0 < status.spent <= spent
    assert spent / asked < 1.25 * 0.3  # 100 requests of each server; `make bench ARGS=budget` has the long run
