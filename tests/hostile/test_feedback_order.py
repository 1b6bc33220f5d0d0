"""Feedback of several servers is ordered by the database's clock, not by their own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import psycopg
import pytest
from fix_clock import FalseClock
from fix_ingest import SPACE, Space

from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import LoopConfig
from sona_pg.ingest import commit
from sona_pg.ingest.commit import Losses, Origin
from sona_pg.ingest.parts import Part
from sona_pg.recorder import HotPath

DIM = 8
YEAR = 365 * 86_400  # seconds
CONFIG = SonaConfig(loops=LoopConfig(automatic=False, poll_interval=60.0))
OUTCOME = "SELECT quality FROM sona.outcomes WHERE trajectory_id = %s"
OTHER_SERVER = """
import sys, uuid
from sona_pg import LoopConfig, SonaConfig, SonaEngine
url, trajectory, quality = sys.argv[1:]
config = SonaConfig(loops=LoopConfig(automatic=False, poll_interval=60.0))
with SonaEngine(8, url, config=config) as engine:
    engine.feedback(uuid.UUID(trajectory), float(quality))
"""


def record(engine: SonaEngine) -> object:
    trajectory = engine.begin_trajectory(np.ones(DIM, np.float32))
    engine.end_trajectory(trajectory)
    engine.flush()
    return trajectory.id


def outcome(url: str, trajectory: object) -> float:
    with psycopg.connect(url) as connection:
        return connection.execute(OUTCOME, [trajectory]).fetchone()[0]


@pytest.mark.parametrize("off", [YEAR, -YEAR, -40 * YEAR])
def test_the_later_word_counts_though_a_servers_clock_is_years_off(
    database_url: str, false_clock: FalseClock, tmp_path: Path, off: int
) -> None:
    environment = {**os.environ, **false_clock(int(time.time()) + off), "SONA_PG_HOME": str(tmp_path)}

    def other_says(trajectory: object, quality: float) -> None:
        command = [sys.executable, "-c", OTHER_SERVER, database_url, str(trajectory), str(quality)]
        subprocess.run(command, env=environment, check=True, timeout=60)

    with SonaEngine(DIM, database_url, config=CONFIG) as engine:
        trajectory = record(engine)
        other_says(trajectory, 1.0)
        engine.feedback(trajectory, 0.0)
        engine.flush()
        assert outcome(database_url, trajectory) == 0.0
        trajectory = record(engine)
        engine.feedback(trajectory, 0.0)
        engine.flush()
        other_says(trajectory, 1.0)
        assert outcome(database_url, trajectory) == 1.0


def test_sequences_grow_however_the_correction_jumps() -> None:
    hot = HotPath(DIM, 1000, 1 << 20)
    trajectory = hot.begin_trajectory(np.ones(DIM, np.float32))
    told = []
    for ahead in (0, YEAR, -YEAR, 3 * YEAR):
        hot.set_clock_ahead(ahead * 1_000_000)
        told += [hot.record_feedback(trajectory, quality=1.0) for _ in range(100)]
    assert told == sorted(set(told))


def test_a_correction_within_its_uncertainty_is_left() -> None:
    def next_at(ahead: int, uncertainty: int) -> int:
        hot = HotPath(DIM, 1000, 1 << 20)
        hot.set_clock_ahead(ahead, uncertainty=uncertainty)
        return hot.record_feedback(hot.begin_trajectory(np.ones(DIM, np.float32)), quality=1.0)

    hour = 3_600_000_000
    assert abs(next_at(hour, 2 * hour) - next_at(0, 1000)) < hour // 2
    assert next_at(0, 1000) - next_at(hour, 1000) > hour // 2


def test_feedback_to_two_servers_in_one_microsecond_is_stored_once(hot: HotPath, space: Space) -> None:
    trajectory = hot.begin_trajectory(np.ones(hot.dim, np.float32))
    sequence = hot.record_feedback(trajectory, quality=1.0)
    given = hot.record_feedback(trajectory, quality=0.5, sequence=5)
    encoded = hot.drain(1, SPACE)
    other = [(trajectory.id, sequence + later, 0.25 * later) for later in range(2)] + [(trajectory.id, given, 0.0)]
    now = datetime.now(UTC)
    with psycopg.connect(space.url) as raw:
        raw.cursor().executemany(
            "INSERT INTO sona.feedback (space_id, batch, trajectory_id, sequence, recorded_at, quality, source)"
            f" VALUES ({SPACE}, 99, %s, %s, now(), %s, 'user')", other
        )  # fmt: skip
        raw.commit()
        for number in (1, 2):  # again after a crash
            commit.write_carefully(
                raw, Origin(SPACE, space.server_id), Part.whole(encoded).renumbered(number), Losses(), now
            )
            raw.commit()
    told = space.rows("SELECT sequence, quality FROM sona.feedback ORDER BY sequence")
    assert told == [(given, 0.0), (sequence, 0.0), (sequence + 1, 0.25), (sequence + 2, 1.0)]
