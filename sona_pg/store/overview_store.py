"""Bounded reads for people who look at a space: samples of outcomes, and facts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Connection, Engine, text

from sona_pg.domain.label_quality import LabelsInPeriod
from sona_pg.domain.leaderboard import BadRatings
from sona_pg.domain.level_change import ChangePart, FactsRevision, LevelChange, RouteChange
from sona_pg.domain.overview_figures import CandidateMatches, LastDreams, SpanSums, ToldFact, VersionCurve, WantedFacts
from sona_pg.domain.period_figures import DaySums, FoundRoutes, LikeQuality, SummedDays
from sona_pg.domain.rating_source import SourceRatings
from sona_pg.domain.route_choice import BestRoutes, RatingsSince
from sona_pg.domain.space import Space
from sona_pg.domain.topic_period import TopicSums
from sona_pg.domain.undo_plan import UndoneRuns
from sona_pg.errors import DatabaseError
from sona_pg.store import candidate_times, day_figures, leases, level_change_rows, outcome_samples
from sona_pg.store.best_route_rows import read_best_routes, read_best_routes_of
from sona_pg.store.connect import driver_connection
from sona_pg.store.dream_rows import read_last_dreams
from sona_pg.store.found_candidates import read_candidates_with
from sona_pg.store.label_rows import read_labels
from sona_pg.store.outcome_samples import FoundFact, TimeSpan
from sona_pg.store.rated_bad_rows import read_bad_ratings, read_rated_bad
from sona_pg.store.rating_source_rows import read_sources
from sona_pg.store.read_side import ReadSide
from sona_pg.store.told_facts import read_told_facts
from sona_pg.store.topic_cost_rows import TopicCosts, read_topic_costs
from sona_pg.store.topic_period_rows import read_topic_sums
from sona_pg.store.transactions import BRIEF, reading
from sona_pg.store.undo_rows import read_undone
from sona_pg.store.version_curve_rows import read_version_curve

Result = TypeVar("Result")

LENGTHY = 30.0  # seconds, for changes of routes: on a busy machine finding them may take so long

LEARNING = """
SELECT live_version, learned_at, waiting_facts, waiting_since, failed_cycles, last_error, learner, lease_expires_at
FROM sona.learning WHERE space_id = %(space)s
"""
NOT_OFFERED = "SELECT sona.routes_not_offered(space_id) FROM sona.spaces WHERE space_id = %(space)s"
# The longest wait of each day (UTC) of the last week, by when it ended; the one that goes on is of today.
WAITS = """
SELECT DISTINCT ON (g.day) g.day, g.waited_from, g.waited_until, extract(epoch FROM g.waited)::float8 AS seconds,
       g.failed_cycles, count(g.waited_until) OVER (PARTITION BY g.day) AS cycles
