"""One record that never meets the time limits: the others are stored, and it is tried again."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from fix_ingest import Space
from sqlalchemy import make_url

from sona_pg.errors import DatabaseUnavailable
from sona_pg.ingest import Writer, postponed, rotation
from sona_pg.ingest.own_worker import OwnWorkers
from sona_pg.recorder import HotPath

OpenWriter = Callable[..., Writer]
Record = Callable[..., uuid.UUID]

SLOW = """
CREATE FUNCTION sona.test_slow() RETURNS trigger LANGUAGE plpgsql AS
$$BEGIN IF NEW.route = 'slow' THEN PERFORM pg_sleep(600); END IF; RETURN NEW; END$$;
CREATE TRIGGER slow BEFORE INSERT ON sona.trajectories FOR EACH ROW EXECUTE FUNCTION sona.test_slow()
"""


@pytest.fixture
def limited(space: Space, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let the records of one route exceed the time limit of the URL returned; they are tried again soon."""
    monkeypatch.setattr(postponed, "FIRST_PAUSE", 0.1)
    monkeypatch.setattr(postponed, "LONGEST_PAUSE", 0.2)
    monkeypatch.setattr(rotation, "CHORES_EVERY", 0.05)
    space.execute(SLOW)
    url = make_url(space.url).update_query_dict({"options": "-c statement_timeout=300"})
    return url.render_as_string(hide_password=False)


def wait_for_the_others(writer: Writer, waiting: int = 1) -> None:
    """Return when all records but the slow ones are committed."""
    progress = writer._progress
    with progress.changed:
        source = writer._source
        assert progress.changed.wait_for(lambda: progress.done == source.recorded and writer.waiting == waiting, 60)


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


def test_with_sync_its_caller_is_told_and_others_are_confirmed(
    space: Space, open_writer: OpenWriter, record: Record, hot: HotPath, limited: str
) -> None:
    writer = open_writer(hot, url=limited, durability="sync")
    with pytest.raises(DatabaseUnavailable, match="the record took too long"):
        record(hot, route="slow")
    confirmed = record(hot)
    assert space.ids() == {confirmed}
    space.execute("DROP TRIGGER slow ON sona.trajectories")
    writer.flush(60)
    assert space.count("trajectories") == 2


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
