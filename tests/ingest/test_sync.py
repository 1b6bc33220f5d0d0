"""Durability `sync`: when a call returns, its record is committed."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable

import numpy as np
import pytest
from fix_ingest import DIM, Space
from fix_proxy import Proxy

from sona_pg.errors import DatabaseError, DatabaseUnavailable
from sona_pg.ingest import Writer
from sona_pg.recorder import HotPath

OpenWriter = Callable[..., Writer]
Record = Callable[..., uuid.UUID]


def test_a_record_is_committed_when_the_call_returns(
    hot: HotPath, space: Space, open_writer: OpenWriter, record: Record
) -> None:
    open_writer(hot, durability="sync", flush_interval=60)
    for index in range(5):
        assert record(hot, steps=1) in space.ids()
        hot.record_feedback(uuid.uuid4(), quality=0.5)
        assert space.count("feedback") == index + 1


def test_threads_share_commits(hot: HotPath, space: Space, open_writer: OpenWriter, record: Record) -> None:
    writer = open_writer(hot, durability="sync")
    threads = [threading.Thread(target=lambda: [record(hot) for _ in range(25)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert space.count("trajectories") == 200
    assert writer.stats().batches < 200


def test_without_the_database_the_call_raises_and_the_record_still_arrives(
    hot: HotPath, space: Space, open_writer: OpenWriter, record: Record, proxy: Proxy
) -> None:
    writer = open_writer(hot, url=proxy.url, durability="sync", stall_timeout=0.5)
    proxy.refuse()
    trajectory = hot.begin_trajectory(np.ones(DIM, np.float32))
    with pytest.raises(DatabaseUnavailable, match=r"not committed after 0.5 s"):
        hot.end_trajectory(trajectory)
    assert trajectory.ended
    proxy.accept()
    writer.flush(10)
    assert space.ids() == {trajectory.id}


def test_a_full_buffer_is_an_error_and_the_handle_stays_open(
    space: Space, open_writer: OpenWriter, proxy: Proxy
) -> None:
    hot = HotPath(DIM, 1, 1 << 20)
    writer = open_writer(hot, url=proxy.url, durability="sync", stall_timeout=0.3, flush_interval=60)
    proxy.refuse()
    accepted, refused = 0, None
    for _ in range(3):  # one waits to be written, one is in the ring
        trajectory = hot.begin_trajectory(np.ones(DIM, np.float32))
        try:
            hot.end_trajectory(trajectory)
        except DatabaseUnavailable as exc:
            if "buffer is full" in str(exc):
                refused = trajectory
                break
            accepted += 1
    assert refused is not None
    assert not refused.ended
    proxy.accept()
    writer.flush(10)
    hot.end_trajectory(refused)
    assert space.count("trajectories") == accepted + 1


def test_a_record_that_postgres_refuses_raises_for_its_own_caller_only(
    hot: HotPath, space: Space, open_writer: OpenWriter, record: Record
) -> None:
    space.execute("ALTER TABLE sona.trajectories ADD CHECK (route <> 'poison')")
    open_writer(hot, durability="sync")
    errors: list[Exception] = []

    def poison() -> None:
        try:
            record(hot, route="poison")
        except DatabaseError as exc:
            errors.append(exc)

    threads = [threading.Thread(target=poison), *(threading.Thread(target=record, args=[hot]) for _ in range(5))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(errors) == 1
    assert "23514" in str(errors[0])
    assert space.count("trajectories") == 5


def test_the_cut_link_of_a_commit_is_invisible_to_the_caller(
    hot: HotPath, space: Space, open_writer: OpenWriter, record: Record, proxy: Proxy
) -> None:
    open_writer(hot, url=proxy.url, durability="sync")
    for turn in range(6):
        (proxy.cut_after if turn % 2 else proxy.cut_before)(b"COMMIT")
        assert record(hot) in space.ids()
    assert space.count("trajectories") == 6
