"""Connections that break at any point: no row is missing, none is stored twice."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
import uuid
from collections.abc import Callable

import psycopg
import pytest
from fix_ingest import Space
from fix_proxy import Proxy

from sona_pg.ingest import Writer, commit, statements
from sona_pg.recorder import HotPath

OpenWriter = Callable[..., Writer]
Record = Callable[..., uuid.UUID]


def assert_exactly(space: Space, recorded: set[uuid.UUID], steps: int = 0, feedback: int = 0) -> None:
    assert space.ids() == recorded
    assert (space.count("trajectories"), space.count("steps"), space.count("feedback")) == (
        len(recorded),
        steps,
        feedback,
    )
    [marked] = space.rows("SELECT sum(trajectories), sum(steps), sum(feedback) FROM sona.batches")
    assert marked == (len(recorded), steps, feedback)
    assert space.rows("SELECT trajectories, feedback FROM sona.servers") == [(len(recorded), feedback)]
    unmarked = (
        "SELECT count(*) FROM sona.trajectories LEFT JOIN sona.batches USING (space_id, batch) WHERE server_id IS NULL"
    )
    assert space.rows(unmarked) == [(0,)]


PATTERNS = [
    b"INSERT INTO sona.batches",
    b"COPY sona.trajectories",
    b"COPY sona.steps",
    b"COPY sona.feedback",
    b"COMMIT",
]


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("how", ["cut_before", "cut_after"])
def test_a_link_that_is_cut_in_a_transaction(
    hot: HotPath, space: Space, open_writer: OpenWriter, record: Record, proxy: Proxy, pattern: bytes, how: str
) -> None:
    writer = open_writer(hot, url=proxy.url, flush_interval=60)
    recorded = {record(hot, steps=2) for _ in range(30)}
    hot.record_feedback(next(iter(recorded)), quality=0.5)
    getattr(proxy, how)(pattern)
    writer.flush(15)
    assert_exactly(space, recorded, steps=60, feedback=1)
    assert writer.stats().retries == 1
    recorded.add(record(hot))
    writer.flush(15)
    assert_exactly(space, recorded, steps=60, feedback=1)


def test_a_link_that_is_cut_at_every_commit_for_a_while(
    hot: HotPath, space: Space, open_writer: OpenWriter, record: Record, proxy: Proxy
) -> None:
    writer = open_writer(hot, url=proxy.url)
    recorded: set[uuid.UUID] = set()
    for turn in range(8):
        (proxy.cut_after if turn % 2 else proxy.cut_before)(b"COMMIT")
        recorded |= {record(hot, steps=1) for _ in range(10)}
        writer.flush(15)
    assert_exactly(space, recorded, steps=80)


def test_the_connection_of_a_deaf_server_is_abandoned_and_its_transaction_not_waited_for(
    hot: HotPath, space: Space, open_writer: OpenWriter, record: Record, proxy: Proxy
) -> None:
    """The proxy stops between the rows and COMMIT: the server's side hangs in a transaction that holds the marker."""
    writer = open_writer(hot, url=proxy.url, flush_interval=60, stall_timeout=1.0)
    stalled = threading.Event()

    def stall() -> None:
        proxy.stall()
        stalled.set()

    recorded = {record(hot, steps=1) for _ in range(10)}
    proxy.on(b"COPY sona.steps", stall)
    flushing = threading.Thread(target=writer.flush, args=[20])
    flushing.start()
    assert stalled.wait(5)
    time.sleep(1.5)  # longer than stall_timeout
    proxy.resume()
    flushing.join()
    assert_exactly(space, recorded, steps=10)


@pytest.mark.parametrize("pattern", [b"UPDATE sona.servers", b"COPY sona.trajectories"])
def test_a_backend_that_hangs_with_the_marker_is_ended_by_its_replay(
    hot: HotPath, space: Space, open_writer: OpenWriter, record: Record, proxy: Proxy, pattern: bytes
) -> None:
    """The server never learns that the client is gone: without ending it the replay would wait for the marker's key."""
    writer = open_writer(hot, url=proxy.url, flush_interval=60, stall_timeout=1.0)
    kept: list[socket.socket] = []

    def forget_the_client() -> None:
        """End the client's side of the link and keep the server's side open."""
        [link] = proxy._links
        assert link._server is not None
        kept.append(link._server)
        link._server, other = socket.socketpair()
        other.close()
        link.close()

    recorded = {record(hot) for _ in range(10)}
    proxy.on(pattern, forget_the_client)
    writer.flush(15)
    assert_exactly(space, recorded)
    for server in kept:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def test_backends_that_are_terminated_at_random(
    hot: HotPath, space: Space, open_writer: OpenWriter, record: Record
) -> None:
    writer = open_writer(hot, flush_interval=0.001)
    recorded: set[uuid.UUID] = set()
    ended = threading.Event()

    def monkey() -> None:
        with psycopg.connect(space.url, autocommit=True) as connection:
            while not ended.wait(0.02):
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE application_name LIKE 'sona-pg%' AND datname = current_database()"
                )

    thread = threading.Thread(target=monkey)
    thread.start()
    for _ in range(60):
        recorded |= {record(hot, steps=1) for _ in range(20)} if hot.waiting < 500 else set()
        time.sleep(0.01)
    ended.set()
    thread.join()
    writer.flush(20)
    assert_exactly(space, recorded, steps=len(recorded))
    assert hot.dropped_count == 0


def test_writers_of_many_servers_do_not_disturb_each_other(
    space: Space, open_writer: OpenWriter, record: Record
) -> None:
    hots = [HotPath(16, 1000, 1 << 20) for _ in range(4)]
    writers = [open_writer(hot) for hot in hots]
    recorded: list[set[uuid.UUID]] = [set() for _ in hots]

    def run(index: int) -> None:
        for _ in range(10):
            recorded[index] |= {record(hots[index], steps=1) for _ in range(50)}
            writers[index].enqueue_candidate_set(1, ["a", "b"])
            writers[index].flush(20)

    threads = [threading.Thread(target=run, args=[index]) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert_exactly(space, set().union(*recorded), steps=2000)


def test_every_statement_of_the_writer_names_its_space() -> None:
    single = [statements.MARK, statements.CORRECT_MARK, statements.COUNT, *statements.UNSTAGE.values()]
    assert all("space_id" in query and "%(space)s" in query for query in single)


def test_an_internal_driver_error_on_a_lost_connection_is_retried(
    hot: HotPath,
    space: Space,
    open_writer: OpenWriter,
    record: Record,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Behind PgBouncer a server that dies leaves psycopg 3.3 with two results of one COPY."""
    real, lost = commit.copy_stream, threading.Event()

    def stumble(raw: psycopg.Connection[object], *told: object) -> None:
        if not lost.is_set():
            lost.set()
            with psycopg.connect(space.url) as other:
                other.execute("SELECT pg_terminate_backend(%s, 10000)", [raw.info.backend_pid])
            with contextlib.suppress(psycopg.Error):
                raw.execute("SELECT")
            (_,) = 1, 2
        real(raw, *told)

    monkeypatch.setattr(commit, "copy_stream", stumble)
    writer = open_writer(hot, flush_interval=60)
    with caplog.at_level(logging.WARNING, "sona_pg"):
        recorded = {record(hot)}
        writer.flush(15)
    assert_exactly(space, recorded)
    assert [(entry.exc_info, "link was lost" in entry.message) for entry in caplog.records[:1]] == [(None, True)]
