"""Kept versions are restored to the bit, and a rebuild still equals the live version."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import psycopg
import pytest
from fix_versions import CONFIG, DAY, DIM, FACTS, NOTHING, Lived, answers, learn_days, record_day, stored_knowledge

from sona_pg import SonaEngine
from sona_pg.config import MaintenanceConfig
from sona_pg.errors import DamagedVersion, LearningConflict, UnknownVersion, VersionConflict, VersionNotKept
from sona_pg.learning.knowledge import Knowledge
from sona_pg.store.admin import migrate
from sona_pg.worker.background import BackgroundLoop
from sona_pg.worker.rebuild import differences

NAMED = {
    1: r"part 'router', array '\w+': 3 bytes are stored, expected \d+ for type '\S+' and shape \(.*sona-pg rebuild",
    2: r"part 'micro adapter': it is missing",
    3: r"part 'router', array '\w+': 8 bytes are stored, expected -\d",
    4: r"part 'router', array '\w+': its type '<x9' is unknown",
}


def patterns_and_rankings(engine: SonaEngine) -> dict:
    """All answers but those of the micro adapter, which loop A moves between versions."""
    return {name: told for name, told in answers(engine).items() if not name.startswith("micro")}


@pytest.fixture
def lived(database_url: str) -> Iterator[Lived]:
    with SonaEngine(DIM, database_url, config=CONFIG) as engine:
        opened = Lived(database_url, engine)
        yield opened
        opened.database.close()


def test_every_kept_version_is_served_again_as_it_was_when_it_was_live(lived: Lived, database_url: str) -> None:
    with SonaEngine(DIM, database_url, config=CONFIG) as server:
        when_live = {}
        for day in range(1, 5):
            learn_days(lived.engine, 1, day)
            assert server.refresh() == day
            when_live[day] = answers(server)
        ((tasks,),) = lived.rows("SELECT max(cardinality(tasks)) FROM sona.version_contents")
        assert tasks > 0  # Fisher information is among what changes
        for day in (2, 1, 4, 3):
            assert server.refresh() != lived.rollback(day)
            server.refresh()
            assert answers(server) == when_live[day]
            assert lived.rebuild().equal


def test_facts_learned_since_become_unlearned_and_reproduce_the_state(lived: Lived) -> None:
    learn_days(lived.engine, 3)
    assert lived.rollback(1) == 4
    assert lived.waiting() == 2 * FACTS
    assert lived.engine.force_learn().trajectories == 2 * DAY
    # As if both days had been learned in one cycle of that number: the ledger gives the same.
    assert lived.engine.version == 5
    assert lived.rebuild().equal
    learn_days(lived.engine, 1, 9)
    assert lived.rebuild().equal


def test_facts_left_out_leave_no_trace(lived: Lived, database_url: str) -> None:
    learn_days(lived.engine, 1)
    record_day(lived.engine, 2)
    handle = lived.engine.begin_trajectory([1.0] * DIM)
    lived.engine.end_trajectory(handle, 1.0)
    lived.engine.force_learn()
    assert lived.rollback(1, keep_facts=False) == 3
    assert lived.waiting() == 0
    assert not lived.engine.force_learn().learned
    lived.engine.feedback(handle, quality=0.0)
    lived.engine.flush()
    with SonaEngine(DIM, database_url, config=CONFIG) as server:
        learn_days(server, 1, 3)
    with SonaEngine(DIM, database_url, "without", config=CONFIG) as never:  # has not heard of day 2
        learn_days(never, 1)
        without = lived.database.find_space("without")
        for version in (0, 1):
            lived.database.versions.rollback(without, never.server_id, version, NOTHING, keep_facts=True)
    with SonaEngine(DIM, database_url, "without", config=CONFIG) as server:
        learn_days(server, 1, 3)
    other = stored_knowledge(lived.database, without, 4)
    left_out = lived.known(4)
    found = differences(left_out, Knowledge(other.state, other.patterns, other.fisher))
    assert set(found) <= {"replay", "routes", "router"}  # ids of the trajectories, and how long each took
    told = [{name: (r.size, r.quality) for name, r in state.routes.items()} for state in (left_out.state, other.state)]
    assert told[0] == told[1]
    assert lived.rebuild().equal


def test_one_can_go_forward_again_and_nothing_is_learned_twice(lived: Lived) -> None:
    learn_days(lived.engine, 3)
    lived.rollback(1)
    lived.engine.refresh()
    assert lived.engine.force_learn().version == 5  # both days in one
    assert lived.rollback(3) == 6  # as without the rollback
    assert lived.waiting() == 0
    assert differences(lived.known(6), lived.known(3)) == []
    assert lived.rebuild().equal
    assert lived.rollback(5, keep_facts=False) == 7
    assert lived.waiting() == 0
    assert differences(lived.known(7), lived.known(5)) == []
    assert lived.rebuild().equal


def test_feedback_on_trajectories_left_out_counts_once_they_are_restored(lived: Lived) -> None:
    learn_days(lived.engine, 1)
    record_day(lived.engine, 2)
    handle = lived.engine.begin_trajectory([1.0] * DIM)
    lived.engine.end_trajectory(handle, 1.0)
    lived.engine.force_learn()
    lived.rollback(1, keep_facts=False)
    lived.engine.feedback(handle, quality=0.0)
    assert not lived.engine.force_learn().learned
    lived.rollback(2)
    assert lived.rebuild().equal
    assert lived.engine.force_learn().revised == 1
    assert lived.rebuild().equal


def test_version_0_is_served_before_the_first_cycle(lived: Lived) -> None:
    nothing = answers(lived.engine)
    learn_days(lived.engine, 2)
    lived.rollback(0)
    lived.engine.refresh()
    assert answers(lived.engine) == nothing
    for a, b in ((0, 3), (3, 0)):
        assert lived.database.versions.diff(lived.space, a, b) == []
    learned = lived.database.versions.diff(lived.space, 0, 2)
    assert {"micro 0", "base 0"} <= {item.name for item in learned if item.part == "adapter"}
    assert lived.rebuild().equal
    assert lived.engine.force_learn().trajectories == 2 * DAY
    assert lived.rebuild().equal


def test_a_candidate_changes_nothing_until_it_is_promoted(lived: Lived) -> None:
    learn_days(lived.engine, 1)
    before = patterns_and_rankings(lived.engine)
    record_day(lived.engine, 2)
    lived.engine.flush()
    learner = BackgroundLoop(lived.database, lived.space, lived.engine.server_id, CONFIG)
    staged = learner.stage()
    assert (staged.version, lived.engine.refresh(), lived.waiting()) == (2, 1, FACTS)
    assert patterns_and_rankings(lived.engine) == before
    assert lived.rebuild().equal
    candidate = lived.known(2)
    lived.database.versions.promote(lived.space, lived.engine.server_id, 2)
    assert (lived.engine.refresh(), lived.waiting()) == (2, 0)
    assert differences(candidate, lived.known(2)) == []
    assert lived.rebuild().equal
    assert lived.rows("SELECT count(*) FROM sona.staged_versions") == [(0,)]


def test_a_damaged_version_is_named_and_does_not_go_live(lived: Lived) -> None:
    learn_days(lived.engine, 3)
    record_day(lived.engine, 4)
    assert lived.engine.stage().version == 4
    kept = "SELECT version, status FROM sona.versions ORDER BY 1"
    before = lived.rows(kept), lived.waiting()
    for version in (1, 2, 4):
        lived.damage(version)
        with pytest.raises(DamagedVersion, match=f"version {version} of space 'default', {NAMED[version]}"):
            lived.engine.promote(4) if version == 4 else lived.rollback(version)
        assert (lived.rows(kept), lived.waiting()) == before
    assert lived.rebuild().equal


def test_a_damaged_live_version_is_rebuilt_from_the_ledger(lived: Lived, database_url: str) -> None:
    learn_days(lived.engine, 3)
    before = lived.known(3)
    lived.damage(3)
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE sona.fisher_snapshots SET fisher = substr(fisher, 1, 5)")
    with SonaEngine(DIM, database_url, config=CONFIG) as server:
        record_day(server, 4)
        with pytest.raises(DamagedVersion, match=f"version 3 of space 'default', {NAMED[3]}"):
            server.force_learn()
        done = server.rebuild(publish=True)
        assert (done.published, done.version) == (True, 4)
        assert {"micro adapter", "patterns", "protected tasks", "router"} <= set(done.differences)
        assert differences(lived.known(4), before) == []
        assert server.force_learn().version == 5
        assert server.rebuild().equal


def test_a_candidate_of_another_base_is_refused(lived: Lived) -> None:
    learn_days(lived.engine, 1)
    record_day(lived.engine, 2)
    lived.engine.flush()
    BackgroundLoop(lived.database, lived.space, lived.engine.server_id, CONFIG).stage()
    assert lived.engine.force_learn().version == 3
    with pytest.raises(LearningConflict, match="staged on version 1, and version 3 is live"):
        lived.database.versions.promote(lived.space, lived.engine.server_id, 2)
    with pytest.raises(VersionConflict, match="is retired, expected a candidate"):
        lived.database.versions.promote(lived.space, lived.engine.server_id, 1)


def test_a_learner_whose_base_was_rolled_back_starts_again(lived: Lived, monkeypatch: pytest.MonkeyPatch) -> None:
    learn_days(lived.engine, 2)
    record_day(lived.engine, 3)
    learn = BackgroundLoop._stored
    turns = []

    def overtaken(self, *rest):  # between what it has claimed and what it publishes
        turns.append(1)
        if len(turns) == 1:
            lived.rollback(1, keep_facts=False)
        return learn(self, *rest)

    monkeypatch.setattr(BackgroundLoop, "_stored", overtaken)
    result = lived.engine.force_learn()
    assert (len(turns), result.base_version, result.version) == (2, 3, 4)
    assert lived.rebuild().equal


def test_an_impossible_rollback_is_refused_by_name(lived: Lived) -> None:
    learn_days(lived.engine, 2)
    with pytest.raises(VersionConflict, match="version 2 of space 'default' is live"):
        lived.rollback(2)
    with pytest.raises(UnknownVersion, match="has no version 9"):
        lived.rollback(9)
    with psycopg.connect(lived.url) as connection:
        connection.execute("DELETE FROM sona.version_contents WHERE version = 1")  # as an earlier release leaves it
    with pytest.raises(VersionNotKept, match=r"patterns of version 1 .* before schema revision 0007"):
        lived.rollback(1)
    with pytest.raises(VersionNotKept):
        lived.database.versions.patterns_at(lived.space, 1)


def test_a_version_that_is_just_being_pruned_is_not_brought_back(lived: Lived) -> None:
    learn_days(lived.engine, 2)
    caught: list[BaseException] = []

    def roll_back() -> None:
        try:
            lived.rollback(1)
        except BaseException as exc:  # noqa: BLE001 - handed to the test's own thread
            caught.append(exc)

    thread = threading.Thread(target=roll_back)
    with psycopg.connect(lived.url) as pruning, psycopg.connect(lived.url, autocommit=True) as watching:
        pruning.execute("DELETE FROM sona.state_versions WHERE version = 1")
        thread.start()
        waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        deadline = time.monotonic() + 20
        while watching.execute(waits).fetchone() == (0,) and thread.is_alive() and time.monotonic() < deadline:
            time.sleep(0.01)
        pruning.commit()
    thread.join(20)
    assert [type(exc) for exc in caught] == [UnknownVersion]
    assert lived.engine.refresh() == 2


def test_a_rolled_back_version_is_evaluated_on_decisions_it_has_not_learned_from(lived: Lived) -> None:
    learn_days(lived.engine, 1)
    rng = np.random.default_rng(0)
    for _ in range(2):
        for query in rng.standard_normal((5, DIM)):
            handle = lived.engine.begin_trajectory(query, decision=lived.engine.route(query, ["small", "big"]))
            lived.engine.end_trajectory(handle, quality=float(rng.random()))
        lived.engine.force_learn()
    stored = lived.database.decisions(lived.space, 100).trajectories

    def new_to(version: int) -> int:
        return int(lived.database.not_learned_by(lived.space, version, stored).sum())

    assert [new_to(version) for version in (1, 2, 3)] == [10, 5, 0]
    lived.rollback(1)
    assert [new_to(version) for version in (1, 2, 3, 4)] == [10, 5, 0, 10]
    lived.engine.refresh()
    assert lived.engine.force_learn().version == 5  # all ten at once
    lived.rollback(2, keep_facts=False)
    assert [new_to(version) for version in (1, 2, 3, 4, 5, 6)] == [10, 5, 0, 10, 0, 5]


def test_unlearned_trajectories_are_not_restored_by_a_rollback(lived: Lived) -> None:
    learn_days(lived.engine, 2)
    with psycopg.connect(lived.url) as connection:
        connection.execute("DELETE FROM sona.trajectories WHERE quality > 0.5")
    assert lived.engine.rebuild(publish=True).version == 3
    with pytest.raises(VersionConflict, match="still holds facts that version 3 has unlearned"):
        lived.rollback(1)


def test_the_live_version_of_an_earlier_release_is_kept_by_the_next_cycle(lived: Lived) -> None:
    learn_days(lived.engine, 2)
    before = lived.known(2)
    with psycopg.connect(lived.url) as connection:
        connection.execute("DELETE FROM sona.version_contents")
        connection.execute("DELETE FROM sona.version_patterns")
        connection.execute("DELETE FROM sona.version_tasks")
    learn_days(lived.engine, 1, 3)
    assert differences(before, lived.known(2)) == []


def test_pruning_leaves_nothing_of_a_version_that_is_gone(lived: Lived) -> None:
    learn_days(lived.engine, 5)
    lived.rollback(4)
    policy = MaintenanceConfig(keep_versions=2, automatic=False)
    list(lived.database.maintenance(policy).run())
    for table in ("version_contents", "version_patterns", "adapters", "state_arrays", "state_versions"):
        found = lived.rows(f"SELECT DISTINCT version FROM sona.{table} ORDER BY 1")
        assert found == [(5,), (6,)], table
    orphans = """
        SELECT count(*) FROM sona.version_tasks k WHERE NOT EXISTS (
            SELECT FROM sona.version_contents c, unnest(c.tasks, c.task_versions) AS held (task, version)
            WHERE c.space_id = k.space_id AND held.task = k.task AND held.version = k.version)
    """
    assert lived.rows(orphans) == [(0,)]
    assert lived.rollback(5) == 7
    assert lived.rebuild().equal
    assert lived.database.remove_space("default")["version_patterns"] > 0


def test_sql_lists_the_patterns_of_a_version_and_differences(lived: Lived) -> None:
    learn_days(lived.engine, 2)
    told = lived.rows("SELECT pattern_id, size, weight, quality FROM sona.patterns_at('default', 1) ORDER BY 1")
    held = sorted((p.id, p.size, p.weight, p.quality) for p in lived.database.versions.patterns_at(lived.space, 1))
    assert told == held != []
    routes = lived.rows("SELECT routes FROM sona.patterns_at('default', 2) WHERE routes IS NOT NULL")
    assert {"size", "quality", "weight", "failure"} <= set(next(iter(routes[0][0].values())))
    parts = lived.rows("SELECT DISTINCT part FROM sona.diff('default', 1, 2) ORDER BY 1")
    assert parts == [("adapter",), ("array",), ("pattern",), ("route",)]
    lived.rollback(1)
    assert lived.rows("SELECT * FROM sona.diff('default', 1, 3)") == []
    listed = lived.rows("SELECT version, parent, status, origin, restores, complete FROM sona.versions ORDER BY 1")
    assert listed[-1] == (3, 1, "live", "rollback", 1, True)
    for missing in ("SELECT sona.patterns_at('default', 8)", "SELECT sona.patterns_at('nowhere', 1)"):
        with pytest.raises(psycopg.errors.NoDataFound):
            lived.rows(missing)


@pytest.mark.not_on_citus("the schema of a distributed store goes forward only")
def test_an_earlier_release_works_on_this_schema_and_its_versions_are_named(lived: Lived) -> None:
    learn_days(lived.engine, 2)
    lived.rollback(1, keep_facts=False)
    with psycopg.connect(lived.url) as connection:  # the rows of a publication by revision 0006
        connection.execute(
            "INSERT INTO sona.state_versions (space_id, version, parent, cycle_id, status, created_at)"
            " VALUES (1, 4, 3, gen_random_uuid(), 'retired', '2026-11-21')"
        )
    with pytest.raises(VersionNotKept):
        lived.rollback(4)
    assert lived.rows("SELECT complete, origin FROM sona.versions WHERE version = 4") == [(False, "cycle")]
    lived.engine.close()
    migrate.downgrade(lived.url, "0006")
    waiting = "SELECT count(*) FROM sona.batches WHERE cycle_id IS NULL"
    assert lived.rows(waiting)[0][0] > 0  # facts left out are unlearned again
    migrate.upgrade(lived.url)
    assert lived.rows("SELECT version FROM sona.versions WHERE NOT complete ORDER BY 1") == [(1,), (2,), (3,), (4,)]
