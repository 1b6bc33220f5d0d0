"""Ids under a clock that stands still, is stepped, or begins in 1970."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Callable

import pytest
from fix_clock import FalseClock

from sona_pg.domain.ids import made_at

PRELUDE = """
import os, time
import numpy as np
from sona_pg.recorder import HotPath
hot = HotPath(4, 10_000, 1 << 24)
one = np.ones(4, np.float32)

def show(seconds):
    with open(os.environ["SHOWS"] + ".new", "w") as file:
        file.write(str(seconds))
    os.replace(os.environ["SHOWS"] + ".new", os.environ["SHOWS"])
    time.sleep(0.03)  # the offset to the monotonic clock is read every 20 ms

def make(n):
    for _ in range(n // 100):  # lines that a pipe takes whole
        os.write(1, "".join(f"{hot.begin_trajectory(one).id}\\n" for _ in range(100)).encode())
"""

RunWithClock = Callable[[str, int], list[uuid.UUID]]


@pytest.fixture
def run_with_clock(false_clock: FalseClock) -> RunWithClock:
    """Run ``PRELUDE`` and a script under a given clock; return the ids that it printed."""

    def run(script: str, shows: int) -> list[uuid.UUID]:
        environment = {**os.environ, **false_clock(shows)}
        done = subprocess.run(
            [sys.executable, "-c", PRELUDE + script], env=environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return [uuid.UUID(line) for line in done.stdout.split()]

    return run


def test_a_clock_that_stands_still_in_1970_makes_ids_that_grow(run_with_clock: RunWithClock) -> None:
    ids = run_with_clock("make(20_000)", 0)
    assert ids == sorted(set(ids))
    assert made_at(ids[-1]).year == 1970


def test_forked_processes_make_different_ids_under_a_clock_that_stands_still(run_with_clock: RunWithClock) -> None:
    script = """
make(100)
for _ in range(3):
    os.fork()
hot = HotPath(4, 10_000, 1 << 24)
make(1000)
while True:
    try:
        os.wait()
    except ChildProcessError:
        break
"""
    ids = run_with_clock(script, 1_800_000_000)
    assert len(set(ids)) == len(ids) == 8100


def test_a_clock_that_is_set_back_a_little_is_waited_for(run_with_clock: RunWithClock) -> None:
    ids = run_with_clock("make(100); show(1_799_999_995); make(100); show(1_800_000_001); make(100)", 1_800_000_000)
    assert ids == sorted(set(ids))


def test_a_clock_that_was_a_year_ahead_does_not_keep_its_time(run_with_clock: RunWithClock) -> None:
    ids = run_with_clock("make(100); show(1_800_000_000); make(100)", 1_831_536_000)
    assert len(set(ids)) == 200
    assert {made_at(name).year for name in ids[:100]} == {2028}
    assert {made_at(name).year for name in ids[100:]} == {2027}
    assert ids[100:] == sorted(ids[100:])
