"""Durability `spool`: acknowledged records survive the process, the outage and the torn record."""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fix_ingest import DIM, SPACE, Space
from fix_proxy import Proxy
from fix_spool import RECORDER, left_behind, record_and_kill, segments

from sona_pg.domain.answer import Decision
from sona_pg.errors import DatabaseUnavailable, StorageError
from sona_pg.ingest import Writer, spool, spool_folder
from sona_pg.recorder import HotPath

OpenWriter = Callable[..., Writer]
Record = Callable[..., uuid.UUID]


def test_the_data_of_a_decision_goes_through_the_spool(
    hot: HotPath, space: Space, open_writer: OpenWriter, tmp_path: Path
) -> None:
    writer = open_writer(hot, durability="spool")
    for width in (0, 3):
        features = np.arange(width, dtype=np.float32)
        decision = SimpleNamespace(
            route="r", propensity=0.5, version=1, candidate_set=None, cost=0.5, features=features
        )
        trajectory = hot.begin_trajectory(np.ones(DIM), query="q", decision=decision)
        hot.set_trajectory_parameters(trajectory, {"temperature": 0.5})
        hot.end_trajectory(trajectory, 1.0)
    writer.flush(10)
    assert space.rows("SELECT features, parameters, query FROM sona.trajectories ORDER BY id") == [
        (None, {"temperature": 0.5}, "q"),
        ([0.0, 1.0, 2.0], {"temperature": 0.5}, "q"),
    ]


def test_records_go_through_the_spool_and_their_files_go_when_they_are_in(
    hot: HotPath, space: Space, open_writer: OpenWriter, record: Record, tmp_path: Path
) -> None:
    writer = open_writer(hot, durability="spool")
    recorded = {record(hot, steps=1) for _ in range(50)}
    assert hot.recorded_count == 50
    writer.flush(10)
    assert space.ids() == recorded
    assert space.count("steps") == 50
    writer.close()
    assert list(tmp_path.glob("spool/*/*")) == []


def test_every_kind_of_item_goes_through_the_spool(
    hot: HotPath, space: Space, open_writer: OpenWriter, tmp_path: Path
) -> None:
    writer = open_writer(hot, durability="spool")
    features = np.array([1.5, -2.0, 0.5], np.float32)
    decision = Decision("large", 0.25, {"small": 0.1, "large": 0.9}, 3, cost=2.0, features=features)
    trajectory = hot.begin_trajectory(np.ones(DIM, np.float32), query="what?", decision=decision)
    hot.add_trajectory_context(trajectory, "user:42")
    hot.add_step(trajectory, np.ones(DIM, np.float32), np.ones(3, np.float32), 0.5)
    hot.end_trajectory(trajectory, 0.5)
    hot.record_feedback(trajectory, correction="small", source="me")
    writer.flush(10)
    assert space.rows("SELECT query, context, route, features, step_count FROM sona.trajectories") == [
        ("what?", ["user:42"], "large", [1.5, -2.0, 0.5], 1)
    ]
    assert space.rows("SELECT source, correction FROM sona.feedback") == [("me", "small")]
    writer.close()
    assert list(tmp_path.glob("spool/*/*")) == []


def test_segments_are_deleted_as_they_are_committed(
    space: Space, open_writer: OpenWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "SEGMENT_BYTES", 10_000)
    monkeypatch.setattr(spool_folder, "CHUNK_BYTES", 3_000)
    hot = HotPath(DIM, 10, 1 << 20)
    writer = open_writer(hot, durability="spool")
    for index in range(300):
        trajectory = hot.begin_trajectory(np.ones(DIM, np.float32))
        hot.add_step(trajectory, np.zeros(4000 if index % 50 == 0 else 10, np.float32))  # some larger than a chunk
        hot.end_trajectory(trajectory)
    writer.flush(10)
    assert space.count("trajectories") == space.count("steps") == 300
    assert len(segments(tmp_path)) <= 2


