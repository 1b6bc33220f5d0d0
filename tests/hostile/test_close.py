"""close() at any moment: a record is accepted, and then stored, or it raises; and nothing hangs."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
import uuid
from pathlib import Path

import numpy as np
import psycopg
import pytest

from sona_pg import IngestConfig, SonaConfig, SonaEngine, TrajectoryError
from sona_pg.errors import SonaError
from sona_pg.recorder import HotPath, SpoolFile

DIM = 8
ONE = np.ones(DIM, np.float32)
DURABILITIES = ["memory", "spool", "sync"]


def open_engine(url: str, durability: str) -> SonaEngine:
    ingest = IngestConfig(durability=durability, when_full="wait", flush_interval=0.01)  # type: ignore[arg-type]
    return SonaEngine(DIM, url, config=SonaConfig(hidden_dim=DIM, ingest=ingest))


def stored(url: str) -> set[uuid.UUID]:
    with psycopg.connect(url) as connection:
        return {row[0] for row in connection.execute("SELECT id FROM sona.trajectories")}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SONA_PG_HOME", str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("durability", DURABILITIES)
def test_of_records_that_race_with_close_those_are_stored_that_were_accepted(
    database_url: str, durability: str
) -> None:
    acknowledged: set[uuid.UUID] = set()
    for turn in range(3):
        engine = open_engine(database_url, durability)
        accepted: list[list[uuid.UUID]] = [[] for _ in range(4)]
        enough = threading.Event()

        def run(mine: list[uuid.UUID], engine: SonaEngine, enough: threading.Event, turn: int) -> None:
            for n in itertools.count():
                t = engine.begin_trajectory(ONE)
                engine.end_trajectory(t, 0.5)
                mine.append(t.id)
                if n == 10 * turn:
                    enough.set()

        def until_closed(*what: object) -> None:
            with pytest.raises(SonaError):
                run(*what)  # type: ignore[arg-type]

        threads = [threading.Thread(target=until_closed, args=(mine, engine, enough, turn)) for mine in accepted]
        closers = [threading.Thread(target=engine.close) for _ in range(2)]
        for thread in threads:
            thread.start()
        assert enough.wait(20)
        for thread in closers:
            thread.start()
        for thread in (*closers, *threads):
            thread.join(30)
            assert not thread.is_alive()
        acknowledged |= {name for mine in accepted for name in mine}
        # With 'sync' a record may be accepted, and its commit be heard of too late to be acknowledged.
        assert acknowledged <= stored(database_url)
        assert len(stored(database_url)) - len(acknowledged) <= (4 * (turn + 1) if durability == "sync" else 0)


# argv: url, durability, seed. Records while signals come whose handler closes the engine.
CLOSED_BY_SIGNALS = f"""
import random, signal, sys
import numpy as np
from sona_pg import IngestConfig, SonaConfig, SonaEngine
from sona_pg.errors import SonaError
url, level, seed = sys.argv[1:]
chance = random.Random(seed)
one = np.ones({DIM}, np.float32)
config = SonaConfig(
    hidden_dim={DIM}, ingest=IngestConfig(durability=level, when_full="wait", flush_interval=0.002, capacity=50)
)
for turn in range(12):
    engine = SonaEngine({DIM}, url, config=config)
    signals = [0.0005, 0.002]  # while the first handler closes
    def handler(number, frame):
        if signals:
            signal.setitimer(signal.ITIMER_REAL, signals.pop())
        engine.close()
    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.0005, 0.03))
    said = []
    try:
        for n in range(1_000_000):
            t = engine.begin_trajectory(one, candidates=[f"a{{turn}}", f"b{{n % 100}}"])
            engine.end_trajectory(t, 0.5)
            said.append(t.id)
            engine.feedback(t, 0.25)
            if n % 50 == 0:
                engine.refresh()
                engine.route(one, ["a", f"r{{n}}"])
            if n % 80 == 0:
                engine.flush()
    except SonaError as exc:
        problem = exc
    engine.close()
    signals.clear()
    signal.setitimer(signal.ITIMER_REAL, 0)
    print("\\n".join(map(str, said)))
    print(problem, file=sys.stderr)
"""


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("durability", DURABILITIES)
def test_a_signal_handler_that_closes_at_any_moment_neither_hangs_nor_loses(database_url: str, durability: str) -> None:
    command = [sys.executable, "-c", CLOSED_BY_SIGNALS, database_url, durability, "7"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    acknowledged = {uuid.UUID(line) for line in done.stdout.split()}
    assert acknowledged <= stored(database_url), done.stderr
    # With 'sync' the handler may close while a record waits for its commit, which then comes.
    assert len(stored(database_url)) - len(acknowledged) <= 12


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("part", ["evidence", "overlay", "recaller", "chooser"])
def test_a_close_that_interrupts_an_answer_does_not_wait_for_it(database_url: str, part: str) -> None:
    engine = open_engine(database_url, "memory")
    session = engine._session
    lock = (session.ranker.overlay if part == "overlay" else getattr(session, part)).lock
    following = threading.Event()

    def follow(*_: object) -> bool:
        following.set()
        with lock:
            return True

    session.hear = session.read_judged = follow  # type: ignore[method-assign]
    with lock:
        engine.end_trajectory(engine.begin_trajectory(ONE, ranking=engine.rank(ONE, [ONE], ids=["a"])), 0.5)
        engine.flush()
        assert following.wait(20)  # the end waits for the follower, and the follower for the interrupted answer
        engine.close()
    assert session._ending._finished.wait(20)
    assert len(stored(database_url)) == 1


# argv: url, durability, how the handler ends. A signal comes while an answer weighs recent evidence.
INTERRUPTED_ANSWER = f"""
import signal, sys
import numpy as np
from sona_pg import IngestConfig, SonaConfig, SonaEngine
from sona_pg.errors import SonaError
url, level, how = sys.argv[1:]
one = np.ones({DIM}, np.float32)
ingest = IngestConfig(durability=level, when_full="wait", flush_interval=5.0)
engine = SonaEngine({DIM}, url, config=SonaConfig(hidden_dim={DIM}, ingest=ingest))

