"""A year of ten servers in a few seconds: each table stays within the figures that ARCHITECTURE.md states.

Time is injected: each week servers come and go, record, give feedback (some of it about ids that never come), show
candidates of the season, fail a cycle now and then, and learn; then maintenance runs with a retention of four weeks.
Instead of learning, the test writes a cycle's rows, so that the figures are maintenance's.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import numpy as np
import psycopg
from fix_ledger import Ledger

from sona_pg.config import MaintenanceConfig
from sona_pg.domain.ids import uuid7
from sona_pg.domain.space import Space
from sona_pg.store.admin.maintenance import Maintenance

DIM = 4
WEEKS = 52
START = datetime(2026, 1, 5, tzinfo=UTC)  # a Monday
SERVERS = 10
PER_SERVER = 2  # batches a week, of as many trajectories
KEEP = 4
POLICY = MaintenanceConfig(keep_weeks=KEEP, keep_waiting_weeks=6, keep_versions=5, keep_servers_days=7, memory_mb=16)
HELD = KEEP + 3  # weeks that may be there: those kept, this one, one in its grace, one that was just made

BATCH = """
INSERT INTO sona.batches (space_id, batch, server_id, first_id, last_id, trajectories, steps, feedback, recorded_at)
VALUES (%s, %s, %s, %s, %s, %s, 0, 2, %s)
"""
TRAJECTORIES = """
INSERT INTO sona.trajectories (space_id, id, batch, step_count, candidate_set, route, embedding)
SELECT %s, unnest(%s::uuid[]), %s, 0, %s, %s, '[1,0,0,0]'
"""
FEEDBACK = """
INSERT INTO sona.feedback (space_id, quality, trajectory_id, sequence, batch, recorded_at, source)
VALUES (%s, 1, %s, %s, %s, %s, 'user')
"""
SERVER = """
INSERT INTO sona.servers (space_id, server_id, host, pid, release, started_at, seen_at, serving_version, trajectories)
VALUES (%s, %s, 'simulated', 1, 'x', %s, %s, 0, %s)
"""
SET = "INSERT INTO sona.candidate_sets (space_id, set_id, candidate_ids, named_at) VALUES (%s, %s, %s, %s)"
ASIDE = "INSERT INTO sona.set_aside (space_id, trajectory_id, cycle_id, reason) VALUES (%s, %s, %s, 'poison')"
CYCLE = """
INSERT INTO sona.cycles (space_id, cycle_id, loop, server_id, base_version, version, started_at, finished_at,
    trajectories, feedback, set_aside, patterns, error)
VALUES (%s, %s, 'background', gen_random_uuid(), %s, %s, %s, %s, %s, %s, 0, 1, %s)
"""
VERSION = """
INSERT INTO sona.state_versions (space_id, version, parent, cycle_id, status, created_at)
VALUES (%s, %s, %s, %s, 'live', %s)
"""
CONTENT = """
INSERT INTO sona.version_contents (space_id, version, patterns, tasks, task_layers, task_versions)
VALUES (%s, %s, 1, %s, %s, %s)
"""
TASK = """
INSERT INTO sona.version_tasks (space_id, task, layer, version, created_at, kind, fisher, optimum)
VALUES (%s, %s, 0, %s, %s, 'diagonal', 'abcd', 'abcd')
"""
PATTERN = """
INSERT INTO sona.version_patterns (space_id, version, pattern_id, size, weight, quality, success_count, recovered_count,
    partial_count, failure_count, created_version, updated_version, kind, merged_from, typical_queries,
    typical_similarities, parameters, routes, route_sizes, route_weights, route_qualities, route_verdicts, centroid)
VALUES (%s, %s, gen_random_uuid(), 1, 1, 1, 0, 0, 0, 0, 1, 1, 'general', '{}', '{}', '{}', '{}', '{}', '{}', '{}',
    '{}', '{}', '[1,0,0,0]')
