"""Retention: what is dropped when, and what is kept until it is learned."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from uuid import UUID

import numpy as np
import pytest
from fix_ledger import NOW, Ledger, maintain, of, weeks_ago

from sona_pg.config import MaintenanceConfig
from sona_pg.domain.ids import uuid7
from sona_pg.domain.space import Space
from sona_pg.store.admin import maintenance
from sona_pg.store.admin.maintenance import Maintenance
from sona_pg.store.admin.weeks import id_floor

pytestmark = pytest.mark.every_server

DIM = 8
ROWS = np.random.default_rng(0).standard_normal((50, DIM)).astype(np.float32)


ODD = {
    "zero": UUID(int=0),
    "1970": uuid7(1000),
    "far": uuid7(int(datetime(9000, 1, 1, tzinfo=UTC).timestamp() * 1000)),
    "last": UUID(int=2**128 - 1),
    "random": UUID("7d444840-9dc0-41d1-b245-5ffdce74fad2"),
}


def record(ledger: Ledger, space: Space, batch: int, at: datetime, *, learned: bool = False) -> list[UUID]:
    """Store a batch as a server does: its mark, five trajectories, and feedback on the first."""
    ids = ledger.fill(space, ROWS[:5], at, batch=batch)
    ledger.execute(
        "INSERT INTO sona.feedback (space_id, quality, trajectory_id, sequence, batch, recorded_at, source)"
        " VALUES (%s, 1, %s, 1, %s, %s, 'user')", space.space_id, ids[0], batch, at,
    )  # fmt: skip
    ledger.execute(
        "INSERT INTO sona.batches"
        " (space_id, batch, server_id, first_id, last_id, trajectories, steps, feedback, recorded_at, cycle_id)"
        " VALUES (%s, %s, gen_random_uuid(), %s, %s, 5, 0, 1, %s, %s)",
        space.space_id, batch, ids[0], ids[-1], at, uuid7() if learned else None,
    )  # fmt: skip
    return ids


def learn_all(ledger: Ledger) -> None:
    ledger.execute("UPDATE sona.batches SET cycle_id = %s WHERE cycle_id IS NULL", uuid7())


def stored(ledger: Ledger, table: str = "trajectories") -> int:
    return ledger.rows(f"SELECT count(*) FROM sona.{table}")[0][0]


def test_a_server_whose_clock_is_a_year_ahead_drops_nothing(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    space = ledger.space("kept", DIM)
    at = ledger.rows("SELECT clock_timestamp() - interval '2 weeks'")[0][0]
    ledger.ensure(at)
    record(ledger, space, 1, at, learned=True)

    class Ahead(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Ahead:
            return super().now(tz) + timedelta(days=366)

    monkeypatch.setattr(maintenance, "datetime", Ahead)
    done = list(ledger.database.maintenance(MaintenanceConfig(keep_weeks=8)).run())
    assert of(done, "dropped") == []
    assert stored(ledger) == 5
    assert max(name for name in of(done, "made") if name.startswith("steps")) < f"steps_w{at + timedelta(60):%Y%m%d}"


def test_a_week_with_unlearned_facts_is_kept_and_reported(ledger: Ledger) -> None:
    space = ledger.space("waiting", DIM)
    for ago in (9, 10):
        ledger.ensure(weeks_ago(ago))
    record(ledger, space, 1, weeks_ago(10), learned=True)
    record(ledger, space, 2, weeks_ago(9))
    policy = MaintenanceConfig(keep_weeks=4)
    done = maintain(ledger, policy)
    assert of(done, "dropped") == [f"{parent}_w20260907" for parent in ("trajectories", "steps", "feedback")]
    kept = [(thing.subject, thing.detail) for thing in done if thing.action == "kept"]
    assert kept == [
        (f"{parent}_w20260914", "6 facts not learned from") for parent in ("trajectories", "steps", "feedback")
    ]
    assert stored(ledger) == 5
    learn_all(ledger)
    assert len(of(maintain(ledger, policy), "dropped")) == 3
    assert stored(ledger) == stored(ledger, "feedback") == 0


def test_feedback_that_came_since_keeps_its_trajectory_until_it_is_learned(ledger: Ledger) -> None:
    space = ledger.space("revised", DIM)
    ledger.ensure(weeks_ago(9))
    ids = [
        *record(ledger, space, 1, weeks_ago(9), learned=True),
        *record(ledger, space, 2, weeks_ago(30), learned=True),
    ]
    ledger.execute("INSERT INTO sona.batches (space_id, batch, server_id, trajectories, steps, feedback, recorded_at)"
                   " VALUES (%s, 3, gen_random_uuid(), 0, 0, 2, %s)", space.space_id, NOW)  # fmt: skip
    for id_ in (ids[0], ids[5]):  # of a week, and of the default partition
        ledger.execute(
            "INSERT INTO sona.feedback (space_id, quality, trajectory_id, sequence, batch, recorded_at, source)"
            " VALUES (%s, 0, %s, 9, 3, %s, 'user')", space.space_id, id_, NOW,
        )  # fmt: skip
    maintain(ledger, MaintenanceConfig(keep_weeks=4))
    assert stored(ledger) == 6  # the other four of the default partition are gone
    learn_all(ledger)
    maintain(ledger, MaintenanceConfig(keep_weeks=4))
    assert stored(ledger) == stored(ledger, "feedback") == 0


def test_unlearned_facts_are_dropped_on_request(ledger: Ledger) -> None:
    space = ledger.space("unwanted", DIM)
    ledger.ensure(weeks_ago(9))
    record(ledger, space, 1, weeks_ago(9))
    record(ledger, space, 2, weeks_ago(30))
    done = maintain(ledger, MaintenanceConfig(keep_weeks=4, drop_unlearned=True))
    assert len(of(done, "dropped")) == 3
    assert stored(ledger) == stored(ledger, "feedback") == 0


def say(ledger: Ledger, space: Space, id_: UUID, at: datetime, batch: int = 1, sequence: int = 1) -> None:
    ledger.execute(
        "INSERT INTO sona.feedback (space_id, quality, trajectory_id, sequence, batch, recorded_at, source)"
        " VALUES (%s, 1, %s, %s, %s, %s, 'user')", space.space_id, id_, sequence, batch, at,
    )  # fmt: skip


def test_feedback_on_ids_that_tell_no_time_rests_and_is_given_up_in_the_end(ledger: Ledger) -> None:
    space = ledger.space("odd", DIM)
    maintain(ledger)
    for id_ in ODD.values():
        say(ledger, space, id_, NOW)
    assert maintain(ledger, MaintenanceConfig(keep_weeks=4)) == []
    assert stored(ledger, "feedback_rest") == stored(ledger, "waiting_feedback") == len(ODD)
    run = Maintenance(ledger.database.engine, MaintenanceConfig(keep_waiting_weeks=2), lambda: NOW + timedelta(weeks=3))
    given_up = [thing.detail for thing in run.run() if thing.action == "gave up"]
    assert given_up == ["5 facts of feedback, 2 weeks old, whose trajectory never came"]
    assert ledger.rows("SELECT given_up_feedback FROM sona.spaces") == [(5,)]
    assert stored(ledger, "feedback") == 0


def test_feedback_in_an_old_week_whose_trajectory_never_came_is_given_up_as_well(ledger: Ledger) -> None:
    space = ledger.space("week", DIM)
    ledger.ensure(weeks_ago(20))
    came = ledger.fill(space, ROWS[:1], weeks_ago(20))
    for id_ in (came[0], uuid7(int(weeks_ago(20).timestamp() * 1000))):
        say(ledger, space, id_, weeks_ago(20))
    assert of(maintain(ledger), "gave up") == [f"space {space.space_id}"]
    assert ledger.rows("SELECT trajectory_id FROM sona.feedback") == [(came[0],)]


def test_a_trajectory_that_comes_with_an_odd_id_keeps_its_feedback(ledger: Ledger) -> None:
    space = ledger.space("late", DIM)
    for batch, id_ in enumerate(ODD.values()):
        say(ledger, space, id_, weeks_ago(50), batch)
        ledger.execute(
            "INSERT INTO sona.trajectories (space_id, id, batch, step_count, embedding)"
            " VALUES (%s, %s, %s, 0, '[1,0,0,0,0,0,0,0]')", space.space_id, id_, batch,
        )  # fmt: skip
    assert of(maintain(ledger), "gave up") == []
    assert stored(ledger, "feedback") == len(ODD)
    maintain(ledger, MaintenanceConfig(keep_weeks=4))  # none of their batches is that young
    assert stored(ledger, "feedback") == stored(ledger) == 0


def test_a_few_rows_of_the_distant_past_get_no_partitions_and_many_of_one_week_do(ledger: Ledger) -> None:
    space = ledger.space("past", DIM)
    maintain(ledger)
    before = ledger.partitions()
    for number in range(300):
        say(ledger, space, uuid7(int(weeks_ago(20 + number).timestamp() * 1000)), NOW)
    assert maintain(ledger) == []
    assert ledger.partitions() == before
    ledger.fill(space, np.tile(ROWS, (20, 1)), weeks_ago(100))
    ledger.fill(space, np.tile(ROWS, (20, 1)), datetime(2003, 1, 8, tzinfo=UTC))  # before there were such ids
    assert set(of(maintain(ledger), "moved")) == {"trajectories_w20241216", "feedback_w20241216"}
    assert maintain(ledger) == []


def test_a_time_that_no_id_can_tell_gives_the_first_or_the_last(ledger: Ledger) -> None:
    for at in (datetime(1969, 12, 29, tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)):
        assert ledger.rows("SELECT sona.uuid_floor(%s)", at) == [(id_floor(at),)]
    assert ledger.rows("SELECT sona.uuid_floor('infinity')") == [(UUID("ffffffff-ffff-0000-0000-000000000000"),)]
    ledger.ensure(datetime(1970, 1, 1, tzinfo=UTC))  # its week begins in 1969


def cycle(ledger: Ledger, space: Space, at: datetime, error: str | None = None) -> UUID:
    id_ = uuid7()
    ledger.execute(
        "INSERT INTO sona.cycles (space_id, cycle_id, loop, server_id, base_version, version, started_at, finished_at,"
        " trajectories, feedback, set_aside, patterns, error)"
        " VALUES (%s, %s, 'background', gen_random_uuid(), 0, 0, %s, %s, 5, 1, 0, 0, %s)",
        space.space_id, id_, at, at, error,
    )  # fmt: skip
    return id_


def test_cycles_go_with_the_batches_they_learned_from_and_their_facts_are_still_counted(ledger: Ledger) -> None:
    space = ledger.space("cycles", DIM)
    ledger.ensure(weeks_ago(5))
    old, held, versioned, young = (cycle(ledger, space, weeks_ago(ago)) for ago in (30, 30, 30, 1))
    failed = [cycle(ledger, space, weeks_ago(ago), "no memory") for ago in (5, 1)]
    record(ledger, space, 1, weeks_ago(5))
    ledger.execute("UPDATE sona.batches SET cycle_id = %s", held)
    ledger.execute(
        "INSERT INTO sona.state_versions (space_id, version, parent, cycle_id, status, created_at)"
        " VALUES (%s, 1, 0, %s, 'live', %s)", space.space_id, versioned, NOW,
    )  # fmt: skip
    counted = ledger.database.schedule(space, "background")
    assert "2 cycles" in [thing.detail for thing in maintain(ledger)]
    left = {id_ for (id_,) in ledger.rows("SELECT cycle_id FROM sona.cycles")}
    assert left == {held, versioned, young, failed[1]}
    assert old not in left
    left_of_it = ledger.database.schedule(space, "background")
    assert (left_of_it.waiting, left_of_it.learned) == (counted.waiting, counted.learned) == (0, 36)


def test_sets_that_no_kept_trajectory_names_are_forgotten(ledger: Ledger) -> None:
    space = ledger.space("sets", DIM)
    ids = ledger.fill(space, ROWS[:1], weeks_ago(1))
    ledger.execute("UPDATE sona.trajectories SET candidate_set = 2 WHERE id = %s", ids[0])
    for number, ago in enumerate((9, 9, 1), start=1):
        ledger.execute("INSERT INTO sona.candidate_sets (space_id, set_id, candidate_ids, named_at)"
                       " VALUES (%s, %s, '{a}', %s)", space.space_id, number, weeks_ago(ago))  # fmt: skip
    assert "1 sets of candidates" in [thing.detail for thing in maintain(ledger, MaintenanceConfig(keep_weeks=5))]
    assert ledger.rows("SELECT set_id, named_at FROM sona.candidate_sets ORDER BY 1") == [(2, NOW), (3, weeks_ago(1))]


def test_rows_of_a_space_that_was_removed_go_and_those_of_one_being_restored_stay(ledger: Ledger) -> None:
    space = ledger.space("removed", DIM)
    record(ledger, space, 1, weeks_ago(2), learned=True)
    ledger.execute("DELETE FROM sona.spaces")
    assert of(maintain(ledger), "deleted") == []  # its name is still taken
    ledger.execute("DELETE FROM sona.space_names")
    ledger.execute("INSERT INTO sona.candidate_sets (space_id, set_id, candidate_ids) VALUES (700, 1, '{a}')")
    assert set(of(maintain(ledger), "deleted")) == {"trajectories", "feedback", "batches"}
    assert stored(ledger) == stored(ledger, "batches") == 0
    assert stored(ledger, "candidate_sets") == 1  # this database has never given that number
