"""One pool of threads for all spaces of a process: all records are committed, and no space delays the others."""

from __future__ import annotations

import gc
import logging
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import psycopg
import pytest
from fix_ingest import DIM
from fix_proxy import Proxy

from sona_pg.errors import DatabaseUnavailable, SpaceRemoved, TrajectoryError
from sona_pg.ingest import Writer, WriterPool
from sona_pg.recorder import EncodedBatch, HotPath

SPACES = 200
OTHERS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
COUNTED = "SELECT space_id, count(*) FROM sona.trajectories GROUP BY space_id"
OpenSpace = Callable[..., tuple[HotPath, Writer]]


@pytest.fixture
def url(database_url: str) -> str:
    """A database with many spaces."""
    now = datetime.now(UTC)
    with psycopg.connect(database_url) as connection:
        connection.execute("SELECT sona.ensure_partitions(%s, 2)", [now])
        connection.execute(
            "INSERT INTO sona.spaces (space_id, name, dim, created_at)"
            " SELECT n, 'space ' || n, %s, %s FROM generate_series(1, %s) AS n",
            [DIM, now, SPACES],
        )
    return database_url


def record(hot: HotPath, n: int = 1, route: str | None = None) -> None:
    for _ in range(n):
        trajectory = hot.begin_trajectory(np.full(DIM, 0.25, np.float32))
        if route is not None:
            hot.set_trajectory_route(trajectory, route)
        hot.end_trajectory(trajectory, 0.5)


def counted(url: str) -> dict[int, int]:
    with psycopg.connect(url) as connection:
        return dict(connection.execute(COUNTED).fetchall())


def threads_that_write() -> int:
    return sum(thread.name.startswith("sona-pg-writer") for thread in threading.enumerate())


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_records_of_all_spaces_are_committed_with_two_threads_and_two_connections(
    url: str, pool_at: Callable[..., WriterPool], open_space: OpenSpace
) -> None:
    before = threads_that_write()
    pool = pool_at(url)
    opened = [open_space(pool, space_id) for space_id in range(1, SPACES + 1)]
    assert threads_that_write() - before == 2
    for turn in range(3):
        for hot, _ in opened[turn:]:
            record(hot)
    wait_until(lambda: not any(writer.waiting for _, writer in opened))
    with psycopg.connect(url) as connection:
        assert connection.execute(OTHERS).fetchone()[0] <= 2  # type: ignore[index]
    expected = {space_id: min(space_id, 3) for space_id in range(1, SPACES + 1)}
    assert counted(url) == expected
    pool.close()
    assert threads_that_write() == before
    with pytest.raises(TrajectoryError, match="closed"):
        record(opened[0][0])


def test_locked_spaces_hold_up_no_other(url: str, pool_at: Callable[..., WriterPool], open_space: OpenSpace) -> None:
    pool = pool_at(url)
    opened = [open_space(pool, space_id) for space_id in range(1, 11)]
    with psycopg.connect(url) as locking:
        locking.execute("SELECT FROM sona.spaces WHERE space_id <= 5 FOR UPDATE")
        for hot, _ in opened:
            record(hot)
        for _, writer in opened[5:]:
            writer.flush(10)
        assert all(writer.waiting == 1 for _, writer in opened[:5])
        with pytest.raises(DatabaseUnavailable, match="LockNotAvailable"):
            opened[0][1].flush(0.2)
    for _, writer in opened[:5]:
        writer.flush(10)
    assert counted(url) == dict.fromkeys(range(1, 11), 1)


def test_rows_that_other_servers_lock_are_waited_for_a_second_at_most(
    url: str, pool_at: Callable[..., WriterPool], open_space: OpenSpace
) -> None:
    pool = pool_at(url)
    opened = [open_space(pool, space_id) for space_id in range(1, 5)]
    row = np.ones((1, DIM), np.float32)
    with psycopg.connect(url) as locking:
        for space_id in (1, 2):  # as many as there are threads
            locking.execute(
                "INSERT INTO sona.candidates (space_id, candidate_id, recorded_at, embedding)"
                " VALUES (%s, 'a', now(), array_fill(0, ARRAY[%s])::vector::halfvec)", [space_id, DIM],
            )  # fmt: skip
        for _, writer in opened:
            assert writer.enqueue_candidates(["a"], row)
        for _, writer in opened[2:]:
            writer.flush(10)
        assert not opened[0][1].candidates_settled
    for _, writer in opened[:2]:
        writer.flush(10)


