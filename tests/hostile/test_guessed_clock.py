"""A server whose clock is a year ahead, opened while the database is away: its feedback gets the database's time."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import numpy as np
import psycopg
import pytest
from fix_clock import FalseClock
from fix_proxy import Proxy

from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import IngestConfig, LoopConfig
from sona_pg.domain.judged import Fact
from sona_pg.engine.fleet_member import FleetMember
from sona_pg.ingest import guessed_clock
from sona_pg.recorder import HotPath
from sona_pg.serving.judged_queries import JudgedQueries

DIM = 8
YEAR = 365 * 86_400  # seconds
LOOPS = LoopConfig(automatic=False, poll_interval=0.1)
CONFIG = SonaConfig(loops=LOOPS, ingest=IngestConfig(durability="spool"))
# Says 1.0 of a trajectory, then, unless it is killed, waits for the database and says 0.5.
SERVER = """
import os, signal, sys, uuid
from sona_pg import IngestConfig, LoopConfig, SonaConfig, SonaEngine
url, trajectory, durability, end = sys.argv[1:]
config = SonaConfig(loops=LoopConfig(automatic=False, poll_interval=0.1), ingest=IngestConfig(durability=durability))
with SonaEngine(8, url, config=config) as engine:
    engine.feedback(uuid.UUID(trajectory), 1.0)
    engine.feedback(uuid.UUID(trajectory), 1.0, source="judge", sequence=7)
    print("said", flush=True)
    if end == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    sys.stdin.readline()
    engine.flush(60)
    engine.feedback(uuid.UUID(trajectory), 0.5)
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SONA_PG_HOME", str(tmp_path))
    return tmp_path


def record(url: str) -> UUID:
    with SonaEngine(DIM, url, config=CONFIG) as engine:
        trajectory = engine.begin_trajectory(np.ones(DIM, np.float32))
        engine.end_trajectory(trajectory)
    return UUID(str(trajectory.id))


def facts(url: str) -> list[tuple[str, float, bool, bool]]:
    """Return source, quality, whether its sequence and whether its time are of the last minutes, in order."""
    with psycopg.connect(url) as connection:
        return connection.execute(
            "SELECT source, quality, abs(sequence / 1e6 - extract(epoch FROM now())) < 300,"
            " abs(extract(epoch FROM recorded_at - now())) < 300 FROM sona.feedback ORDER BY sequence"
        ).fetchall()


