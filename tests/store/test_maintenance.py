"""Maintenance: partitions ahead and put right, sealing, retention, and all of it beside recorders and one another."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from uuid import UUID

import numpy as np
import psycopg
import pytest
from fix_ledger import MONDAY, NOW, Ledger, weeks_ago

from sona_pg.config import MaintenanceConfig
from sona_pg.domain.ids import uuid7
from sona_pg.domain.space import Space
from sona_pg.domain.upkeep import MaintenanceAction
from sona_pg.store.admin import maintenance
from sona_pg.store.admin.maintenance import Maintenance
from sona_pg.store.admin.weeks import Week, id_floor

pytestmark = pytest.mark.every_server

DIM = 8
POLICY = MaintenanceConfig(memory_mb=64)
ROWS = np.random.default_rng(0).standard_normal((50, DIM)).astype(np.float32)


def maintain(ledger: Ledger, policy: MaintenanceConfig = POLICY) -> list[MaintenanceAction]:
    return list(Maintenance(ledger.database.engine, policy, lambda: NOW).run())


def of(done: list[MaintenanceAction], action: str) -> list[str]:
    return [thing.subject for thing in done if thing.action == action]


def test_partitions_are_made_ahead_once(ledger: Ledger) -> None:
    made = of(maintain(ledger), "made")
    assert len(made) == 3 * 6  # the last week, this one, and four ahead
    assert "trajectories_w20261214" in made
    assert maintain(ledger) == []


def test_the_ids_of_a_week_are_those_that_sql_gives_it(ledger: Ledger) -> None:
    for at in (NOW, MONDAY, weeks_ago(30)):
        assert ledger.rows("SELECT sona.uuid_floor(%s)", at) == [(id_floor(at),)]
    assert Week.of(NOW).monday == MONDAY
    assert Week.of(MONDAY - timedelta(milliseconds=1)).end == MONDAY


def test_rows_that_no_partition_took_are_moved_into_their_own(ledger: Ledger) -> None:
    space = ledger.space("late", DIM)
    ids = ledger.fill(space, ROWS, weeks_ago(5))
    ledger.execute(
        "INSERT INTO sona.steps (space_id, trajectory_id, offset_us, ordinal) VALUES (%s, %s, 0, 0)",
        space.space_id, ids[0],
    )  # fmt: skip
    ledger.execute(
        "INSERT INTO sona.feedback (space_id, quality, trajectory_id, sequence, batch, recorded_at, source)"
        " VALUES (%s, 1, %s, 1, 1, %s, 'user'), (%s, 1, gen_random_uuid(), 1, 1, %s, 'user')",
        space.space_id, ids[1], NOW, space.space_id, NOW,
    )  # fmt: skip
    assert ledger.rows("SELECT count(*) FROM sona.trajectories_rest") == [(50,)]
    done = maintain(ledger)
    week = "w20261012"
    assert set(of(done, "moved")) == {f"{parent}_{week}" for parent in ("trajectories", "steps", "feedback")}
    counts = [
        ledger.rows(f"SELECT count(*) FROM sona.{table}")[0][0]
        for table in (f"trajectories_{week}", f"steps_{week}", f"feedback_{week}", "trajectories_rest", "feedback_rest")
    ]
    assert counts == [50, 1, 1, 0, 1]  # an id without a time stays where it is
    assert of(done, "indexed") == [f"trajectories_{week}_d{DIM}_hnsw"]
    assert maintain(ledger) == []


def test_opening_a_space_moves_this_weeks_rows_as_well(ledger: Ledger) -> None:
    space = ledger.space("first", DIM, weeks_ago(20))
    ledger.fill(space, ROWS, NOW)
    ledger.space("second", DIM, NOW)
    assert ledger.rows("SELECT count(*) FROM sona.trajectories_w20261116") == [(50,)]


def test_a_partition_being_written_has_no_hnsw_index(ledger: Ledger) -> None:
    space = ledger.space("hot", DIM)
    for ago in (0, 1):
        ledger.fill(space, ROWS, weeks_ago(ago))
    maintain(ledger, MaintenanceConfig(grace_hours=24 * 6))
    assert ledger.indexes() == {}  # last week's grace is not over
    assert of(maintain(ledger), "indexed") == [f"trajectories_w20261109_d{DIM}_hnsw"]
    assert ledger.indexes() == {f"trajectories_w20261109_d{DIM}_hnsw": True}


def test_each_dimension_of_a_week_gets_one_index_and_a_later_space_is_noted(ledger: Ledger) -> None:
    spaces = [ledger.space(f"of {dim}", dim) for dim in (DIM, 3000, 5000)]
    ledger.ensure(weeks_ago(2))
    rng = np.random.default_rng(1)
    for space in spaces:
        ledger.fill(space, rng.standard_normal((5, space.dim)).astype(np.float32), weeks_ago(2))
    maintain(ledger)
    definitions = [row[0] for row in ledger.rows("SELECT indexdef FROM pg_indexes"
                                                 " WHERE indexname LIKE 'trajectories%%hnsw' ORDER BY 1")]  # fmt: skip
    kinds = [definition.split("USING hnsw ")[1] for definition in definitions]
    assert kinds == [
        "(((embedding)::halfvec(3000)) halfvec_cosine_ops) WHERE (vector_dims(embedding) = 3000)",
        "(((binary_quantize(embedding))::bit(5000)) bit_hamming_ops) WHERE (vector_dims(embedding) = 5000)",
        f"(((embedding)::halfvec({DIM})) halfvec_cosine_ops) WHERE (vector_dims(embedding) = {DIM})",
    ]
    late = ledger.space("late", DIM)
    ledger.fill(late, ROWS, weeks_ago(2))
    assert maintain(ledger) == []
    noted = ledger.rows("SELECT trajectories, indexed FROM sona.sealed_weeks WHERE space_id = %s", late.space_id)
    assert noted == [(50, 55)]


def test_an_index_that_a_crash_left_invalid_is_made_again(ledger: Ledger) -> None:
    space = ledger.space("broken", DIM)
    ledger.ensure(weeks_ago(2))
    ledger.fill(space, ROWS, weeks_ago(2))
    name = f"trajectories_w20261102_d{DIM}_hnsw"
    with psycopg.connect(ledger.url, autocommit=True) as holder, psycopg.connect(ledger.url) as reader:
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT 1")  # its snapshot keeps the build from its end
        holder.execute("SET statement_timeout = '1s'")
        with pytest.raises(psycopg.errors.QueryCanceled):
            holder.execute(
                f"CREATE INDEX CONCURRENTLY {name} ON sona.trajectories_w20261102"
                f" USING hnsw ((embedding::halfvec({DIM})) halfvec_cosine_ops) WHERE vector_dims(embedding) = {DIM}"
            )
    assert ledger.indexes() == {name: False}
    assert of(maintain(ledger), "repaired") == [name]
    assert ledger.indexes() == {name: True}


def test_retention_drops_whole_weeks_together_and_steps_earlier(ledger: Ledger) -> None:
    space = ledger.space("old", DIM)
    for ago in (9, 4, 2):
        ledger.ensure(weeks_ago(ago))
        ledger.fill(space, ROWS, weeks_ago(ago))
    ledger.fill(space, ROWS, weeks_ago(30))  # in the default partition
    maintain(ledger, MaintenanceConfig(memory_mb=64, keep_weeks=8, keep_steps_weeks=3))
    weeks = {parent: ledger.partitions(parent) for parent in ("trajectories", "steps", "feedback")}
    assert [name for name in weeks["trajectories"] if name < "trajectories_w20261109"] == [
        "trajectories_rest", "trajectories_w20261019", "trajectories_w20261102"
    ]  # fmt: skip
    assert [name for name in weeks["steps"] if name < "steps_w20261109"] == ["steps_rest", "steps_w20261102"]
    assert len(weeks["feedback"]) == len(weeks["trajectories"])
    assert ledger.rows("SELECT count(*) FROM sona.trajectories WHERE space_id = %s", space.space_id) == [(100,)]
    assert ledger.rows("SELECT count(*) FROM sona.sealed_weeks") == [(2,)]
    maintain(ledger, MaintenanceConfig(keep_weeks=3))
    assert ledger.rows("SELECT count(*) FROM sona.sealed_weeks") == [(1,)]


def test_nothing_is_dropped_unless_retention_is_asked_for(ledger: Ledger) -> None:
    ledger.ensure(weeks_ago(500))
    maintain(ledger)
    assert "steps_w20170417" in ledger.partitions("steps")


def test_a_long_reader_puts_a_drop_off_and_stalls_no_recorder(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "ATTEMPTS", 2)
    space = ledger.space("read", DIM)
    ledger.ensure(weeks_ago(9))
    maintain(ledger)
    with psycopg.connect(ledger.url) as reader:
        reader.execute("SELECT count(*) FROM sona.trajectories")
        finished = threading.Event()

        def record() -> None:
            for _ in range(20):
                ledger.fill(space, ROWS[:1], NOW)
            finished.set()

        thread = threading.Thread(target=record)
        thread.start()
        done = maintain(ledger, MaintenanceConfig(keep_weeks=4))
        thread.join(10)
        assert finished.is_set()
    assert len(of(done, "later")) == 3
    assert all("next run" in thing.detail for thing in done if thing.action == "later")
    assert len(of(maintain(ledger, MaintenanceConfig(keep_weeks=4)), "dropped")) == 3


def test_learned_batches_older_than_the_ledger_and_old_versions_are_thinned_out(ledger: Ledger) -> None:
    space = ledger.space("thin", DIM)
    for batch, (ago, cycle) in enumerate([(30, uuid7()), (30, None), (5, uuid7()), (1, uuid7())]):
        ledger.execute(
            "INSERT INTO sona.batches"
            " (space_id, batch, server_id, trajectories, steps, feedback, recorded_at, cycle_id)"
            " VALUES (%s, %s, gen_random_uuid(), 1, 0, 0, %s, %s)",
            space.space_id, batch, weeks_ago(ago), cycle,
        )  # fmt: skip
    for version in range(1, 8):
        ledger.execute(
            "INSERT INTO sona.state_versions (space_id, version, parent, cycle_id, status, created_at)"
            " VALUES (%s, %s, %s, gen_random_uuid(), %s, %s)",
            space.space_id, version, version - 1, "live" if version == 2 else "retired", NOW,
        )  # fmt: skip
    ledger.ensure(weeks_ago(6))
    done = maintain(ledger, MaintenanceConfig(keep_versions=3))
    assert ledger.rows("SELECT batch FROM sona.batches ORDER BY batch") == [(1,), (2,), (3,)]
    assert ledger.rows("SELECT version FROM sona.state_versions ORDER BY 1") == [(2,), (5,), (6,), (7,)]
    assert {thing.action for thing in done} >= {"compacted", "pruned"}


def test_two_maintainers_at_once_do_the_work_once(ledger: Ledger) -> None:
    space = ledger.space("shared", DIM)
    for ago in (2, 3, 4):
        ledger.fill(space, ROWS, weeks_ago(ago))
    runs: list[list[MaintenanceAction]] = []
    together(*[lambda: runs.append(maintain(ledger))] * 4)
    done = [thing for run in runs for thing in run]
    assert sorted(of(done, "indexed")) == sorted(ledger.indexes())
    assert all(ledger.indexes().values())
    assert len(ledger.indexes()) == 3
    assert len(of(done, "moved")) == len(set(of(done, "moved"))) == 3


def test_maintenance_beside_recorders_loses_and_doubles_nothing(ledger: Ledger) -> None:
    space = ledger.space("busy", DIM, weeks_ago(20))
    ids: list[list] = []
    over = threading.Event()

    def record(number: int) -> None:
        mine: list = []
        for turn in range(40):
            mine += ledger.fill(space, ROWS[:5], weeks_ago((number + turn) % 6))
        ids.append(mine)

    def keep_up() -> None:
        while not over.is_set():
            maintain(ledger)

    keeper = threading.Thread(target=keep_up)
    keeper.start()
    together(*[lambda number=number: record(number) for number in range(4)])
    over.set()
    keeper.join()
    maintain(ledger)
    told = {id_ for mine in ids for id_ in mine}
    stored = {row[0] for row in ledger.rows("SELECT id FROM sona.trajectories WHERE space_id = %s", space.space_id)}
    assert stored == told
    assert len(told) == 800
    assert ledger.rows("SELECT count(*) FROM sona.trajectories_rest") == [(0,)]


def test_a_cancelled_run_leaves_work_that_the_next_one_finishes(ledger: Ledger) -> None:
    space = ledger.space("cancelled", DIM)
    ledger.fill(space, ROWS, weeks_ago(2))
    run = Maintenance(ledger.database.engine, POLICY, lambda: NOW)
    for thing in run.run():
        assert thing.action in ("moved", "made")
        run.cancel()
    assert ledger.indexes() == {}
    assert len(of(maintain(ledger), "indexed")) == 1


def together(*actions: Callable[[], object]) -> None:
    """Run all at once; the first failure is this thread's."""
    failures: list[BaseException] = []

    def run(action: Callable[[], object]) -> None:
        try:
            action()
        except BaseException as exc:  # noqa: BLE001 - handed to the test's own thread
            failures.append(exc)

    threads = [threading.Thread(target=run, args=[action]) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def test_a_space_opens_while_a_long_reader_keeps_partitions_from_being_made(ledger: Ledger) -> None:
    with psycopg.connect(ledger.url) as reader:
        reader.execute("SELECT count(*) FROM sona.trajectories")
        space = ledger.space("opened", DIM)
    ledger.fill(space, ROWS, NOW)
    assert ledger.rows("SELECT count(*) FROM sona.trajectories_rest") == [(50,)]
    assert "trajectories_w20261116" in of(maintain(ledger), "moved")
    assert ledger.rows("SELECT count(*) FROM sona.trajectories_w20261116") == [(50,)]


# -- clocks, and unlearned facts -------------------------------------------------------------------------


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


# -- ids that callers supply --------------------------------------------------------------------------------

ODD = {
    "zero": UUID(int=0),
    "1970": uuid7(1000),
    "far": uuid7(int(datetime(9000, 1, 1, tzinfo=UTC).timestamp() * 1000)),
    "last": UUID(int=2**128 - 1),
    "random": UUID("7d444840-9dc0-41d1-b245-5ffdce74fad2"),
}


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


# -- bounds -------------------------------------------------------------------------------------------------


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
