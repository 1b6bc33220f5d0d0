"""A statement_timeout that a whole batch never meets: it is written in parts that do."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import numpy as np
import pytest
from fix_ingest import DIM, Space
from fix_proxy import Proxy
from sqlalchemy import make_url

from sona_pg.ingest import Writer, delivery
from sona_pg.recorder import HotPath

OpenWriter = Callable[..., Writer]
Record = Callable[..., uuid.UUID]

SLOW = """
CREATE FUNCTION sona.test_slow() RETURNS trigger LANGUAGE plpgsql AS
$$BEGIN PERFORM pg_sleep(0.002); RETURN NEW; END$$
"""


def make_slow(space: Space, table: str) -> str:
    """Let each row take two milliseconds; return a URL with a timeout that 200 rows and more exceed."""
    space.execute(SLOW)
    space.execute(f"CREATE TRIGGER slow BEFORE INSERT ON sona.{table} FOR EACH ROW EXECUTE FUNCTION sona.test_slow()")
    limited = make_url(space.url).update_query_dict({"options": "-c statement_timeout=400"})
    return limited.render_as_string(hide_password=False)


@pytest.mark.parametrize("durability", ["memory", "spool"])
def test_a_batch_that_never_fits_is_written_in_parts(
    space: Space, open_writer: OpenWriter, record: Record, hot: HotPath, durability: str
) -> None:
    writer = open_writer(hot, url=make_slow(space, "trajectories"), flush_interval=60, durability=durability)
    recorded = {record(hot, steps=1) for _ in range(500)}
    for name in list(recorded)[:5]:
        hot.record_feedback(name, quality=0.5)
    writer.flush(30)
    assert space.ids() == recorded
    assert (space.count("steps"), space.count("feedback")) == (500, 5)
    [(batches, marked, told)] = space.rows("SELECT count(*), sum(trajectories), sum(feedback) FROM sona.batches")
    assert (marked, told) == (500, 5)
    assert batches > 2
    assert space.rows("SELECT count(*) FROM sona.trajectories JOIN sona.batches USING (space_id, batch)") == [(500,)]
    spans = "SELECT count(*) FROM sona.trajectories t JOIN sona.batches b USING (space_id, batch)"
    assert space.rows(f"{spans} WHERE t.id BETWEEN b.first_id AND b.last_id") == [(500,)]
    assert space.rows("SELECT trajectories, feedback FROM sona.servers") == [(500, 5)]
    stats = writer.stats()
    assert (stats.trajectories, stats.steps, stats.feedback, stats.retries) == (500, 500, 5, 0)


def test_the_size_that_fits_is_remembered_and_grows_again(
    space: Space, open_writer: OpenWriter, record: Record, hot: HotPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "GROW_AFTER", 2)
    writer = open_writer(hot, url=make_slow(space, "trajectories"), flush_interval=60)
    for _ in range(300):
        record(hot)
    writer.flush(30)
    assert writer._delivery._fits is not None
    space.execute("DROP TRIGGER slow ON sona.trajectories")
    for _ in range(10):
        for _ in range(900):
            record(hot)
        writer.flush(30)
    assert writer._delivery._fits is None or writer._delivery._fits >= 900
    assert space.count("trajectories") == 9300


def test_candidates_that_do_not_fit_are_written_in_parts(space: Space, open_writer: OpenWriter, hot: HotPath) -> None:
    writer = open_writer(hot, url=make_slow(space, "candidates"))
    writer.enqueue_candidates([f"c{row}" for row in range(400)], np.ones((400, DIM), np.float32))
    writer.flush(30)
    assert space.count("candidates") == 400
    assert writer.stats().rejected == 0


HANGS = """
CREATE FUNCTION sona.test_hangs() RETURNS trigger LANGUAGE plpgsql AS
$$BEGIN IF (SELECT count(*) FROM added) > 30 THEN PERFORM pg_sleep(600); END IF; RETURN NULL; END$$;
CREATE TRIGGER hangs AFTER INSERT ON sona.{} REFERENCING NEW TABLE AS added
FOR EACH STATEMENT EXECUTE FUNCTION sona.test_hangs()
"""


def test_a_batch_that_takes_longer_than_the_writer_waits_is_written_in_parts(
    space: Space, open_writer: OpenWriter, record: Record, hot: HotPath, caplog: pytest.LogCaptureFixture
) -> None:
    """No statement_timeout ends it: its connection counts as dead, and the same batch was sent again for ever."""
    space.execute(HANGS.format("trajectories"))
    writer = open_writer(hot, flush_interval=60, stall_timeout=0.5)
    recorded = {record(hot, steps=1) for _ in range(100)}
    for name in list(recorded)[:5]:
        hot.record_feedback(name, quality=0.5)
    writer.flush(60)
    assert space.ids() == recorded
    assert (space.count("steps"), space.count("feedback")) == (100, 5)
    assert space.rows("SELECT trajectories, feedback FROM sona.servers") == [(100, 5)]
    assert [line for line in caplog.messages if "they are written in smaller parts" in line]


def test_candidates_that_take_longer_than_the_writer_waits_are_written_in_parts(
    space: Space, open_writer: OpenWriter, hot: HotPath
) -> None:
    space.execute(HANGS.format("candidates"))
    writer = open_writer(hot, stall_timeout=0.5)
    writer.enqueue_candidates([f"c{row}" for row in range(100)], np.ones((100, DIM), np.float32))
    writer.flush(60)
    assert space.count("candidates") == 100
    assert writer.stats().rejected == 0


def test_an_overdue_batch_that_was_committed_after_all_is_not_written_again(
    space: Space, open_writer: OpenWriter, record: Record, hot: HotPath, proxy: Proxy
) -> None:
    writer = open_writer(hot, url=proxy.url, flush_interval=60, stall_timeout=0.5)
    recorded = {record(hot) for _ in range(10)}
    for name in recorded:
        hot.record_feedback(name, quality=0.5)
    proxy.mute_after(b"COMMIT")
    writer.flush(60)
    assert space.ids() == recorded
    assert space.count("feedback") == 10
    assert space.rows("SELECT count(*) FROM sona.batches") == [(1,)]
    assert space.rows("SELECT trajectories, feedback FROM sona.servers") == [(10, 10)]


def test_transactions_that_take_seconds_are_halved_before_anything_ends_them(
    space: Space, open_writer: OpenWriter, record: Record, hot: HotPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "SLOW", 0.1)
    make_slow(space, "trajectories")
    writer = open_writer(hot, flush_interval=60)
    for _ in range(2):
        for _ in range(200):
            record(hot)
        writer.flush(30)
    sizes = space.rows("SELECT trajectories FROM sona.batches ORDER BY batch")
    assert sizes[0] == (200,)
    assert max(sizes[1:]) <= (100,)
    assert space.count("trajectories") == 400
