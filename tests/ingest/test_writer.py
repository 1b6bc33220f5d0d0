"""The writer: flush, candidates, refused rows, and learning beside it."""

from __future__ import annotations

import collections
import json
import threading
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from fix_ingest import DIM, SPACE, Space
from fix_proxy import Proxy

from sona_pg.errors import DatabaseUnavailable, DimensionMismatch, InvalidValue, TrajectoryError
from sona_pg.ingest import Writer
from sona_pg.ingest.candidate_rows import Extra
from sona_pg.ingest.link import Turns
from sona_pg.recorder import EncodedBatch, HotPath

OpenWriter = Callable[..., Writer]
Record = Callable[..., uuid.UUID]


def test_after_flush_everything_recorded_before_is_committed(
    hot: HotPath, space: Space, open_writer: OpenWriter, record: Record
) -> None:
    writer = open_writer(hot, flush_interval=60)
    for turn in range(20):
        recorded = {record(hot, steps=1) for _ in range(turn)}
        writer.flush(5)
        assert recorded <= space.ids()
    assert writer.waiting == 0


def test_without_a_flush_records_are_written_after_the_interval(
    hot: HotPath, space: Space, open_writer: OpenWriter, record: Record
) -> None:
    written = threading.Event()
    writer = open_writer(hot, flush_interval=0.05, on_batch=lambda _: written.set())
    record(hot)
    assert written.wait(5)
    writer.flush(5)
    assert space.count("trajectories") == 1


def test_a_ring_that_is_half_full_is_written_at_once(space: Space, open_writer: OpenWriter, record: Record) -> None:
    hot = HotPath(DIM, 10, 1 << 20)
    written = threading.Event()
    open_writer(hot, flush_interval=60, on_batch=lambda _: written.set())
    for _ in range(5):
        record(hot)
    assert written.wait(5)


def test_many_threads_flush_and_each_finds_its_own(
    space: Space, open_writer: OpenWriter, record: Record, hot: HotPath
) -> None:
    writer = open_writer(hot, flush_interval=60)
    missing: list[uuid.UUID] = []

    def run() -> None:
        for _ in range(5):
            recorded = {record(hot) for _ in range(10)}
            writer.flush(10)
            missing.extend(recorded - space.ids())

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert missing == []
    assert space.count("trajectories") == 300
    assert writer.stats().trajectories == 300


def test_flush_says_how_many_wait_when_the_database_is_away(
    hot: HotPath, open_writer: OpenWriter, record: Record, proxy: Proxy, space: Space
) -> None:
    writer = open_writer(hot, url=proxy.url)
    proxy.refuse()
    for _ in range(3):
        record(hot)
    with pytest.raises(DatabaseUnavailable, match=r"3 records are not committed after 0.3 s"):
        writer.flush(0.3)
    proxy.accept()
    writer.flush(10)
    assert space.count("trajectories") == 3
    assert writer.stats().last_error is None


def test_a_full_buffer_refuses_feedback_aloud() -> None:
    hot = HotPath(DIM, 3, 1 << 20)
    for _ in range(3):
        hot.record_feedback(uuid.uuid4(), quality=1.0)
    with pytest.raises(DatabaseUnavailable, match="the buffer is full"):
        hot.record_feedback(uuid.uuid4(), quality=1.0)
    assert (hot.waiting, hot.dropped_count) == (3, 1)


def test_a_caller_that_waits_loses_nothing(open_writer: OpenWriter, record: Record, space: Space) -> None:
    hot = HotPath(DIM, 10, 1 << 20)
    writer = open_writer(hot, flush_interval=60, when_full="wait")
    with ThreadPoolExecutor(4) as threads:
        recorded = list(threads.map(lambda _: record(hot), range(500)))
    writer.flush(10)
    assert hot.dropped_count == 0
    assert space.ids() == set(recorded)


def test_a_caller_that_waits_in_vain_gets_an_error(
    open_writer: OpenWriter, record: Record, proxy: Proxy, space: Space
) -> None:
    hot = HotPath(DIM, 10, 1 << 20)
    writer = open_writer(hot, url=proxy.url, when_full="wait", stall_timeout=0.5)
    proxy.refuse()
    with pytest.raises(DatabaseUnavailable, match="the buffer is full"):
        collections.deque(map(record, [hot] * 50), maxlen=0)
    proxy.accept()
    writer.flush(10)
    assert space.count("trajectories") == hot.recorded_count


