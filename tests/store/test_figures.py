"""Daily figures equal those of the ledger, whether they are summed already or not, and read no other weeks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import numpy as np
import psycopg
import pytest
from fix_ledger import Ledger

from sona_pg.config import MaintenanceConfig
from sona_pg.domain.ids import uuid7
from sona_pg.domain.space import Space
from sona_pg.learning.routing.off_policy import doubly_robust, ips, snips
from sona_pg.store.admin import summaries
from sona_pg.worker import maintainer

DAY = date(2026, 11, 16)  # a Monday
ROUTES = ("small", "large", "slow")
# The definition of quality_by_day before daily figures.
FROM_THE_LEDGER = """
SELECT date_trunc('day', o.started_at AT TIME ZONE 'UTC')::date AS day, o.route, count(*) AS trajectories,
       count(o.quality) AS rated, avg(o.quality) AS quality,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY o.latency_us) AS median_latency_us
FROM sona.outcomes o GROUP BY day, o.route ORDER BY day, route
"""
BY_DAY = """
SELECT day, route, trajectories, rated, quality, median_latency_us FROM sona.quality_by_day WHERE space = 'figures'
ORDER BY day, route
"""


@dataclass
class Filled:
    """A space with decisions on some days, which a test adds to."""

    ledger: Ledger
    space: Space
    rng: np.random.Generator
    batch: int = 0

    def record(self, day: date, n: int = 60, recorded: datetime | None = None) -> list[UUID]:
        """Store a batch of ``n`` decisions of a day, half of them rated."""
        self.batch += 1
        start = datetime(day.year, day.month, day.day, 1, tzinfo=UTC)
        ids = [uuid7(int(start.timestamp() * 1000) + 1000 * row) for row in range(n)]
        space = self.space.space_id
        with psycopg.connect(self.ledger.url) as connection:
            connection.execute(
                "INSERT INTO sona.candidate_sets (space_id, set_id, candidate_ids) VALUES (%s, 7, %s)"
                " ON CONFLICT DO NOTHING", [space, list(ROUTES[:2])],
            )  # fmt: skip
            with connection.pipeline():
                for row, id_ in enumerate(ids):
                    among = ROUTES[:2] if row % 2 else ROUTES
                    connection.execute(
                    "INSERT INTO sona.trajectories (space_id, id, batch, step_count, route, propensity, candidate_set,"
                    " policy_version, latency_us, quality, cost, context, embedding)"
                    " VALUES (%s, %s, %s, 2, %s, %s, %s, 3, %s, %s, %s, %s, '[1,0]')",
                    [
                        space, id_, self.batch, None if row % 10 == 9 else str(self.rng.choice(among)),
                        float(self.rng.choice([0.25, 0.5, 1.0])), 7 if row % 2 else None, int(self.rng.integers(1e5)),
                        None if row % 3 == 0 else float(self.rng.random()), float(self.rng.random()),
                        [f"user:{row % 4}", "beta", f"session:{row}"],
                    ],
                )  # fmt: skip
            self._mark(connection, ids[0], ids[-1], n, 0, recorded or start)
        return ids

    def judge(self, ids: Sequence[UUID], recorded: datetime) -> None:
        """Store a batch of feedback: a rating, a correction or a retraction each."""
        self.batch += 1
        with psycopg.connect(self.ledger.url) as connection:
            for row, id_ in enumerate(ids):
                quality, correction = [(float(self.rng.random()), None), (None, "small"), (None, None)][row % 3]
                connection.execute(
                    "INSERT INTO sona.feedback (space_id, trajectory_id, sequence, batch, recorded_at, source, quality,"
                    " correction, paid) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
                    [
                        self.space.space_id, id_, self.batch, self.batch, recorded, f"judge {row % 2}", quality,
                        correction, 0.5 if quality else None,
                    ],
                )  # fmt: skip
            self._mark(connection, None, None, 0, len(ids), recorded)

    def _mark(
        self, connection: psycopg.Connection, first: UUID | None, last: UUID | None, n: int, facts: int, at: datetime
    ) -> None:
        connection.execute(
            "INSERT INTO sona.batches (space_id, batch, server_id, first_id, last_id, trajectories, steps, feedback,"
            " recorded_at) VALUES (%s, %s, %s, %s, %s, %s, 0, %s, %s)",
            [self.space.space_id, self.batch, UUID(int=1), first, last, n, facts, at],
        )

    def sum_up(self) -> set[str]:
        """Sum up what is due; return the days."""
        return {done.day for done in self.ledger.database.sum_up()}

    def tables(self, query: str, *values: object) -> set[str]:
        """Return the tables that a query reads."""
        with psycopg.connect(self.ledger.url) as connection:
            connection.execute(query, values).fetchall()  # type: ignore[call-overload]
            read = connection.execute(
                "SELECT relname FROM pg_stat_xact_user_tables WHERE seq_scan + coalesce(idx_scan, 0) > 0"
            ).fetchall()
        return {name for (name,) in read}


@pytest.fixture
def filled(ledger: Ledger) -> Filled:
    space = ledger.space("figures", 2)
    for ago in range(4):
        ledger.ensure(datetime(2026, 11, 16, tzinfo=UTC) - timedelta(weeks=ago))
    return Filled(ledger, space, np.random.default_rng(0))


def test_figures_equal_the_ledger_before_and_after_they_are_summed(filled: Filled) -> None:
    days = [DAY, DAY - timedelta(days=1), DAY - timedelta(days=9)]
    ids = [filled.record(day) for day in days]
    filled.judge([*ids[0][:20], *ids[2][:20]], datetime(2026, 11, 17, tzinfo=UTC))
    live = filled.ledger.rows(BY_DAY)
    assert filled.sum_up() == {str(day) for day in days}
    summed = filled.ledger.rows(BY_DAY)
    expected = filled.ledger.rows(FROM_THE_LEDGER)
    assert len(expected) == 3 * 4
    for rows in (live, summed):
        assert [row[:4] for row in rows] == [row[:4] for row in expected]
        assert [row[4] for row in rows] == pytest.approx([row[4] for row in expected], rel=1e-9)
        assert [row[5] for row in rows] == pytest.approx([row[5] for row in expected], rel=0.025)
    assert filled.sum_up() == set()


def test_what_comes_later_is_seen_at_once_and_summed_with_the_next_run(filled: Filled) -> None:
    first = filled.record(DAY)
    filled.record(DAY - timedelta(days=1))
    filled.sum_up()
    now = datetime.now(UTC)
    filled.judge(first, now)
    filled.record(DAY - timedelta(days=3), recorded=now)
    assert [row[:5] for row in filled.ledger.rows(BY_DAY)] == [
        (*row[:4], pytest.approx(row[4])) for row in filled.ledger.rows(FROM_THE_LEDGER)
    ]
    assert filled.sum_up() == {str(DAY), str(DAY - timedelta(days=3))}
    ((live, summed),) = filled.ledger.rows(
        "SELECT count(*) FILTER (WHERE is_live), count(summed_at) FROM sona.days_of(%s)", filled.space.space_id
    )
    assert (live, summed) == (2, 1)  # those that the last minute has touched are looked at once more


def test_days_with_many_trajectories_are_shown_as_they_were_summed(filled: Filled) -> None:
    filled.record(DAY)
    filled.sum_up()
    filled.record(DAY, 30, recorded=datetime.now(UTC))
    shown = "SELECT is_live, summed_at IS NULL FROM sona.days_of(%s, %s)"
    assert filled.ledger.rows(shown, filled.space.space_id, 90) == [(True, True)]
    assert filled.ledger.rows(shown, filled.space.space_id, 89) == [(False, False)]


def test_an_import_that_spans_months_touches_the_days_it_has_rows_of(filled: Filled) -> None:
    wide = filled.record(DAY - timedelta(days=20), 2) + filled.record(DAY, 2)
    filled.ledger.execute("DELETE FROM sona.batches")
    filled.ledger.execute(
        "INSERT INTO sona.batches (space_id, batch, server_id, first_id, last_id, trajectories, steps, feedback,"
        " recorded_at) VALUES (%s, 1, %s, %s, %s, 4, 0, 0, now())",
        filled.space.space_id, UUID(int=1), wide[0], wide[-1],
    )  # fmt: skip
    assert filled.sum_up() == {str(DAY - timedelta(days=20)), str(DAY)}


@pytest.mark.not_on_citus("workers count the scans of their shards")
def test_a_condition_on_the_day_reads_its_week_only(filled: Filled) -> None:
    for ago in (0, 7, 14, 21):
        filled.record(DAY - timedelta(days=ago))
    filled.sum_up()
    by_day = filled.tables("SELECT * FROM sona.quality_by_day WHERE space = 'figures' AND day >= %s", DAY)
    assert not {name for name in by_day if name.startswith(("trajectories", "feedback"))}
    read = filled.tables("SELECT * FROM sona.decisions WHERE space = 'figures' AND day >= %s", DAY - timedelta(days=6))
    assert {name for name in read if name.startswith("trajectories_")} == {"trajectories_w20261116"}


def test_routes_with_few_ratings_have_no_place(filled: Filled) -> None:
    filled.record(DAY, 90)
    rows = "SELECT route, place IS NULL, small_sample, rated FROM sona.route_leaderboard WHERE space = 'figures'"
    ranked = {route: (no_place, small, rated) for route, no_place, small, rated in filled.ledger.rows(rows)}
    assert set(ranked) == {*ROUTES, None}
    assert {no_place == small == (rated < 10) for no_place, small, rated in ranked.values()} == {True}
    assert {no_place for no_place, _, _ in ranked.values()} == {True, False}


@pytest.mark.parametrize("summed", [False, True])
def test_off_policy_estimates_equal_the_reference(filled: Filled, summed: bool) -> None:
    days = [DAY - timedelta(days=1), DAY]
    for day in days:
        filled.record(day, 700)
    if summed:
        filled.sum_up()
    logged = filled.ledger.rows(
        "SELECT day, route, propensity, candidates, quality FROM sona.decisions"
        " WHERE space = 'figures' AND route IS NOT NULL AND quality IS NOT NULL"
    )
    columns = "policy, decisions, ips, ips_low, snips, snips_low, dr, dr_low, effective_size, largest_weight, refused"
    told = {row[0]: row[1:] for row in filled.ledger.rows(f"SELECT {columns} FROM sona.off_policy")}
    for route in ROUTES:
        offered = [row for row in logged if row[3] is None or route in row[3]]
        reward, propensity = (np.array([row[place] for row in offered], np.float64) for place in (4, 2))
        target = np.array([float(row[1] == route) for row in offered])
        plain, normed = ips(reward, propensity, target), snips(reward, propensity, target)
        figures = told[f"always {route}"]
        assert figures[0] == len(offered)
        expected = [plain.value, plain.low, normed.value, normed.low]
        assert figures[1:5] == pytest.approx(expected, rel=1e-6)
        later = np.array([row[0] == days[1] for row in offered])
        model = np.mean(reward[~later & (target > 0)])
        predicted = np.full(int(later.sum()), model)
        robust = doubly_robust(reward[later], propensity[later], target[later], predicted, predicted)
        assert figures[5:7] == pytest.approx([robust.value, robust.low], rel=1e-6)
        assert figures[7:] == (pytest.approx(plain.effective_size), plain.largest_weight, None)
    assert told["logged"][1] == pytest.approx(np.mean([row[4] for row in logged]))


def test_no_estimate_is_given_below_the_effective_sample_size(filled: Filled) -> None:
    filled.record(DAY, 60)
    rows = filled.ledger.rows("SELECT policy, ips, snips, dr, refused FROM sona.off_policy WHERE policy <> 'logged'")
    assert len(rows) == 3
    for _, *figures, refused in rows:
        assert figures == [None, None, None]
        assert "below the floor of 50" in refused


def test_a_set_without_ids_offered_every_route_that_was_taken(filled: Filled) -> None:
    ids = filled.record(DAY)
    values = [filled.space.space_id, ids[0], ids[-1]]
    offered = "SELECT route, offered, taken FROM sona.decision_figures_between(%s, %s, %s) ORDER BY route"
    before = filled.ledger.rows(offered, *values)
    filled.ledger.execute(
        "INSERT INTO sona.candidate_sets (space_id, set_id, candidate_ids) VALUES (%s, 8, '{}')", values[0]
    )
    filled.ledger.execute(
        "UPDATE sona.trajectories SET candidate_set = 8 WHERE space_id = %s AND candidate_set IS NULL", values[0]
    )
    assert filled.ledger.rows(offered, *values) == before
    assert before[0][1] > 0


def test_users_labels_and_sources_are_counted(filled: Filled) -> None:
    ids = filled.record(DAY)
    filled.judge(ids[:30], datetime(2026, 11, 16, 3, tzinfo=UTC))
    users = filled.ledger.rows("SELECT user_name, trajectories FROM sona.users ORDER BY 1")
    assert users == [(str(number), 15) for number in range(4)]
    assert filled.ledger.rows("SELECT label, trajectories FROM sona.labels") == [("beta", 60)]
    sources = filled.ledger.rows(
        "SELECT source, facts, corrections, retractions, median_lag BETWEEN '1:55' AND '2:05'"
        " FROM sona.feedback_sources ORDER BY 1"
    )
    assert sources == [("judge 0", 15, 5, 5, True), ("judge 1", 15, 5, 5, True)]


def test_growth_and_size_count_every_row(filled: Filled) -> None:
    filled.record(DAY, 30)
    filled.record(DAY - timedelta(days=1), 40)
    grown = filled.ledger.rows("SELECT trajectories, trajectories_so_far, steps FROM sona.growth ORDER BY day")
    assert grown == [(40, 40, 80), (30, 70, 60)]
    sizes = filled.ledger.rows(
        "SELECT table_name, month, row_count, bytes FROM sona.store_size WHERE space = 'figures'"
    )
    assert ("trajectories", date(2026, 11, 1), 70) in [row[:3] for row in sizes]
    assert ("batches", None, 2) in [row[:3] for row in sizes]
    assert all(size > 0 for _, _, count, size in sizes if count)


def test_days_of_dropped_weeks_are_dropped(filled: Filled) -> None:
    filled.record(DAY - timedelta(days=20))
    filled.record(DAY)
    filled.sum_up()
    filled.ledger.execute("DROP TABLE sona.trajectories_w20261026, sona.feedback_w20261026")
    with psycopg.connect(filled.ledger.url, autocommit=True) as connection:
        from sona_pg.store.admin import summaries

        summaries.expire(connection, filled.space.space_id, DAY, datetime.now(UTC))
    filled.sum_up()
    assert {day for (day,) in filled.ledger.rows("SELECT day FROM sona.daily_figures")} == {DAY}


def test_the_maintainer_sums_up_between_its_runs(filled: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintainer, "FIGURES_EVERY", 0.0)
    filled.record(DAY)
    at_work = maintainer.Maintainer(filled.ledger.database)
    at_work.add(MaintenanceConfig())
    at_work.look()  # plans
    at_work.look()  # starts
    at_work.stop()
    assert filled.ledger.rows("SELECT day, stale_since FROM sona.summary_days WHERE summed_at IS NOT NULL") == [
        (DAY, None)
    ]


PATTERN = """
INSERT INTO sona.{table} (space_id, {columns} pattern_id, kind, size, weight, quality, created_version, updated_version,
    merged_from, typical_queries, typical_similarities, parameters, centroid{more})
