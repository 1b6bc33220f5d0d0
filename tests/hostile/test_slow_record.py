"""One record that never meets the time limits: the others are stored, and it is tried again."""

from __future__ import annotations

import contextlib
import errno
import os
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import psycopg
import pytest
from fix_ingest import Space
from sqlalchemy import make_url

from sona_pg.errors import DatabaseUnavailable
from sona_pg.ingest import Writer, guessed_clock, kept_batches, postponed, rotation
from sona_pg.ingest.own_worker import OwnWorkers
from sona_pg.ingest.spool_folder import Folder
from sona_pg.recorder import HotPath

OpenWriter = Callable[..., Writer]
Record = Callable[..., uuid.UUID]

FUNCTION = """
CREATE OR REPLACE FUNCTION sona.test_slow() RETURNS trigger LANGUAGE plpgsql AS
$$BEGIN IF NEW.route LIKE 'slow%' THEN PERFORM pg_sleep(600); END IF; RETURN NEW; END$$;
"""
SLOW = f"""
{FUNCTION}
CREATE TRIGGER slow BEFORE INSERT ON sona.trajectories FOR EACH ROW EXECUTE FUNCTION sona.test_slow()
"""


@pytest.fixture
def limited(space: Space, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let the records of one route exceed the time limit of the URL returned; they are tried again soon."""
    monkeypatch.setattr(postponed, "FIRST_PAUSE", 0.1)
    monkeypatch.setattr(postponed, "LONGEST_PAUSE", 0.2)
    monkeypatch.setattr(rotation, "CHORES_EVERY", 0.05)
    space.execute(SLOW)
    return with_timeout(space.url, 300)


def with_timeout(url: str, milliseconds: int) -> str:
    limited = make_url(url).update_query_dict({"options": f"-c statement_timeout={milliseconds}"})
    return limited.render_as_string(hide_password=False)


def wait_until(happened: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.05)


def wait_for_the_others(writer: Writer, waiting: int = 1) -> None:
    """Return when all records but the slow ones are committed."""
    progress = writer._progress
    with progress.changed:
        source = writer._source
        assert progress.changed.wait_for(
            lambda: (
                progress.done == source.recorded and writer.waiting == waiting and not source.left.postponed.on_trial
            ),
            60,
        )


def stored(space: Space) -> tuple[int, int, int]:
    return space.count("trajectories"), space.count("steps"), space.count("feedback")


@pytest.mark.parametrize("durability", ["memory", "spool"])
def test_the_others_are_stored_and_it_comes_when_it_can(
    space: Space, open_writer: OpenWriter, record: Record, hot: HotPath, limited: str, durability: str,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    writer = open_writer(hot, url=limited, durability=durability)
    ids = [record(hot, steps=2, route="slow" if n == 5 else "quick") for n in range(12)]
    for name in ids[4:7]:
        hot.record_feedback(name, quality=0.25)
    wait_for_the_others(writer)
    ids += [record(hot, steps=2) for _ in range(4)]
    wait_for_the_others(writer)
    assert space.ids() == {*ids} - {ids[5]}
    assert stored(space) == (15, 30, 3)
    [line] = [line for line in caplog.messages if "took too long alone" in line]
    assert f"trajectory {ids[5]}" in line
    assert "statement timeout" in line
    with pytest.raises(DatabaseUnavailable, match="1 records are not committed"):
        writer.flush(0.0)

    space.execute("DROP TRIGGER slow ON sona.trajectories")
    writer.flush(60)
    assert space.ids() == {*ids}
    assert stored(space) == (16, 32, 3)
    assert writer.stats().trajectories == 16
    assert space.rows("SELECT trajectories, feedback FROM sona.servers") == [(16, 3)]
    assert space.rows("SELECT sum(trajectories), sum(feedback) FROM sona.batches") == [(16, 3)]


@pytest.mark.parametrize("durability", ["memory", "spool"])
def test_close_leaves_it_to_the_next_process_which_is_not_held_up_either(
    space: Space, open_writer: OpenWriter, record: Record, hot: HotPath, limited: str, durability: str
) -> None:
    writer = open_writer(hot, url=limited, durability=durability)
    ids = {record(hot, steps=1, route="slow"), record(hot, steps=1)}
    wait_for_the_others(writer)
    with pytest.raises(DatabaseUnavailable, match=r"1 records .* the next process"):
        writer.close()

    later = HotPath(hot.dim, 100, 1 << 20)
    following = open_writer(later, url=limited, durability=durability, server_id=uuid.uuid4())
    ids.add(record(later, steps=1))
    wait_for_the_others(following, waiting=0)
    assert stored(space) == (2, 2, 0)
    space.execute("DROP TRIGGER slow ON sona.trajectories")
    with following._progress.changed:
        assert following._progress.changed.wait_for(lambda: following.stats().trajectories == 2, 60)
    following.close()
    assert space.ids() == ids
    assert stored(space) == (3, 3, 0)


def test_records_that_no_file_takes_stay_in_their_batch(
    space: Space, open_writer: OpenWriter, record: Record, hot: HotPath, limited: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postponed, "MOST", 0)
    writer = open_writer(hot, url=limited, flush_interval=60)
    ids = [record(hot, route="slow" if n == 5 else "quick") for n in range(12)]
    while writer.stats().retries < 2:  # the second attempt comes after the others
        with contextlib.suppress(DatabaseUnavailable):
            writer.flush(0.5)
    assert space.ids() == {*ids} - {ids[5]}
    space.execute("DROP TRIGGER slow ON sona.trajectories")
    writer.flush(60)
    assert space.ids() == {*ids}


def test_with_sync_its_caller_is_told_once_others_are_confirmed(
    space: Space, open_writer: OpenWriter, record: Record, hot: HotPath, limited: str
) -> None:
    writer = open_writer(hot, url=limited, durability="sync")
    with ThreadPoolExecutor(1) as thread:
        slow = thread.submit(record, hot, route="slow")
        wait_until(lambda: writer.stats().retries > 0)
        confirmed = record(hot)
        with pytest.raises(DatabaseUnavailable, match="the record took too long"):
            slow.result(30)
    assert space.ids() == {confirmed}
    wait_until(lambda: writer.stats().retries > 4)
    space.execute("DROP TRIGGER slow ON sona.trajectories")
    writer.flush(60)
    assert space.count("trajectories") == 2
    [late] = space.ids() - {confirmed}
    hot.record_feedback(late, quality=0.5)  # it was told of the record put off, also by its later retries
    assert space.count("feedback") == 1


def test_after_a_lock_all_are_stored_at_once_and_none_is_put_off(
    space: Space, open_writer: OpenWriter, record: Record, hot: HotPath, caplog: pytest.LogCaptureFixture
) -> None:
    writer = open_writer(hot, url=with_timeout(space.url, 300))
    record(hot)
    writer.flush(10)
    with psycopg.connect(space.url) as other:
        other.execute("LOCK TABLE sona.trajectories IN ACCESS EXCLUSIVE MODE")
        for n in range(100):
            record(hot)
            if n % 10 == 0:
                time.sleep(1)
    began = time.monotonic()
    writer.flush(60)
    assert time.monotonic() - began < 5  # it took a minute, or five
    assert space.count("trajectories") == 101
    assert writer.waiting == 0
    assert "took too long alone" not in caplog.text


def test_a_record_that_is_quick_again_does_not_wait_behind_an_older_one(
    space: Space, open_writer: OpenWriter, record: Record, hot: HotPath, limited: str
) -> None:
    writer = open_writer(hot, url=limited)
    slow = record(hot, route="slow")
    other = record(hot, route="slow too")
    record(hot)
    wait_for_the_others(writer, waiting=2)
    space.execute(FUNCTION.replace("LIKE 'slow%'", "= 'slow'"))
    wait_until(lambda: other in space.ids())
    assert slow not in space.ids()


def test_many_slow_records_hold_up_no_others(
    space: Space, open_writer: OpenWriter, record: Record, hot: HotPath, limited: str
) -> None:
    writer = open_writer(hot, url=limited, flush_interval=60)
    slow = {record(hot, route="slow") for _ in range(17)}
    quick = {record(hot) for _ in range(5)}
    wait_for_the_others(writer, waiting=17)
    assert space.ids() == quick
    quick.add(record(hot))
    wait_for_the_others(writer, waiting=17)
    writer.flush(10, postponed=False)  # as learning does, which waits for no record that may never be stored
    assert space.ids() == quick
    space.execute("DROP TRIGGER slow ON sona.trajectories")
    writer.flush(60)
    assert space.ids() == slow | quick


def test_lone_slow_records_make_way_for_later_ones(
    space: Space, open_writer: OpenWriter, record: Record, hot: HotPath, limited: str
) -> None:
    writer = open_writer(hot, url=limited)
    for n in range(3):
        record(hot, route="slow")
        wait_until(lambda n=n: writer.stats().retries > 2 * n)
    assert space.count("trajectories") == 0
    quick = record(hot)
    wait_until(lambda: quick in space.ids())
    writer.flush(20, postponed=False)
    with pytest.raises(DatabaseUnavailable, match="3 records are not committed"):
        writer.flush(0.0)


def test_a_record_too_slow_for_the_spaces_own_worker_is_no_part_of_nothing(
    space: Space, open_writer: OpenWriter, record: Record, hot: HotPath, limited: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The size that fits was halved to zero: the record waited behind empty parts for ever."""

    def way(self: OwnWorkers, coordinator: Any, space_id: int) -> Any:
        def lock(raw: Any) -> Any:
            return raw.execute("SELECT true")

        return SimpleNamespace(attempts=coordinator, here=str, lock=lock, require=lambda found: None, node="here")

    monkeypatch.setattr(OwnWorkers, "way", way)
    writer = open_writer(hot, url=limited, flush_interval=60)
    slow = record(hot, route="slow")
    with pytest.raises(DatabaseUnavailable):
        writer.flush(2)
    fits = writer._delivery._fits
    assert fits is None or fits >= 1
    quick = {record(hot) for _ in range(4)}
    space.execute("DROP TRIGGER slow ON sona.trajectories")
    writer.flush(60)
    assert space.ids() == {slow, *quick}


def test_a_file_that_cannot_be_made_leaves_nothing_behind(
    hot: HotPath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk: each attempt left a folder, and a descriptor while the clock was not known."""

    def fail(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "no space left on device")

    before = set(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(guessed_clock, "write_down", fail)
    with pytest.raises(OSError, match="no space"):
        Folder.make(tmp_path / "clock", hot)
    monkeypatch.undo()
    assert [*(tmp_path / "clock").iterdir()] == []

    folder = Folder.make(tmp_path / "batch", hot)
    monkeypatch.setattr(kept_batches.os, "replace", fail)
    hot.record_feedback(uuid.uuid4(), quality=0.5)
    batch = hot.drain(1, 1)
    assert batch is not None
    with pytest.raises(OSError, match="no space"):
        kept_batches.save(folder.path, batch)
    folder.close()
    assert [*(tmp_path / "batch").iterdir()] == []
    assert set(os.listdir("/proc/self/fd")) <= before