def test_a_caller_that_waits_while_the_engine_is_closed_gets_an_error(record: Record) -> None:
    full = HotPath(DIM, 3, 1 << 20)

    def room() -> None:  # the last batch is written, and its writer ends
        full.drain(1, 1)
        full.refuse_records()

    full.attach(room=room)
    for _ in range(3):
        record(full)
    with pytest.raises(TrajectoryError, match="closed"):
        record(full)
    assert full.waiting == 0


def test_a_record_larger_than_the_buffer_is_refused_without_waiting(record: Record) -> None:
    small = HotPath(DIM, 100, 1 << 16)
    small.attach(room=lambda: pytest.fail("waited"))
    with pytest.raises(InvalidValue, match="buffer_bytes"):
        record(small, steps=1000)
    record(small)


def test_candidates_that_keep_coming_do_not_hold_records_up(
    open_writer: OpenWriter, record: Record, hot: HotPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = open_writer(hot, flush_interval=60)
    write, numbers = writer._extras._store_part, iter(range(300))

    def and_one_more(part: Sequence[Extra]) -> Turns[None]:
        yield from write(part)
        if not writer.stats().trajectories and (number := next(numbers, None)) is not None:
            writer.enqueue_candidate_set(number, ["a"])

    monkeypatch.setattr(writer._extras, "_store_part", and_one_more)
    writer.enqueue_candidate_set(-1, ["a"])
    record(hot)
    writer.flush(20)
    assert next(numbers) < 10


def test_candidates_that_cannot_be_stored_take_no_more_memory_than_the_buffer_may(
    open_writer: OpenWriter, hot: HotPath, proxy: Proxy, space: Space
) -> None:
    writer = open_writer(hot, url=proxy.url, stall_timeout=0.3, buffer_bytes=1 << 16)
    proxy.refuse()
    rows = np.ones((400, DIM), np.float32)
    names = [[f"{part}-{row}" for row in range(400)] for part in range(10)]
    taken = [writer.enqueue_candidates(some, rows) for some in names]
    assert (taken[0], taken[-1]) == (True, False)
    with pytest.raises(DatabaseUnavailable, match="these are not stored"):
        writer.enqueue_candidates(names[-1], rows, wait=True)
    proxy.accept()
    for some, was in zip(names, taken, strict=True):
        while not (was or writer.enqueue_candidates(some, rows)):
            writer.flush(10)
    writer.flush(10)
    assert space.count("candidates") == 4000
    assert writer._extras.bytes == 0


def test_a_full_buffer_drops_counts_and_tells_the_fleet(
    open_writer: OpenWriter, record: Record, proxy: Proxy, space: Space
) -> None:
    hot = HotPath(DIM, 10, 1 << 20)
    writer = open_writer(hot, url=proxy.url, flush_interval=60)
    proxy.refuse()
    recorded = [record(hot) for _ in range(50)]
    proxy.accept()
    writer.flush(10)
    assert hot.dropped_count > 0
    assert hot.recorded_count + hot.dropped_count == 50
    assert space.ids() <= set(recorded)
    assert space.count("trajectories") == hot.recorded_count
    record(hot)
    writer.flush(10)
    assert space.rows("SELECT dropped FROM sona.servers") == [(hot.dropped_count,)]
    assert writer.stats().dropped == hot.dropped_count


def test_close_writes_accepted_records_and_refuses_later_ones(
    hot: HotPath, space: Space, open_writer: OpenWriter, record: Record
) -> None:
    writer = open_writer(hot, flush_interval=60)
    left_open = hot.begin_trajectory(np.ones(DIM, np.float32))
    recorded = {record(hot) for _ in range(10)}
    writer.close()
    assert space.ids() == recorded
    for call in (lambda: record(hot), lambda: hot.end_trajectory(left_open)):
        with pytest.raises(TrajectoryError, match="closed"):
            call()
    writer.close()  # a second close does nothing


def test_close_reports_the_records_it_could_not_write(
    hot: HotPath, open_writer: OpenWriter, record: Record, proxy: Proxy, tmp_path: Path
) -> None:
    writer = open_writer(hot, url=proxy.url)
    (tmp_path / "spool").write_text("no folder: not even the disk takes it")
    proxy.refuse()
    for _ in range(4):
        record(hot)
    with pytest.raises(DatabaseUnavailable, match=r"4 records .* they are lost"):
        writer.close(timeout=0.2)


def test_a_learner_that_fails_stops_no_writing(
    hot: HotPath, space: Space, open_writer: OpenWriter, record: Record
) -> None:
    seen: list[EncodedBatch] = []

    def learn(batch: EncodedBatch) -> None:
        seen.append(batch)
        raise ValueError("no idea")

    writer = open_writer(hot, on_batch=learn)
    recorded = record(hot)
    writer.flush(5)
    assert space.ids() == {recorded}
    assert writer.stats().learner_errors == len(seen) == 1


# -- candidates -----------------------------------------------------------------------------------------------


def test_candidates_are_stored_once_with_their_last_embedding(
    hot: HotPath, space: Space, open_writer: OpenWriter
) -> None:
    writer = open_writer(hot)
    embeddings = np.random.default_rng(0).random((4500, DIM)).astype(np.float32)
    ids = [f"candidate-{index}" for index in range(4500)]
    writer.enqueue_candidates(ids, embeddings)
    writer.enqueue_candidates(["candidate-0", "new"], np.full((2, DIM), 0.5))
    writer.enqueue_candidate_set(-9, ids[:3])
    writer.enqueue_candidate_set(-9, ids[:3])
    writer.flush(10)
    assert space.count("candidates") == 4501
    [(stored,)] = space.rows("SELECT embedding::text FROM sona.candidates WHERE candidate_id = 'candidate-0'")
    assert json.loads(stored) == [0.5] * DIM
    assert space.rows("SELECT space_id, set_id, candidate_ids FROM sona.candidate_sets") == [(SPACE, -9, ids[:3])]


def test_candidates_that_cannot_be_stored_are_refused(hot: HotPath, open_writer: OpenWriter) -> None:
    writer = open_writer(hot)
    with pytest.raises(DimensionMismatch):
        writer.enqueue_candidates(["a"], np.zeros((1, DIM + 1)))
    with pytest.raises(InvalidValue, match="shape"):
        writer.enqueue_candidates(["a", "b"], np.zeros((1, DIM)))
    with pytest.raises(InvalidValue, match="finite"):
        writer.enqueue_candidates(["a"], np.full((1, DIM), np.nan))
    with pytest.raises(InvalidValue, match="id"):
        writer.enqueue_candidates([""], np.zeros((1, DIM)))


# -- rows that Postgres refuses -------------------------------------------------------------------------------


def test_poison_rows_are_set_aside_and_the_rest_commits(
    hot: HotPath, space: Space, open_writer: OpenWriter, record: Record, tmp_path: Path
) -> None:
    space.execute("ALTER TABLE sona.trajectories ADD CHECK (route <> 'poison')")
    space.execute("ALTER TABLE sona.feedback ADD CHECK (source <> 'poison')")
    writer = open_writer(hot, flush_interval=60)
    good = [record(hot, steps=2, route="fine") for _ in range(40)]
    bad = [record(hot, steps=1, route="poison")]
    good += [record(hot) for _ in range(40)]
    bad += [record(hot, route="poison")]
    hot.record_feedback(good[0], quality=0.5, source="poison")
    hot.record_feedback(good[0], quality=0.5, source="user")
    writer.flush(10)
    assert space.ids() == set(good)
    assert (space.count("steps"), space.count("feedback")) == (80, 1)
    assert space.rows("SELECT trajectories, steps, feedback FROM sona.batches") == [(80, 80, 1)]
    assert space.rows("SELECT trajectories, feedback FROM sona.servers") == [(80, 1)]
    assert writer.stats().rejected == 3
    [file] = (tmp_path / "rejected" / str(SPACE)).iterdir()
    kept = [json.loads(line) for line in file.read_text().splitlines()]
    assert {(row["kind"], row["trajectory_id"]) for row in kept} == {
        ("trajectory", str(bad[0])),
        ("trajectory", str(bad[1])),
        ("feedback", str(good[0])),
    }
    assert all(row["reason"].startswith("23514") for row in kept)
    assert all(row["rows"] for row in kept)


def test_a_batch_of_refused_rows_alone_blocks_no_other(
    hot: HotPath, space: Space, open_writer: OpenWriter, record: Record
) -> None:
    space.execute("ALTER TABLE sona.trajectories ADD CHECK (route <> 'poison')")
    writer = open_writer(hot, flush_interval=60)
    for _ in range(5):
        record(hot, route="poison")
    writer.flush(10)
    recorded = record(hot)
    writer.flush(10)
    assert space.ids() == {recorded}
    assert writer.stats().rejected == 5


# -- feedback -------------------------------------------------------------------------------------------------