def test_an_outage_is_bounded_by_the_disk_and_not_by_the_ring(
    space: Space, open_writer: OpenWriter, record: Record, proxy: Proxy
) -> None:
    hot = HotPath(DIM, 10, 1 << 16)
    writer = open_writer(hot, url=proxy.url, durability="spool")
    proxy.refuse()
    recorded = {record(hot, steps=3) for _ in range(2000)}
    assert hot.dropped_count == 0
    proxy.accept()
    writer.flush(20)
    assert space.ids() == recorded


def test_records_left_by_close_are_written_by_the_next_process(
    hot: HotPath, space: Space, open_writer: OpenWriter, record: Record, proxy: Proxy, tmp_path: Path
) -> None:
    writer = open_writer(hot, url=proxy.url, durability="spool")
    first = {record(hot) for _ in range(20)}
    writer.flush(10)
    proxy.refuse()
    second = {record(hot) for _ in range(20)}
    with pytest.raises(
        DatabaseUnavailable, match=r"20 records .* the next process that opens this space on this machine"
    ):
        writer.close(timeout=0.2)
    next_writer = open_writer(HotPath(DIM, 10, 1 << 16), durability="spool")
    next_writer.flush(10)
    assert space.ids() == first | second
    assert space.rows("SELECT sum(trajectories) FROM sona.batches") == [(40,)]
    next_writer.close()
    assert list(tmp_path.glob("spool/*/*")) == []


def test_killed_at_random_points_nothing_acknowledged_is_lost_and_nothing_doubled(
    space: Space, open_writer: OpenWriter, tmp_path: Path
) -> None:
    acknowledged: set[uuid.UUID] = set()
    for turn in range(4):
        acknowledged |= record_and_kill(space, tmp_path, random.Random(turn).uniform(0.02, 0.25))
    assert len(acknowledged) > 50
    writer = open_writer(HotPath(DIM, 10, 1 << 16), durability="spool")
    writer.flush(20)
    stored = space.ids()
    assert acknowledged <= stored
    assert len(stored - acknowledged) <= 4  # each turn may leave one record in the file whose id was not printed yet
    assert space.count("trajectories") == space.count("steps") == len(stored)
    assert len(stored) - 4 <= space.count("feedback") <= len(stored)
    assert space.rows("SELECT sum(trajectories), sum(steps) FROM sona.batches") == [(len(stored), len(stored))]
    assert space.rows("SELECT trajectories FROM sona.servers") == [(len(stored),)]
    writer.close()
    assert list(tmp_path.glob("spool/*/*")) == []


def test_a_batch_that_was_committed_but_not_noted_is_not_doubled(
    space: Space, open_writer: OpenWriter, tmp_path: Path
) -> None:
    acknowledged = record_and_kill(space, tmp_path, 0.2)
    for lock in tmp_path.glob("spool/*/*/lock"):
        lock.write_bytes(b"")  # as if it had died right after its first COMMIT
    writer = open_writer(HotPath(DIM, 10, 1 << 16), durability="spool")
    writer.flush(20)
    assert acknowledged <= space.ids()
    assert space.rows("SELECT count(*), count(DISTINCT id) FROM sona.trajectories")[0][0] == len(space.ids())
    assert space.rows("SELECT sum(trajectories) FROM sona.batches") == [(len(space.ids()),)]


def test_own_unreadable_segments_are_set_aside_and_stop_neither_flush_nor_close(
    hot: HotPath, space: Space, open_writer: OpenWriter, record: Record, tmp_path: Path
) -> None:
    writer = open_writer(hot, durability="spool", flush_interval=60)
    record(hot)
    [segment] = segments(tmp_path)
    data = bytearray(segment.read_bytes())
    data[-1] ^= 1
    segment.write_bytes(data)
    writer.flush(10)
    after = record(hot)
    writer.flush(10)
    assert space.ids() == {after}
    assert len(list(tmp_path.glob("spool/*/set-aside/*"))) == 1
    writer.close()


