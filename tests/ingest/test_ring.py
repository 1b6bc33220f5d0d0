"""The buffer in memory: bounded, in order, safe with many producers, and cheap to abandon."""

from __future__ import annotations

import os
import pickle
import threading
import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sona_pg.errors import ConfigError, TrajectoryError
from sona_pg.recorder import EncodedBatch, HotPath, SpoolFile, with_records

DIM = 16
ONE = np.ones(DIM, np.float32)
Record = Callable[..., uuid.UUID]


def ids_of(batch: EncodedBatch | None) -> list[uuid.UUID]:
    assert batch is not None
    return [uuid.UUID(bytes=row.tobytes()) for row in batch.trajectory_ids]


def test_records_come_out_once_in_the_order_they_ended(hot: HotPath, record: Record) -> None:
    recorded = [record(hot) for _ in range(10)]
    assert ids_of(hot.drain(1, 1)) == recorded
    assert hot.drain(2, 1) is None


def test_the_ring_wraps_around_many_times(record: Record) -> None:
    hot = HotPath(DIM, 7, 1 << 20)
    for turn in range(100):
        recorded = [record(hot, steps=turn % 4) for _ in range(turn % 8)]
        assert (ids_of(hot.drain(turn, 1)) if recorded else []) == recorded
    assert hot.dropped_count == 0
    assert hot.recorded_count == sum(turn % 8 for turn in range(100))


def test_a_full_ring_refuses_and_counts_and_takes_again_when_drained(record: Record) -> None:
    hot = HotPath(DIM, 4, 1 << 20)
    kept = [record(hot) for _ in range(6)][:4]
    assert (hot.waiting, hot.recorded_count, hot.dropped_count) == (4, 4, 2)
    assert ids_of(hot.drain(1, 1)) == kept
    last = record(hot)
    assert ids_of(hot.drain(2, 1)) == [last]


def test_the_bytes_are_bounded_as_well_as_the_count() -> None:
    hot = HotPath(DIM, 10_000, 1 << 16)
    for _ in range(50):
        trajectory = hot.begin_trajectory(ONE)
        hot.add_step(trajectory, np.ones(4000, np.float32))
        hot.end_trajectory(trajectory)
    assert 1 <= hot.waiting <= 4
    assert hot.dropped_count == 50 - hot.waiting


def test_drain_takes_no_more_than_it_is_asked_for(hot: HotPath, record: Record) -> None:
    recorded = [record(hot) for _ in range(10)]
    assert ids_of(hot.drain(1, 1, max_rows=4)) == recorded[:4]
    assert ids_of(hot.drain(1, 1, max_bytes=1)) == recorded[4:5]  # one always fits
    assert hot.waiting == 5


def test_a_handle_that_is_never_ended_leaves_nothing(hot: HotPath) -> None:
    for _ in range(1000):
        hot.add_step(hot.begin_trajectory(ONE), ONE)
    assert hot.recorded_count == hot.waiting == 0


def test_a_handle_may_outlive_its_engine() -> None:
    trajectory = HotPath(DIM, 4, 1 << 16).begin_trajectory(ONE)
    assert trajectory.id.version == 7
    del trajectory