"""

# Rows that a table may hold at the end, beside the number inserted in the year. Of trajectories: four kept weeks, this
# one.
WEEKLY = SERVERS * PER_SERVER
BOUNDS = {
    "trajectories": HELD * WEEKLY * PER_SERVER,
    "feedback": HELD * WEEKLY * 2 + (POLICY.keep_waiting_weeks + 2) * WEEKLY,
    "batches": HELD * WEEKLY,
    "candidate_sets": (HELD + 1) * WEEKLY * 2,
    "set_aside": HELD * SERVERS,
    "cycles": HELD * 3 + POLICY.keep_versions,
    "state_versions": POLICY.keep_versions + 1,
    "version_contents": POLICY.keep_versions + 1,
    "version_patterns": POLICY.keep_versions + 1,
    "version_tasks": POLICY.keep_versions + 1,
    "servers": 3 * SERVERS,
    "sealed_weeks": HELD,
}


class Year:
    """The fleet, week by week."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.space: Space = ledger.space("year", DIM, START)
        self.batch = self.set = self.version = self.learned = self.recorded = 0
        self.rng = np.random.default_rng(0)
        self.most: dict[str, int] = dict.fromkeys(BOUNDS, 0)

    def week(self, number: int) -> None:
        monday = START + timedelta(weeks=number)
        with psycopg.connect(self.ledger.url) as connection:
            with connection.pipeline():
                for server in range(SERVERS):
                    self._server(connection, monday, server)
            self._learn(connection, monday + timedelta(days=6))
        at = monday + timedelta(days=6, hours=23)
        list(Maintenance(self.ledger.database.engine, POLICY, lambda: at).run())
        for table in BOUNDS:
            ((rows,),) = self.ledger.rows(f"SELECT count(*) FROM sona.{table}")
            self.most[table] = max(self.most[table], rows)

    def _server(self, connection: psycopg.Connection, monday: datetime, server: int) -> None:
        """A server that lives for this week: deployments replace them all."""
        space, id_ = self.space.space_id, uuid7()
        connection.execute(SERVER, (space, id_, monday, monday + timedelta(days=6), PER_SERVER**2))
        for day in range(PER_SERVER):
            at = monday + timedelta(days=day, hours=server)
            self.batch += 1
            ids = [uuid7(int(at.timestamp() * 1000) + row) for row in range(PER_SERVER)]
            for named in (True, False):  # of two rankings one is acted on
                self.set += 1
                season = [f"candidate {monday:%m} {n}" for n in range(3)]
                connection.execute(SET, (space, self.set, season, at))
                if named:
                    connection.execute(TRAJECTORIES, (space, ids, self.batch, self.set, f"route {monday:%m}"))
            connection.execute(BATCH, (space, self.batch, id_, ids[0], ids[-1], PER_SERVER, at))
            self.recorded += PER_SERVER
            for about in (ids[0], self._never(at)):
                connection.execute(FEEDBACK, (space, about, self.batch, self.batch, at))
        connection.execute(ASIDE, (space, ids[0], uuid7()))

    def _never(self, at: datetime) -> UUID:
        """An id of no trajectory: of this week, of long ago, of 1970, of the far future, or of no time."""
        moments = (at, at - timedelta(weeks=200), datetime(1970, 1, 1, tzinfo=UTC), datetime(2400, 1, 1, tzinfo=UTC))
        kind = int(self.rng.integers(5))
        return UUID(bytes=self.rng.bytes(16), version=4) if kind == 4 else uuid7(int(moments[kind].timestamp() * 1000))

    def _learn(self, connection: psycopg.Connection, at: datetime) -> None:
        """Two cycles learn, one fails."""
        space = self.space.space_id
        for half in range(2):
            self.version += 1
            cycle = uuid7()
            taken = connection.execute(
                "UPDATE sona.batches SET cycle_id = %s WHERE space_id = %s AND cycle_id IS NULL AND batch %% 2 >= %s"
                " RETURNING trajectories + feedback", (cycle, space, 1 - half),
            ).fetchall()  # fmt: skip
            facts = sum(number for (number,) in taken)
            self.learned += facts
            values = (space, cycle, self.version - 1, self.version, at, at, facts, 0, None)
            connection.execute(CYCLE, values)
            connection.execute("UPDATE sona.state_versions SET status = 'retired' WHERE space_id = %s", [space])
            connection.execute(VERSION, (space, self.version, self.version - 1, cycle, at))
            connection.execute("UPDATE sona.spaces SET live_version = %s", [self.version])
            connection.execute(TASK, (space, self.version, self.version, at))
            connection.execute(CONTENT, (space, self.version, [self.version], [0], [self.version]))
            connection.execute(PATTERN, (space, self.version))
        connection.execute(CYCLE, (space, uuid7(), self.version, self.version, at, at, 0, 0, "no memory"))


def test_after_a_year_every_table_is_within_its_figure_and_every_count_is_right(ledger: Ledger) -> None:
    year = Year(ledger)
    for number in range(WEEKS):
        year.week(number)
    too_many = {table: (rows, BOUNDS[table]) for table, rows in year.most.items() if rows > BOUNDS[table]}
    assert too_many == {}
    for parent in ("trajectories", "steps", "feedback"):
        assert len(ledger.partitions(parent)) <= HELD + POLICY.weeks_ahead + 1
    assert len(ledger.indexes()) <= HELD
    found = ledger.database.schedule(year.space, "background")
    waiting, learned = found.waiting, found.learned
    assert (waiting, learned) == (0, year.learned)  # though most cycles are gone
    assert ledger.database.totals(year.space)["trajectories"] == year.recorded  # though most servers are gone
    ((given_up, still),) = ledger.rows(
        "SELECT given_up_feedback, (SELECT count(*) FROM sona.waiting_feedback) FROM sona.spaces"
    )
    assert given_up > 0
    assert still <= BOUNDS["feedback"]


def test_a_year_without_learning_loses_nothing_and_reports_unlearned_weeks(ledger: Ledger) -> None:
    year = Year(ledger)
    year._learn = lambda connection, at: None  # type: ignore[method-assign]
    for number in range(KEEP + 4):
        year.week(number)
    ((stored,),) = ledger.rows("SELECT count(*) FROM sona.trajectories")
    assert stored == year.recorded
    at = START + timedelta(weeks=KEEP + 4)
    done = Maintenance(ledger.database.engine, POLICY, lambda: at).run()
    assert {thing.detail for thing in done if thing.action == "kept"} == {
        f"{WEEKLY * PER_SERVER + facts} facts not learned from" for facts in _facts_by_week(ledger, at)
    }


def _facts_by_week(ledger: Ledger, at: datetime) -> set[int]:
    """Feedback in each of the weeks that retention would drop."""
    rows = ledger.rows(
        "SELECT count(*) FROM sona.feedback WHERE trajectory_id >= sona.uuid_floor(%s)"
        " AND trajectory_id < sona.uuid_floor(%s)"
        " GROUP BY date_trunc('week', sona.uuid_time(trajectory_id) AT TIME ZONE 'UTC')",
        START, at - timedelta(weeks=KEEP),
    )  # fmt: skip
    return {facts for (facts,) in rows}
