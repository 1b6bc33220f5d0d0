"""Erasure beside servers whose clocks are wrong: records carry the database's time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from uuid import UUID

import numpy as np
import psycopg
import pytest
from fix_clock import FalseClock
from fix_erasure import CONFIG, DIM

from sona_pg import SonaEngine
from sona_pg._recorder import HotPath

pytestmark = pytest.mark.no_vectors

SERVER = f"""
import os, signal, sys
import numpy as np
from sona_pg import IngestConfig, SonaEngine
from fix_erasure import CONFIG, DIM
config = CONFIG.replace(ingest=IngestConfig(durability="spool", flush_interval=float(sys.argv[2])))
with SonaEngine(DIM, sys.argv[1], "kept", config=config) as engine:
    for _ in range(3):
        handle = engine.begin_trajectory(np.ones(DIM))
        engine.add_trajectory_context(handle, "user:bob")
        engine.end_trajectory(handle, 1.0)
    if sys.argv[3] == "killed":
        os.kill(os.getpid(), signal.{signal.SIGKILL.name})
"""


def serve(url: str, clock: dict[str, str], end: str) -> None:
    """Record three trajectories of bob in a process with its own clock, which is then killed or closed."""
    environment = {**os.environ, **clock, "PYTHONPATH": str(Path(__file__).parent.parent)}
    told = [sys.executable, "-c", SERVER, url, "30" if end == "killed" else "0.1", end]
    done = subprocess.run(told, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == (-signal.SIGKILL if end == "killed" else 0), done.stderr


def count_of(url: str) -> int:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT count(*) FROM sona.trajectories").fetchone()[0]


def test_records_are_of_before_or_after_an_erasure_whatever_the_clock_of_their_server(
    database_url: str, tmp_path: Path, false_clock: FalseClock
) -> None:
    key = tmp_path / "receipt.key"
    key.write_text("0123456789abcdef0123456789abcdef")
    with SonaEngine(DIM, database_url, "kept", config=CONFIG) as engine:
        serve(database_url, false_clock(int(time.time()) + 60), "killed")
        assert engine.forget(user="bob", key=key).facts["removed"]["trajectories"] == 0
        with SonaEngine(DIM, database_url, "kept", config=CONFIG) as heir:
            heir.flush()
            assert count_of(database_url) == 3
        assert engine.force_learn().trajectories == 0
        assert (count_of(database_url), engine.erasures()[0].late) == (0, 3)
        serve(database_url, false_clock(int(time.time()) - 20), "closed")
        assert engine.force_learn().trajectories == 3
        assert (count_of(database_url), engine.erasures()[0].late) == (3, 3)


def test_ids_carry_the_databases_time_once_it_is_measured() -> None:
    hot = HotPath(DIM, 1000, 1 << 20)

    def off() -> float:
        made = UUID(str(hot.begin_trajectory(np.ones(DIM, np.float32)).id))
        return (made.int >> 80) / 1000 - time.time()

    assert abs(off()) < 5
    for ahead in (3600, -3600, 0):
        hot.set_clock_ahead(ahead * 1_000_000)
        assert abs(off() + ahead) < 60
