"""Maintenance: partitions ahead and put right, sealing, and all of it beside recorders and one another."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

import numpy as np
import psycopg
import pytest
from fix_ledger import MONDAY, NOW, POLICY, Ledger, maintain, of, weeks_ago

from sona_pg.config import MaintenanceConfig
from sona_pg.domain.ids import uuid7
from sona_pg.domain.upkeep import MaintenanceAction
from sona_pg.store.admin import upkeep_turns
from sona_pg.store.admin.maintenance import Maintenance
from sona_pg.store.admin.weeks import Week, id_floor

pytestmark = pytest.mark.every_server

DIM = 8
ROWS = np.random.default_rng(0).standard_normal((50, DIM)).astype(np.float32)


def test_partitions_are_made_ahead_once(ledger: Ledger) -> None:
    made = of(maintain(ledger), "made")
    assert len(made) == 3 * 6  # the last week, this one, and four ahead
    assert "trajectories_w20261214" in made
    assert maintain(ledger) == []


def test_a_run_that_ends_well_is_noted_and_one_that_is_cancelled_is_not(ledger: Ledger) -> None:
    ledger.execute("UPDATE sona.schema_revision SET maintained_at = %s", weeks_ago(3))
    noted = "SELECT maintained_at > now() - interval '1 day' FROM sona.schema_revision"
    cancelled = Maintenance(ledger.database.engine, POLICY)
    runs = cancelled.run()
    next(runs)
    cancelled.cancel()
    list(runs)
    assert ledger.rows(noted) == [(False,)]
    maintain(ledger)
    assert ledger.rows(noted) == [(True,)]


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
    monkeypatch.setattr(upkeep_turns, "ATTEMPTS", 2)
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


# -- ids that callers supply --------------------------------------------------------------------------------


# -- bounds -------------------------------------------------------------------------------------------------
