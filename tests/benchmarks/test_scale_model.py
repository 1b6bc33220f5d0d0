"""The model of a fleet: workers share spaces by leases, and loads grow as they should."""

from __future__ import annotations

import dataclasses

import numpy as np

from benchmarks.scale_model import Costs, Fleet, Unit, simulate

ROW = Unit(0.0, 1e-6)
COSTS = Costs(
    poll=ROW, beat=ROW, look=ROW, listing=ROW, notice=Unit(0.0, 1e-6), lease=0.001, cycle=0.1, record=1e-5
)  # fmt: skip
FLEET = Fleet("small", 100, 1_000, 4, 1_000.0, 100, 4)


def test_every_due_space_is_learned_and_none_waits_long() -> None:
    found = simulate(FLEET, COSTS, 30.0)
    assert len(found.lags) > 250  # of 300 that became due, less those that were due already
    assert found.attempts == len(found.lags) + found.wasted
    assert np.quantile(found.lags, 0.99) < 2.0
    assert 0.1 < found.busy < 0.5


def test_more_workers_try_more_leases_in_vain() -> None:
    few, many = (simulate(dataclasses.replace(FLEET, workers=count), COSTS, 10.0) for count in (2, 40))
    assert many.wasted > 5 * few.wasted


def test_a_space_of_a_dead_worker_waits_for_its_lease_to_run_out() -> None:
    found = simulate(FLEET, COSTS, 60.0, deaths=0.05)
    assert 10.0 <= found.lags.max() < 60.0


def test_notices_grow_with_the_square_of_the_fleet() -> None:
    ten_times = dataclasses.replace(FLEET, servers=1_000, spaces=10_000, records=10_000.0)
    small, large = FLEET.loads(COSTS), ten_times.loads(COSTS)
    assert 90 < large["notices"] / small["notices"] < 110
    assert 9 < large["polls"] / small["polls"] < 11