FROM (
    SELECT w.waited_from, w.waited_until, w.waited, w.failed_cycles,
           (coalesce(w.waited_until, now()) AT TIME ZONE 'UTC')::date AS day
    FROM sona.learning_gaps w
    WHERE w.space_id = %(space)s AND (w.waited_until > now() - interval '7 days' OR w.waited_until IS NULL)
) g
ORDER BY g.day DESC, g.waited DESC
"""
LIVE_SERVERS = "SELECT space, count(*) FROM sona.fleet WHERE state = 'live' GROUP BY space ORDER BY space"
VIEWS = {
    "pattern_summary": "SELECT * FROM sona.pattern_summary WHERE space = :space ORDER BY size DESC LIMIT :limit",
    "quality_by_day": "SELECT * FROM sona.quality_by_day WHERE space = :space ORDER BY day DESC, route LIMIT :limit",
    "cycle_log": "SELECT * FROM sona.cycle_log WHERE space = :space ORDER BY started_at DESC LIMIT :limit",
    "fleet": "SELECT * FROM sona.fleet WHERE space = :space ORDER BY state = 'live' DESC, seen_at DESC LIMIT :limit",
    "waiting_feedback": "SELECT * FROM sona.waiting_feedback WHERE space = :space ORDER BY recorded_at LIMIT :limit",
}


class OverviewStore:
    """Reads what people look at; each call is bounded, whatever the space holds."""

    def __init__(self, reads: ReadSide) -> None:
        """Read from the standby while it is well."""
        self._reads = reads

    def bounds(self, space: Space, since: datetime) -> TimeSpan | None:
        """Return the times of the oldest trajectory since ``since`` and of the newest; None without any."""
        return self._read("looking for trajectories", lambda c: outcome_samples.read_bounds(c, space.space_id, since))

    def span_sums(self, space: Space, spans: Sequence[TimeSpan]) -> list[SpanSums] | None:
        """Return the sums of neighbouring spans of time; None if they hold too many trajectories to read them all."""
        return self._read("summing up outcomes", lambda c: outcome_samples.read_sums(c, space.space_id, spans))

    def version_curve(self, space: Space, most: int) -> VersionCurve:
        """Return the quality of what each of the latest ``most`` versions decided."""
        return self._read("reading quality by version", lambda c: read_version_curve(c, space, most))

    def samples(self, space: Space, spans: Sequence[TimeSpan], each: int) -> list[SpanSums]:
        """Return the sums of the first ``each`` trajectories of each span of time."""
        return self._read("sampling outcomes", lambda c: outcome_samples.read_samples(c, space.space_id, spans, each))

    def sums(self, space: Space, first: date, last: date, routes: int) -> SummedDays:
        """Return the sums of the days from ``first`` to ``last``, and of the ``routes`` that cost most in them."""
        return self._read(
            "reading daily figures", lambda c: day_figures.read_sums(c, space.space_id, first, last, routes)
        )

    def feedback(self, space: Space) -> int | None:
        """Return how many facts were given, without those that took one back; None where days are not summed yet."""
        return self._read("counting feedback", lambda c: day_figures.read_feedback(c, space.space_id))

    def routes(
        self, space: Space, first: date, last: date, find: str, most: int, always: Sequence[str] = ()
    ) -> FoundRoutes:
        """Return the sums of ``most`` routes with ``find`` in their names: those of ``always``, and the most taken."""
        return self._read(
            "reading routes by day",
            lambda c: day_figures.read_routes(c, space.space_id, (first, last), find, most, always),
        )

    def rated_bad(self, space: Space, route: str, first: date, last: date, worst: float, most: int) -> list[UUID]:
        """Return the latest trajectories of a route whose quality is at most ``worst``, the latest first."""
        return self._read(
            "looking for what was rated bad",
            lambda c: read_rated_bad(c, space.space_id, route, (first, last), worst, most),
        )

    def bad_ratings(
        self, space: Space, first: date, last: date, worst: float, users: Sequence[str] = ()
    ) -> Mapping[str, BadRatings]:
        """Return by route how many of the latest trajectories have a quality of at most ``worst``.

        And the quality of those that have none of the labels ``users``.
        """
        return self._read(
            "counting what was rated bad", lambda c: read_bad_ratings(c, space.space_id, (first, last), worst, users)
        )

    def like_questions(self, space: Space, first: date, last: date) -> list[LikeQuality]:
        """Return the quality of the routes on like questions from ``first`` to ``last``; of very many, of a sample."""
        return self._read(
            "comparing routes on like questions",
            lambda c: day_figures.read_like_questions(c, space.space_id, first, last),
        )

    def changes(self, space: Space, days: int) -> list[LevelChange]:
        """Return the days of the last ``days`` on which quality changed beyond chance, oldest first."""
        return self._read(
            "looking for changes of quality", lambda c: level_change_rows.read_changes(c, space.space_id, days)
        )

    def facts_revision(self, space: Space) -> FactsRevision:
        """Return the state of the facts that daily figures are of."""
        return self._read("looking for new facts", lambda c: level_change_rows.read_revision(c, space.space_id))

    def route_changes(self, space: Space, days: int, limit: float = LENGTHY) -> tuple[FactsRevision, list[RouteChange]]:
        """Return the routes whose own quality changed in the last ``days``, those that changed most ratings first.

        Before them the state of the facts when they were looked for: there may be newer facts in them.
        """

        def read(connection: Connection) -> tuple[FactsRevision, list[RouteChange]]:
            revision = level_change_rows.read_revision(connection, space.space_id)
            return revision, level_change_rows.read_route_changes(connection, space.space_id, days)

        return self._read("looking for routes whose quality changed", read, limit)

    def ratings_since(self, space: Space, worse: Sequence[RouteChange]) -> Mapping[UUID, Mapping[str, RatingsSince]]:
        """Return the ratings of each live pattern for routes that got ``worse``, since then; of very many, a sample."""
        return self._read(
            "reading ratings since routes changed", lambda c: level_change_rows.read_since(c, space.space_id, worse)
        )

    def rating_sources(self, space: Space, worse: Sequence[RouteChange]) -> Mapping[str, Sequence[SourceRatings]]:
        """Return of routes that got ``worse`` who rated them since; of very many ratings, the newest."""
        return self._read("reading who rated", lambda c: read_sources(c, space.space_id, worse))

    def excesses(self, series: Sequence[Sequence[DaySums]]) -> list[float]:
        """Return by how much more the days of each series, which all have ratings, differ than chance explains."""
        return self._read(
            "measuring how days differ", lambda c: [level_change_rows.read_excess(c, days) for days in series]
        )

    def change_parts(self, space: Space, day: date, before_from: date, after_until: date) -> list[ChangePart]:
        """Return what a change came with, the largest effect first."""
        return self._read(
            "explaining a change of quality",
            lambda c: level_change_rows.read_parts(c, space.space_id, day, before_from, after_until),
        )

    def last_dreams(self, space: Space) -> LastDreams | None:
        """Return the dreams of the latest deep cycle that had any."""
        return self._read("reading the last dreams", lambda c: read_last_dreams(c, space.space_id))

    def facts(self, space: Space, wanted: WantedFacts, worst: float, most: int) -> list[ToldFact]:
        """Return the latest of the wanted facts, latest first."""
        return self._read("reading feedback", lambda c: read_told_facts(c, space.space_id, wanted, worst, most))

    def learned_by(self, space: Space, ids: Sequence[UUID]) -> Mapping[UUID, FoundFact]:
        """Return which versions have learned each trajectory and its feedback."""
        return self._read("reading what was learned", lambda c: outcome_samples.read_learned_by(c, space.space_id, ids))

    def candidate_times(self, space: Space, ids: Sequence[str]) -> candidate_times.CandidateTimes:
        """Return when each of the candidates ``ids`` was stored, and when the first records were."""
        return self._read(
            "reading when candidates were stored",
            lambda c: candidate_times.read_candidate_times(c, space.space_id, ids),
        )

    def candidates_with(self, space: Space, find: str, most: int) -> CandidateMatches:
        """Return at most ``most`` candidates with ``find`` in id or text, and how many there are."""
        return self._read("looking for candidates", lambda c: read_candidates_with(c, space.space_id, find, most))

    def learning(self, space: Space) -> dict[str, Any]:
        """Return the row of ``sona.learning`` of a space, and the database's time."""

        def read(connection: Connection) -> dict[str, Any]:
            cursor = driver_connection(connection).execute(LEARNING, {"space": space.space_id})
            row = cursor.fetchone()
            names = [column.name for column in cursor.description or ()]
            return {**dict(zip(names, row or [None] * len(names), strict=True)), "now": leases.now(connection)}

        return self._read("reading sona.learning", read)

    def not_offered(self, space: Space) -> frozenset[str]:
        """Return the routes that are no longer offered."""

        def read(connection: Connection) -> frozenset[str]:
            found = driver_connection(connection).execute(NOT_OFFERED, {"space": space.space_id})
            return frozenset(gone for (routes,) in found for gone in routes)

        return self._read("looking for routes that are not offered", read)

    def best_routes(self, space: Space, days: int) -> Mapping[UUID, BestRoutes]:
        """Return the best routes of each live pattern; of those that got worse in the last ``days`` since then."""
        return self._read("looking for the best routes", lambda c: read_best_routes(c, space.space_id, days))

    def best_routes_of(
        self,
        space: Space,
        worse: Sequence[RouteChange],
        since: Mapping[UUID, Mapping[str, RatingsSince]],
        topics: Mapping[UUID, UUID] | None = None,
    ) -> Mapping[UUID, BestRoutes]:
        """Return what ``best_routes`` does, of changes that were found before, with the ratings ``since``.

        With ``topics``, by pattern, those of patterns put together.
        """
        return self._read(
            "looking for the best routes", lambda c: read_best_routes_of(c, space.space_id, worse, since, topics)
        )

    def topic_costs(self, space: Space) -> TopicCosts:
        """Return the costs of the questions of each live pattern."""
        return self._read("reading costs of topics", lambda c: read_topic_costs(c, space.space_id))

    def topic_sums(self, space: Space, earliest: date, first: date, last: date, bad: float) -> list[TopicSums]:
        """Return the sums of the ratings of each live pattern in a period, and since ``earliest`` before it."""
        return self._read("summing up topics", lambda c: read_topic_sums(c, space.space_id, earliest, first, last, bad))

    def labels(self, space: Space, first: date, last: date) -> LabelsInPeriod:
        """Return the quality by label from ``first`` to ``last``, and the users who rated much down or all good."""
        return self._read("reading quality by label", lambda c: read_labels(c, space, first, last))

    def undone(self, space: Space, live: int, version: int) -> UndoneRuns:
        """Return what a rollback from version ``live`` to ``version`` would undo."""
        return self._read("reading cycles of versions", lambda c: read_undone(c, space, live, version))

    def waits(self, space: Space) -> list[dict[str, Any]]:
        """Return the longest time that facts waited for a cycle, for each day of the last week with a wait."""

        def read(connection: Connection) -> list[dict[str, Any]]:
            cursor = driver_connection(connection).execute(WAITS, {"space": space.space_id})
            names = [column.name for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor]

        return self._read("reading sona.learning_gaps", read)

    def view(self, view: str, space: Space, limit: int) -> list[dict[str, Any]]:
        """Return rows of one of the analytics views for a space."""
        if view not in VIEWS:
            raise DatabaseError(f"there is no view {view!r}; there are: {', '.join(VIEWS)}")

        def read(connection: Connection) -> list[dict[str, Any]]:
            rows = connection.execute(text(VIEWS[view]), {"space": space.name, "limit": limit})
            return [dict(row._mapping) for row in rows]

        return self._read(f"reading sona.{view}", read, math.inf)

    def live_servers(self) -> dict[str, int]:
        """Return the number of live servers of each space that has one, by the space's name."""
        found = self._read("counting live servers", lambda c: c.execute(text(LIVE_SERVERS)).all())
        return {str(space): int(servers) for space, servers in found}

    def _read(self, doing: str, read: Callable[[Connection], Result], limit: float = BRIEF) -> Result:
        def run(engine: Engine) -> Result:
            with reading(engine, doing, limit) as connection:
                return read(connection)

        return self._reads.run(run)