def test_ids_are_version_7_of_now_and_only_ever_grow(hot: HotPath) -> None:
    ids = [hot.begin_trajectory(ONE).id for _ in range(5000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 5000
    assert {(name.version, name.variant) for name in ids} == {(7, uuid.RFC_4122)}


def test_an_id_is_a_uuid_like_any_other(hot: HotPath) -> None:
    found = hot.begin_trajectory(ONE).id
    same = uuid.UUID(bytes=found.bytes)
    assert (found, hash(found), str(found), found.is_safe) == (same, hash(same), str(same), same.is_safe)
    assert pickle.loads(pickle.dumps(found)) == same
    with pytest.raises(TypeError):
        found.int = 1  # type: ignore[misc]


def test_a_full_buffer_refuses_the_trajectory_that_says_so() -> None:
    hot = HotPath(DIM, 3, 1 << 20)
    handles = [hot.begin_trajectory(ONE) for _ in range(5)]
    assert not any(handle.refused for handle in handles)
    for handle in handles:
        hot.end_trajectory(handle)
    assert [handle.refused for handle in handles] == [False, False, False, True, True]
    assert hot.dropped_count == 2


def test_switched_off_it_records_nothing(hot: HotPath, record: Record) -> None:
    hot.set_enabled(False)
    record(hot)
    assert not hot.is_enabled()
    assert hot.recorded_count == hot.dropped_count == 0
    hot.set_enabled(True)
    record(hot)
    assert hot.waiting == 1


def test_producers_and_the_drain_race_without_loss(record: Record) -> None:
    hot = HotPath(DIM, 64, 1 << 20)
    recorded: list[list[uuid.UUID]] = [[] for _ in range(4)]
    seen: list[uuid.UUID] = []
    ended = threading.Event()

    def produce(into: list[uuid.UUID]) -> None:
        for _ in range(3000):
            into.append(record(hot, steps=1))

    def consume() -> None:
        while not ended.is_set() or hot.waiting:
            if (batch := hot.drain(1, 1)) is not None:
                seen.extend(ids_of(batch))

    producers = [threading.Thread(target=produce, args=[into]) for into in recorded]
    consumer = threading.Thread(target=consume)
    for thread in (consumer, *producers):
        thread.start()
    for thread in producers:
        thread.join()
    ended.set()
    consumer.join()
    assert len(seen) == len(set(seen)) == hot.recorded_count
    assert hot.recorded_count + hot.dropped_count == 12_000
    assert set(seen) <= {name for into in recorded for name in into}


def test_two_threads_cannot_drain_at_once(hot: HotPath, record: Record) -> None:
    wrong: list[BaseException] = []
    taken: list[int] = []

    def drain() -> None:
        for _ in range(2000):
            try:
                batch = hot.drain(1, 1)
            except TrajectoryError as exc:
                wrong.append(exc)
            else:
                taken.append(len(batch) if batch is not None else 0)

    threads = [threading.Thread(target=drain) for _ in range(2)]
    for thread in threads:
        thread.start()
    total = sum(1 for _ in range(500) if record(hot))
    for thread in threads:
        thread.join()
    rest = hot.drain(1, 1)
    assert sum(taken) + (len(rest) if rest is not None else 0) == total
    assert all("one writer" in str(exc) for exc in wrong)


def test_a_forked_child_is_told_to_open_its_own_engine(hot: HotPath) -> None:
    read, write = os.pipe()
    open_one = hot.begin_trajectory(ONE)
    child = os.fork()
    if child == 0:
        said = []
        for call in (lambda: hot.begin_trajectory(ONE), lambda: hot.end_trajectory(open_one)):
            try:
                call()
                said.append("nothing")
            except TrajectoryError as exc:
                said.append(str(exc))
        fresh = HotPath(DIM, 4, 1 << 16).begin_trajectory(ONE).id
        os.write(write, "|".join([*said, str(fresh)]).encode())
        os._exit(0)
    os.close(write)
    said = os.read(read, 1000).decode().split("|")
    os.close(read)
    os.waitpid(child, 0)
    assert "before this process was forked" in said[0]
    assert "before this process was forked" in said[1]
    assert uuid.UUID(said[2]).int & (2**62 - 1) != hot.begin_trajectory(ONE).id.int & (2**62 - 1)


@pytest.mark.parametrize(
    ("dim", "capacity", "size"), [(0, 1, 1 << 16), (16_001, 1, 1 << 16), (4, 0, 1 << 16), (4, 1, 9)]
)
def test_an_invalid_hot_path_is_refused(dim: int, capacity: int, size: int) -> None:
    with pytest.raises(ConfigError, match="cannot work"):
        HotPath(dim, capacity, size)


def test_memory_that_a_burst_has_left_is_given_back() -> None:
    hot = HotPath(DIM, 2000, 8 << 20)
    for _ in range(2000):
        hot.end_trajectory(hot.begin_trajectory(np.ones(DIM, np.float32)))
    assert hot.trim() == 0
    kept = hot.begin_trajectory(np.ones(DIM, np.float32))
    assert hot.drain(1, 1) is not None
    assert hot.trim(keep=10_000) > 500_000
    assert hot.trim(keep=10_000) == 0
    assert 5_000 < hot.trim(keep=0) <= 10_000
    hot.end_trajectory(kept)
    batch = hot.drain(2, 1)
    assert batch is not None
    assert len(batch) == 1


def resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_an_idle_buffer_takes_little_memory_whatever_it_may_take() -> None:
    before = resident()
    many = [HotPath(256, 10_000, 64 << 20) for _ in range(100)]
    assert (resident() - before) / len(many) < 30_000
    [hot, *_] = many
    for _ in range(300):
        hot.end_trajectory(hot.begin_trajectory(np.ones(256, np.float32)))
    assert hot.drain(1, 1) is not None
    assert hot.trim() > 300 * 1024 - (1 << 16)


def test_a_writer_finds_the_hot_paths_with_records(tmp_path: Path) -> None:
    ring, file = HotPath(DIM, 10, 1 << 16), HotPath(DIM, 10, 1 << 16)
    file.attach(spool=SpoolFile(str(tmp_path), 1 << 20))
    both = {"ring": ring, "file": file}
    assert with_records(both) == []
    for name, hot in both.items():
        hot.end_trajectory(hot.begin_trajectory(np.ones(DIM, np.float32)))
        assert with_records(both) == [name]
        hot.settle(hot.recorded_count)
        assert with_records(both) == []