VALUES (1, {values} %s, 'general', %s, 20, %s, 1, 1, '{{}}', '{{}}', '{{}}', '{{}}', '[1,0]'{rest})
"""


def test_forgetting_is_the_loss_of_a_tasks_patterns_since(filled: Filled) -> None:
    pattern = UUID(int=7)
    with psycopg.connect(filled.ledger.url) as connection:
        for version in (1, 2):
            connection.execute(
                "INSERT INTO sona.state_versions (space_id, version, parent, cycle_id, status, created_at)"
                " VALUES (1, %s, %s, %s, 'live', now())", [version, version - 1, UUID(int=version)],
            )  # fmt: skip
            connection.execute(
                "INSERT INTO sona.version_contents (space_id, version, patterns) VALUES (1, %s, 1)", [version]
            )
        then = PATTERN.format(
            table="version_patterns", columns="version,", values="1,",
            more=", success_count, recovered_count, partial_count, failure_count, routes, route_sizes, route_weights,"
            " route_qualities, route_verdicts", rest=", 0, 0, 0, 0, '{}', '{}', '{}', '{}', '{}'",
        )  # fmt: skip
        connection.execute(then.encode(), [pattern, 30, 0.9])
        now = PATTERN.format(table="patterns", columns="dim, updated_at,", values="2, now(),", more="", rest="")
        connection.execute(now.encode(), [pattern, 45, 0.6])
        connection.execute(
            "INSERT INTO sona.fisher_snapshots (space_id, task, layer, version, created_at, fisher, optimum)"
            " VALUES (1, 0, 0, 2, now(), 'abcd', 'abcd')"
        )
    ((task, patterns, before, after, lost, since, small),) = filled.ledger.rows(
        "SELECT task, patterns, quality_then, quality_now, forgetting, trajectories_since, small_sample"
        " FROM sona.forgetting_by_task WHERE space = 'figures'"
    )
    assert (task, patterns, since, small) == (0, 1, 15, False)
    assert (before, after, lost) == pytest.approx((0.9, 0.6, 0.3))


def test_failed_cycles_tell_whether_one_has_succeeded_since(filled: Filled) -> None:
    for minute, error in ((1, "no memory"), (2, None), (3, "no disk")):
        filled.ledger.execute(
            "INSERT INTO sona.cycles (space_id, cycle_id, loop, server_id, base_version, version, started_at,"
            " finished_at, trajectories, feedback, set_aside, patterns, error)"
            " VALUES (1, %s, 'background', %s, 0, 0, %s, %s, 0, 0, 0, 0, %s)",
            UUID(int=minute), UUID(int=1), datetime(2026, 11, 16, 1, minute, tzinfo=UTC),
            datetime(2026, 11, 16, 1, minute, tzinfo=UTC), error,
        )  # fmt: skip
    rows = filled.ledger.rows(
        "SELECT error, is_latest FROM sona.failed_cycles WHERE space = 'figures' ORDER BY started_at"
    )
    assert rows == [("no memory", False), ("no disk", True)]
    assert filled.ledger.rows("SELECT count(*) FROM sona.cycle_changes") == [(1,)]


def test_costs_are_shown_by_the_digits_that_were_told(ledger: Ledger) -> None:
    told = [(0.0001, None, None), (0.0001, 0.0003, None), (0.0001, 0.2, 0.0007)]  # estimate, at the end, as feedback
    space = ledger.space("costs", 8)
    with psycopg.connect(ledger.url) as connection:
        for estimate, paid, fact in told:
            id_ = uuid7()
            connection.execute(
                "INSERT INTO sona.trajectories (space_id, id, batch, step_count, route, quality, propensity, cost,"
                " paid, embedding) VALUES (%s, %s, 1, 0, 'small', 0.5, 0.5, %s, %s, %s::halfvec)",
                [space.space_id, id_, estimate, paid, str([1] * 8)],
            )
            if fact is not None:
                connection.execute(
                    "INSERT INTO sona.feedback (space_id, batch, trajectory_id, sequence, recorded_at, source, paid)"
                    " VALUES (%s, 1, %s, 1, now(), 'bill', %s)", [space.space_id, id_, fact],
                )  # fmt: skip
        connection.execute(
            "INSERT INTO sona.batches (space_id, batch, server_id, trajectories, steps, feedback, recorded_at)"
            " VALUES (%s, 1, gen_random_uuid(), 3, 0, 1, now())", [space.space_id],
        )  # fmt: skip
    assert ledger.rows("SELECT cost FROM sona.decisions ORDER BY cost") == [(0.0001,), (0.0003,), (0.0007,)]
    total = 0.0001 + 0.0003 + 0.0007
    assert ledger.rows("SELECT cost_sum FROM sona.figures WHERE kind = 'route'") == [(pytest.approx(total, rel=1e-15),)]
    assert ledger.rows("SELECT cost FROM sona.route_leaderboard") == [(pytest.approx(total / 3, rel=1e-15),)]


def test_a_space_that_is_removed_meanwhile_stops_no_other(filled: Filled, monkeypatch) -> None:
    filled.record(DAY)
    removed = (
        "SELECT space_id FROM (SELECT 999999 AS space_id UNION SELECT space_id FROM sona.spaces) s ORDER BY 1 DESC"
    )
    monkeypatch.setattr(summaries, "NEWS", removed)
    assert filled.sum_up() == {str(DAY)}