def test_the_spool_of_a_process_that_lives_is_left_alone(
    space: Space, open_writer: OpenWriter, record: Record, proxy: Proxy
) -> None:
    first, second = HotPath(DIM, 10, 1 << 16), HotPath(DIM, 10, 1 << 16)
    writer = open_writer(first, url=proxy.url, durability="spool")
    proxy.refuse()
    record(first)
    open_writer(second, durability="spool").flush(10)
    assert space.count("trajectories") == 0
    proxy.accept()
    writer.flush(10)


def test_the_spool_of_another_database_is_left_alone(
    space: Space, open_writer: OpenWriter, tmp_path: Path, proxy: Proxy
) -> None:
    _, segment = left_behind(space, tmp_path, proxy)
    space.execute("UPDATE sona.spaces SET created_at = created_at + interval '1 second'")
    open_writer(HotPath(DIM, 10, 1 << 16), durability="spool").flush(10)
    assert space.count("trajectories") == 0
    assert segment.exists()


def test_a_full_disk_refuses_the_record_and_loses_none_before_or_after(
    hot: HotPath, space: Space, open_writer: OpenWriter, record: Record
) -> None:
    """RLIMIT_FSIZE makes write() fail as a full disk does, in the middle of a record."""
    writer = open_writer(hot, durability="spool", flush_interval=60)
    recorded = {record(hot, steps=1) for _ in range(10)}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    trajectory = hot.begin_trajectory(np.ones(DIM, np.float32))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(StorageError, match="spool cannot be written"):
            hot.end_trajectory(trajectory)
        with pytest.raises(StorageError, match="spool cannot be written"):
            hot.record_feedback(trajectory, quality=0.5)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not trajectory.ended
    assert hot.recorded_count == 10
    writer.flush(10)
    assert space.ids() == recorded
    hot.end_trajectory(trajectory)
    recorded |= {trajectory.id, record(hot)}
    writer.flush(10)
    assert space.ids() == recorded
    assert space.count("feedback") == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small tmpfs takes root")
def test_a_disk_that_is_really_full(
    space: Space, open_writer: OpenWriter, record: Record, proxy: Proxy, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(disk)], check=False)
    if mounted.returncode != 0:
        pytest.skip("a tmpfs cannot be mounted here")
    try:
        hot = HotPath(DIM, 10, 1 << 16)
        writer = open_writer(hot, url=proxy.url, durability="spool", home=disk)
        proxy.refuse()
        recorded: set[uuid.UUID] = set()

        def fill() -> None:
            for _ in range(5000):
                recorded.add(record(hot, steps=1))

        with pytest.raises(StorageError, match="No space left"):
            fill()
        assert len(recorded) > 100
        proxy.accept()
        writer.flush(10)
        assert recorded == space.ids()
        writer.close()
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_folder_that_cannot_be_used_is_named(hot: HotPath, open_writer: OpenWriter, tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("a file where the folder should be")
    with pytest.raises(StorageError, match=r"the spool in .* cannot be used"):
        open_writer(hot, durability="spool")


def test_many_threads_append_at_once(
    hot: HotPath, space: Space, open_writer: OpenWriter, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "SEGMENT_BYTES", 20_000)
    writer = open_writer(hot, durability="spool")
    recorded: list[uuid.UUID] = []
    threads = [
        threading.Thread(target=lambda: recorded.extend(record(hot, steps=1) for _ in range(300))) for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.flush(20)
    assert space.ids() == set(recorded)
    assert space.count("trajectories") == 1500


def test_the_lock_is_free_when_the_parent_dies_before_its_forked_child(
    space: Space, open_writer: OpenWriter, tmp_path: Path, proxy: Proxy
) -> None:
    code = RECORDER.replace(
        "while True:", "import os, time\nif os.fork() == 0: time.sleep(5); os._exit(0)\nwhile True:"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, proxy.url, str(tmp_path), str(space.server_id), str(SPACE), str(DIM)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    proxy.refuse()
    said = [process.stdout.readline().strip() for _ in range(20)]
    process.kill()
    process.wait()
    process.stdout.close()
    time.sleep(0.05)
    open_writer(HotPath(DIM, 10, 1 << 16), durability="spool").flush(10)
    assert {uuid.UUID(line) for line in said if len(line) == 36} <= space.ids()