def handler(number, frame):
    engine.close()
    if how == "exits":
        sys.exit(0)

signal.signal(signal.SIGTERM, handler)
shown = engine.rank(one, [one], ids=["a"])
for n in range(500):
    engine.end_trajectory(engine.begin_trajectory(one, ranking=shown), 0.5)
waiting = engine._session.evidence.waiting

def interrupted(serving):
    engine._session.evidence.waiting = waiting
    signal.raise_signal(signal.SIGTERM)
    return waiting(serving)

engine._session.evidence.waiting = interrupted
engine.rank(one, [one], ids=["a"])
"""


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("how", ["returns", "exits"])
def test_the_exit_waits_for_a_close_that_interrupted_an_answer(database_url: str, how: str) -> None:
    command = [sys.executable, "-c", INTERRUPTED_ANSWER, database_url, "memory", how]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert len(stored(database_url)) == 500


# argv: url, durability, how it ends. Threads record until the end, and say each id once it is acknowledged.
ENDS = f"""
import os, signal, sys, threading, time
import numpy as np
from sona_pg import IngestConfig, SonaConfig, SonaEngine
from sona_pg.errors import SonaError
url, level, how = sys.argv[1:]
config = SonaConfig(hidden_dim={DIM}, ingest=IngestConfig(durability=level, when_full="wait"))
engine = SonaEngine({DIM}, url, config=config)
enough = threading.Event()

def record():
    for n in range(10**9):
        try:
            t = engine.begin_trajectory(np.ones({DIM}, np.float32))
            engine.end_trajectory(t, 0.5)
        except SonaError:
            return
        os.write(1, f"{{t.id}}\\n".encode())
        if n == 20:
            enough.set()

def handler(number, frame):
    engine.close()
    sys.exit(0)

signal.signal(signal.SIGTERM, handler)
for _ in range(3):
    threading.Thread(target=record, daemon=True).start()
assert enough.wait(20)
if how == "signal":
    threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM)).start()
    record()
"""


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("how", ["exit", "signal"])
@pytest.mark.parametrize("durability", DURABILITIES)
def test_when_the_interpreter_ends_with_threads_that_record_nothing_acknowledged_is_lost(
    database_url: str, durability: str, how: str
) -> None:
    command = [sys.executable, "-c", ENDS, database_url, durability, how]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    acknowledged = {uuid.UUID(line) for line in done.stdout.split()}
    assert len(acknowledged) > 20
    assert acknowledged <= stored(database_url)
    assert len(stored(database_url)) - len(acknowledged) <= 4  # accepted, but the process ended before it said so


def test_after_the_last_record_was_accepted_none_is_queued() -> None:
    hot = HotPath(DIM, 10, 1 << 16)
    first, second = hot.begin_trajectory(ONE), hot.begin_trajectory(ONE)
    hot.end_trajectory(first)
    hot.refuse_records()
    with pytest.raises(TrajectoryError, match="closed"):
        hot.end_trajectory(second)
    with pytest.raises(TrajectoryError, match="closed"):
        hot.record_feedback(first, quality=1.0)
    assert not second.ended
    batch = hot.drain(1, 1)
    assert batch is not None
    assert len(batch) == hot.recorded_count == 1


def test_a_sealed_spool_writes_into_no_file_that_gets_its_descriptor(tmp_path: Path) -> None:
    hot, spool = HotPath(DIM, 10, 1 << 16), SpoolFile(str(tmp_path), 1 << 20)
    hot.attach(spool=spool)
    hot.end_trajectory(hot.begin_trajectory(ONE))
    size = spool.size
    spool.seal()
    with (tmp_path / "of the application").open("wb") as other:  # has the number of the descriptor that was closed
        with pytest.raises(TrajectoryError, match="closed"):
            hot.end_trajectory(hot.begin_trajectory(ONE))
        assert os.fstat(other.fileno()).st_size == 0
    assert (spool.position(), (tmp_path / "00000001").stat().st_size) == ((1, size, 1), size)


def test_an_existing_segment_is_never_opened(tmp_path: Path) -> None:
    (tmp_path / "00000001").write_bytes(b"records of another process")
    hot, spool = HotPath(DIM, 10, 1 << 16), SpoolFile(str(tmp_path), 1 << 20)
    hot.attach(spool=spool)
    with pytest.raises(SonaError, match="File exists"):
        hot.end_trajectory(hot.begin_trajectory(ONE))
    assert (tmp_path / "00000001").read_bytes() == b"records of another process"


def test_a_signal_that_ends_a_recording_call_leaves_the_record_with_one_owner() -> None:
    """A handler that raises does so in the first Python lines that run: those that wake the writer."""
    hot = HotPath(DIM, 4, 1 << 16)

    def interrupted() -> None:
        raise SystemExit

    hot.attach(wake=interrupted)
    handles = [hot.begin_trajectory(ONE) for _ in range(4)]
    hot.end_trajectory(handles[0])
    with pytest.raises(SystemExit):
        hot.end_trajectory(handles[1])
    assert handles[1].ended
    hot.end_trajectory(handles[2])
    del handles
    batch = hot.drain(1, 1)
    assert batch is not None
    assert len({row.tobytes() for row in batch.trajectory_ids}) == len(batch) == 3