def say_and_die(proxy: Proxy, trajectory: UUID, clock: dict[str, str]) -> None:
    """Give feedback to a server without its database, which is then killed."""
    proxy.refuse()
    command = [sys.executable, "-c", SERVER, proxy.url, str(trajectory), "spool", "killed"]
    done = subprocess.run(command, env={**os.environ, **clock}, capture_output=True, text=True, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr
    proxy.accept()


def say_last(url: str, trajectory: UUID) -> None:
    with SonaEngine(DIM, url, config=CONFIG) as engine:
        engine.flush()
        engine.feedback(trajectory, 0.25)


@pytest.mark.parametrize("durability", ["memory", "spool"])
@pytest.mark.parametrize("off", [YEAR, -YEAR])
def test_what_a_server_was_told_before_the_database_answered_is_of_that_time(
    database_url: str, proxy: Proxy, false_clock: FalseClock, durability: str, off: int
) -> None:
    trajectory = record(database_url)
    proxy.refuse()
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, proxy.url, str(trajectory), durability, "waits"],
        env={**os.environ, **false_clock(int(time.time()) + off)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as server:  # fmt: skip
        assert server.stdout.readline() == "said\n"
        proxy.accept()
        server.communicate("go on\n", timeout=60)
        assert server.returncode == 0
    say_last(proxy.url, trajectory)
    assert facts(database_url) == [
        ("judge", 1.0, False, True),
        ("user", 1.0, True, True),
        ("user", 0.5, True, True),
        ("user", 0.25, True, True),
    ]


def test_what_a_killed_server_was_told_is_of_that_time(
    database_url: str, proxy: Proxy, false_clock: FalseClock
) -> None:
    trajectory = record(database_url)
    say_and_die(proxy, trajectory, false_clock(int(time.time()) + YEAR))
    say_last(proxy.url, trajectory)
    assert facts(database_url) == [
        ("judge", 1.0, False, True),
        ("user", 1.0, True, True),
        ("user", 0.25, True, True),
    ]


def test_a_replay_gives_each_fact_the_sequence_that_it_had(
    database_url: str, proxy: Proxy, false_clock: FalseClock, home: Path, tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    trajectory = record(database_url)
    say_and_die(proxy, trajectory, false_clock(int(time.time()) + YEAR))
    [left] = [path.parent for path in home.glob("spool/*/*/clock")]
    kept = tmp_path_factory.mktemp("kept") / "folder"
    write_down = guessed_clock.correction_in

    def copied(folder: Path, hot: HotPath, *, own: bool) -> int | None:
        """Keep the folder as it is when the first batch may be committed and its end is not noted."""
        found = write_down(folder, hot, own=own)
        if folder == left and not kept.exists():
            shutil.copytree(left, kept)
        return found

    monkeypatch.setattr(guessed_clock, "correction_in", copied)
    say_last(proxy.url, trajectory)
    before = facts(database_url)
    shutil.copytree(kept, left)
    measure = FleetMember.measure_clock
    monkeypatch.setattr(
        FleetMember, "measure_clock",
        lambda member, clock: measure(member, clock._replace(at=clock.at + timedelta(seconds=5))),
    )  # fmt: skip
    with SonaEngine(DIM, proxy.url, config=CONFIG) as engine:
        engine.flush()
    assert facts(database_url) == before


def test_after_a_restart_of_the_machine_the_guess_stays_and_is_told(
    database_url: str, proxy: Proxy, false_clock: FalseClock, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trajectory = record(database_url)
    say_and_die(proxy, trajectory, false_clock(int(time.time()) + YEAR))
    [clock] = home.glob("spool/*/*/clock")
    boot, *rest = clock.read_text().split()
    clock.write_text(guessed_clock.LINE.format(boot[::-1], int(rest[0]), rest[1]))
    with caplog.at_level(logging.WARNING, "sona_pg.ingest"):
        say_last(proxy.url, trajectory)
    assert "before this machine was started again" in caplog.text
    assert facts(database_url) == [
        ("judge", 1.0, False, False),
        ("user", 0.25, True, True),
        ("user", 1.0, False, False),
    ]
    assert not clock.exists()


def test_a_clock_that_is_half_a_minute_off_is_left() -> None:
    hot = HotPath(DIM, 10, 1 << 16)
    hot.set_clock_ahead(30_000_000)
    assert hot.correction == 0
    assert hot.correction_of(hot.guessed_since_1970 + 90_000_000) == pytest.approx(-120_000_000, abs=1_000_000)


def test_recent_evidence_knows_the_sequences_that_the_ledger_will_have() -> None:
    hot, queries = HotPath(DIM, 10, 1 << 16), JudgedQueries(10)
    notes: list[tuple[object, ...]] = []
    hot.keep_judged(notes)
    trajectory = hot.begin_trajectory(np.ones(DIM, np.float32), candidates=None)
    hot.record_feedback(trajectory, quality=1.0)
    hot.record_feedback(trajectory, quality=1.0, source="judge", sequence=7)
    hot.set_clock_ahead(YEAR * 1_000_000)
    hot.record_feedback(trajectory, quality=0.0)
    for note in notes:
        queries.note(note)
    assert [fact.source for fact in queries._early[trajectory.id.bytes]] == ["user", "judge", "user"]
    first, given, last = (fact.sequence for fact in queries._early[trajectory.id.bytes])
    assert given == 7
    assert first < last < (time.time() - YEAR + 300) * 1e6
    assert isinstance(queries._early[trajectory.id.bytes][0], Fact)