def test_a_space_that_is_removed_ends_alone(
    url: str, pool_at: Callable[..., WriterPool], open_space: OpenSpace
) -> None:
    pool = pool_at(url)
    (gone, ended), (hot, writer) = open_space(pool, 1), open_space(pool, 2)
    with psycopg.connect(url) as connection:
        connection.execute("DELETE FROM sona.spaces WHERE space_id = 1")
    record(gone)
    with pytest.raises(SpaceRemoved, match="space 1"):
        ended.flush(10)
    with pytest.raises(TrajectoryError, match="was removed"):
        record(gone)
    with pytest.raises(SpaceRemoved, match="1 records that waited are not stored"):
        ended.close()
    record(hot)
    writer.flush(10)
    assert counted(url) == {2: 1}


def test_a_mistake_in_one_space_ends_it_alone(
    url: str, pool_at: Callable[..., WriterPool], open_space: OpenSpace, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    pool = pool_at(url)
    (bad, broken), (hot, writer) = open_space(pool, 1), open_space(pool, 2)
    monkeypatch.setattr(broken._source, "take", lambda batch: {}[batch])
    record(bad)
    with pytest.raises(DatabaseUnavailable, match="the writer has ended"):
        broken.flush(10)
    with pytest.raises(TrajectoryError, match="closed"):
        record(bad)
    assert "by a mistake of its own" in caplog.text
    record(hot)
    writer.flush(10)
    assert counted(url) == {2: 1}
    with pytest.raises(DatabaseUnavailable, match="1 records"):  # kept for the next process
        broken.close()


def test_refused_rows_of_one_space_are_set_aside_while_others_write(
    url: str, pool_at: Callable[..., WriterPool], open_space: OpenSpace
) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("ALTER TABLE sona.trajectories ADD CHECK (route <> 'poison')")
    pool = pool_at(url)
    opened = [open_space(pool, space_id) for space_id in range(1, 9)]
    for hot, _ in opened:
        record(hot, 2)
    record(opened[0][0], 3, "poison")
    for _, writer in opened:
        writer.flush(10)
    assert [writer.stats().rejected for _, writer in opened] == [3, *[0] * 7]
    assert counted(url) == dict.fromkeys(range(1, 9), 2)


def test_a_learner_that_takes_its_time_holds_up_its_own_space_only(
    url: str, pool_at: Callable[..., WriterPool], open_space: OpenSpace
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def learn(_: EncodedBatch) -> None:
        begun.set()
        assert go_on.wait(10)

    pool = pool_at(url)
    (slow, held_up), (hot, writer) = open_space(pool, 1, on_batch=learn), open_space(pool, 2)
    record(slow)
    assert begun.wait(10)
    for _ in range(3):
        record(hot)
        writer.flush(10)
    assert held_up.waiting == 1
    go_on.set()
    held_up.flush(10)


def test_a_space_is_closed_while_others_write(
    url: str, pool_at: Callable[..., WriterPool], open_space: OpenSpace
) -> None:
    pool = pool_at(url)
    opened = [open_space(pool, space_id) for space_id in range(1, 21)]
    for turn, (hot, writer) in enumerate(opened):
        for other, _ in opened[turn:]:
            record(other)
        writer.close()
        with pytest.raises(TrajectoryError):
            record(hot)
    assert counted(url) == {space_id: space_id for space_id in range(1, 21)}


def test_closing_gives_up_its_own_space_only(
    url: str, pool_at: Callable[..., WriterPool], open_space: OpenSpace
) -> None:
    """Neither a pause nor a running transaction is waited for; the records go to files."""
    pool = pool_at(url)
    opened = [open_space(pool, space_id) for space_id in (1, 2, 3)]
    with psycopg.connect(url) as locking:
        locking.execute("SELECT FROM sona.spaces WHERE space_id = 1 FOR UPDATE")
        locking.execute(
            "INSERT INTO sona.candidates (space_id, candidate_id, recorded_at, embedding)"
            " VALUES (2, 'a', now(), array_fill(0, ARRAY[%s])::vector::halfvec)", [DIM],
        )  # fmt: skip
        opened[1][1].enqueue_candidates(["a"], np.ones((1, DIM), np.float32))
        for hot, _ in opened:
            record(hot)
        for _, writer in opened[:2]:
            with pytest.raises(DatabaseUnavailable, match="the next process"):
                writer.close(timeout=0.2)
        record(opened[2][0])
        opened[2][1].flush(10)
    for space_id in (1, 2):
        open_space(pool, space_id)[1].flush(10)
    assert counted(url) == {1: 1, 2: 1, 3: 2}


def test_a_link_that_is_cut_concerns_the_transaction_in_flight_only(
    url: str, pool_at: Callable[..., WriterPool], open_space: OpenSpace, proxy: Proxy
) -> None:
    pool = pool_at(proxy.url)
    opened = [open_space(pool, space_id) for space_id in range(1, 9)]
    for pattern, cut in ((b"COPY sona.trajectories", proxy.cut_before), (b"COMMIT", proxy.cut_after)):
        cut(pattern)
        for hot, _ in opened:
            record(hot)
        for _, writer in opened:
            writer.flush(10)
    assert counted(url) == dict.fromkeys(range(1, 9), 2)
    assert sum(writer.stats().retries for _, writer in opened) == 2


def test_while_the_database_is_away_one_space_tries_for_all(
    url: str, pool_at: Callable[..., WriterPool], open_space: OpenSpace, proxy: Proxy,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    pool = pool_at(proxy.url)
    opened = [open_space(pool, space_id) for space_id in range(1, 41)]
    with caplog.at_level(logging.WARNING, "sona_pg"):
        proxy.refuse()
        for hot, _ in opened:
            record(hot)
        with pytest.raises(DatabaseUnavailable, match="Error"):  # also where it has not tried itself
            opened[-1][1].flush(0.5)
        assert sum(writer.stats().retries for _, writer in opened) < 20
        proxy.accept()
        for _, writer in opened:
            writer.flush(10)
    assert counted(url) == dict.fromkeys(range(1, 41), 1)
    assert len([entry for entry in caplog.records if "is tried again" in entry.message]) == 1


def test_a_busy_space_does_not_starve_the_others(
    url: str, pool_at: Callable[..., WriterPool], open_space: OpenSpace
) -> None:
    pool = pool_at(url)
    busy = [open_space(pool, space_id, capacity=20, when_full="wait") for space_id in (1, 2, 3)]
    quiet = open_space(pool, 4)
    ended = threading.Event()

    def run(hot: HotPath) -> None:
        while not ended.is_set():
            record(hot)

    threads = [threading.Thread(target=run, args=[hot]) for hot, _ in busy]
    for thread in threads:
        thread.start()
    for _ in range(3):
        record(quiet[0])
        wait_until(lambda: quiet[1].waiting == 0)
    ended.set()
    for thread in threads:
        thread.join()
    for hot, writer in busy:
        writer.flush(10)
        assert hot.dropped_count == 0


@pytest.mark.parametrize("durability", ["spool", "sync"])
def test_every_durability_shares_the_threads(
    url: str, pool_at: Callable[..., WriterPool], open_space: OpenSpace, durability: str
) -> None:
    pool = pool_at(url)
    opened = [open_space(pool, space_id, durability=durability) for space_id in range(1, 11)]
    threads = [threading.Thread(target=record, args=[hot, 5]) for hot, _ in opened]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if durability == "spool":
        wait_until(lambda: not any(writer.waiting for _, writer in opened))
    assert counted(url) == dict.fromkeys(range(1, 11), 5)


def test_an_idle_space_takes_little_memory(url: str, pool_at: Callable[..., WriterPool], open_space: OpenSpace) -> None:
    pool = pool_at(url)
    open_space(pool, 1)
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        opened = [open_space(pool, space_id) for space_id in range(2, 42)]
        gc.collect()
        each = (tracemalloc.get_traced_memory()[0] - before) / len(opened)
    finally:
        tracemalloc.stop()
    assert each < 20_000


def test_a_pool_that_is_closed_takes_no_space(
    url: str, pool_at: Callable[..., WriterPool], open_space: OpenSpace
) -> None:
    pool = pool_at(url)
    hot, _ = open_space(pool, 1)
    record(hot)
    pool.close()
    assert counted(url) == {1: 1}
    with pytest.raises(DatabaseUnavailable, match="make another pool"):
        open_space(pool, 2)


FORKS = f"""
import os, sys, uuid
from pathlib import Path
import numpy as np
from sona_pg.config import IngestConfig
from sona_pg.errors import DatabaseUnavailable
from sona_pg.ingest import WriterPool, WriterRequest
from sona_pg.recorder import HotPath
from sona_pg.store.connect import connect
url, home = sys.argv[1:]
pool = WriterPool(connect(url))
def opened(pool, space):
    hot = HotPath({DIM}, 100, 1 << 20)
    settings = dict(space_id=space, server_id=uuid.uuid4(), config=IngestConfig(flush_interval=60), home=Path(home))
    return hot, pool.open(hot, WriterRequest(**settings))
def record(hot):
    hot.end_trajectory(hot.begin_trajectory(np.ones({DIM}, np.float32)))
ours = [opened(pool, space) for space in (1, 2, 3)]
for hot, _ in ours:
    record(hot)
child = os.fork()
if child == 0:
    for of_the_parent in (lambda: ours[0][1].flush(5), lambda: opened(pool, 5)):
        try:
            of_the_parent()
        except DatabaseUnavailable:
            continue
        os._exit(1)
    ours[0][1].close()
    pool.close()
    own = WriterPool(connect(url))
    hot, writer = opened(own, 4)
    record(hot)
    own.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
record(ours[0][0])
pool.close()
"""


def test_a_forked_child_inherits_no_thread_and_no_record(url: str, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKS, url, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert counted(url) == {1: 2, 2: 1, 3: 1, 4: 1}
