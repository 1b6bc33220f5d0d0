"""Overview of a space for people: the reads behind the dashboard, each bounded whatever the space holds."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date
from functools import partial
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import ArrayLike

from sona_pg.domain.judged import Fact, standing
from sona_pg.domain.label_quality import LabelsInPeriod
from sona_pg.domain.leaderboard import Leaderboard
from sona_pg.domain.level_change import RouteChange
from sona_pg.domain.overview_figures import (
    CandidateMatches,
    LastDreams,
    LearnedFact,
    PatternMap,
    PlacedGraph,
    QualityCurve,
    QualitySpan,
    ToldFact,
    VersionCurve,
    WantedFacts,
)
from sona_pg.domain.pattern import LearnedPattern
from sona_pg.domain.period_figures import PeriodFigures, SpaceEvent
from sona_pg.domain.route_choice import BestRoutes
from sona_pg.domain.stored_trajectory import StoredTrajectory
from sona_pg.domain.strayed_feedback import StrayedFeedback
from sona_pg.domain.topic import TopicNames
from sona_pg.domain.undo_plan import UndoPlan
from sona_pg.engine import hidden_changes, level_changes, quality_curves
from sona_pg.engine.coarse_topics import LinkedPatterns, Topics
from sona_pg.engine.compared_spaces import ComparedSpaces, compared_spaces
from sona_pg.engine.found_requests import found_candidates, found_requests, rated_bad
from sona_pg.engine.kept_route_changes import KeptRouteChanges
from sona_pg.engine.leaderboards import Wanted, leaderboard
from sona_pg.engine.level_changes import ExplainedChange, ToldChange, ToldRouteChange
from sona_pg.engine.old_answers import OldAnswers, old_answers
from sona_pg.engine.past_versions import PastVersions
from sona_pg.engine.pattern_maps import PLACED, Drawn, map_of
from sona_pg.engine.period_overview import (
    days_of_period,
    events,
    mean_costs,
    period_figures,
)
from sona_pg.engine.routes_now import RoutesNow
from sona_pg.engine.session import Session
from sona_pg.engine.shared_finds import SharedFinds
from sona_pg.engine.sona_engine import SonaEngine
from sona_pg.engine.topic_periods import ToldTopics, told_topics
from sona_pg.engine.undo_plans import undo_plan
from sona_pg.learning.patterns.plane import Plane
from sona_pg.serving.arguments import as_direction, require_count, require_version
from sona_pg.serving.graph_places import placed_graph
from sona_pg.store.topic_cost_rows import TopicCosts

COSTS_OF = 200  # routes whose mean costs are known here
COSTS_FOR = 60.0  # seconds that they are kept
NODES = 150  # of the memory graph
SAID_WITHIN = 5.0  # seconds to wait for the writer
ANY = Wanted()
ALL_FACTS = WantedFacts()


class Overview:
    """Reads an open space for people. Every call may ask the database, whose statements take ten seconds at most.

    Changes of routes may take longer: they are found once for all who ask, in threads of their own. Periods are the
    last ``days``, up to now or to the day ``until`` (UTC).
    """

    def __init__(self, engine: SonaEngine) -> None:
        """Look at the space of ``engine``."""
        self._engine = engine
        self._past = PastVersions(engine.dim)
        self._plane: tuple[int, Plane] | None = None  # with its version
        self._linked: tuple[int, LinkedPatterns] | None = None  # with their version
        self._route_changes = KeptRouteChanges()
        self._routes: RoutesNow | None = None
        self._finds: SharedFinds[RoutesNow] = SharedFinds()
        self._costs: tuple[float, Mapping[str, float]] | None = None  # with the time at which they were read
        self._dreams: tuple[int, LastDreams | None] | None = None  # with the version at which they were read
        self._strayed: tuple[float, Sequence[StrayedFeedback]] | None = None  # with the time at which it was counted

    def figures(self, days: float = 30.0, until: date | None = None) -> PeriodFigures:
        """Return quality and spending of the last ``days``, and what they were in as many days before."""
        return period_figures(self._session(), days, self.not_offered(), until)

    def cost_unit(self) -> str | None:
        """Return the unit of the space's costs as it is set now; None if the space tells none."""
        session = self._session()
        return session.pages.settings(session.space)["costs.unit"] or None

    def events(self) -> list[SpaceEvent]:
        """Return the latest rollbacks, loads, rebuilds and erasures, oldest first."""
        return events(self._session())

    def changes(self, days: float = 30.0, until: date | None = None) -> list[ToldChange]:
        """Return the days of the last ``days`` on which quality changed beyond chance, oldest first."""
        return level_changes.changes(self._session(), days, until)

    def earlier_change(self, days: float = 30.0, until: date | None = None) -> ToldChange | None:
        """Return the latest change of the period before the last ``days``, where these have none themselves."""
        return level_changes.earlier_change(self._session(), days, until)

    def route_changes(
        self, days: float = 30.0, until: date | None = None, beside: Sequence[ToldChange] = ()
    ) -> list[ToldRouteChange]:
        """Return the routes whose own quality changed in the last ``days``, those that changed most ratings first."""
        session = self._session()
        found = self._route_changes.within(session, days, until)
        told = level_changes.told_changes(found, beside, until)
        return level_changes.with_sources(session, told)

    def hidden_changes(
        self, days: float, until: date | None, changes: Sequence[ToldChange], routes: Sequence[ToldRouteChange]
    ) -> list[str]:
        """Return what a period may hide beside what is told of it; see ``hidden_changes.notes``."""
        told = [one.change for one in changes], [one.change for one in routes]
        return hidden_changes.notes(self._session(), days, until, *told)

    def explained_change(self, day: date, days: float = 30.0, until: date | None = None) -> ExplainedChange:
        """Return the change of a day with what it came with; see ``level_changes.explained``."""
        session = self._session()
        return level_changes.explained(session, day, days, until, self._route_changes.within(session, days, until))

    def quality_over_time(self, days: float = 30.0, until: date | None = None) -> QualityCurve[QualitySpan]:
        """Return the quality within equal spans of time; see ``quality_curves.over_time``."""
        return quality_curves.over_time(self._session(), days, until)

    def quality_by_version(self) -> VersionCurve:
        """Return the quality of what each of the latest versions decided, as ``sona.learning_curve`` has it."""
        return quality_curves.by_version(self._session())

    def leaderboard(self, days: float = 30.0, wanted: Wanted = ANY, until: date | None = None) -> Leaderboard:
        """Return routes of the last ``days`` with their figures; see ``leaderboards.leaderboard``."""
        session = self._session()
        changed = self._route_changes.within(session, days, until)
        return leaderboard(session, days, wanted, self.not_offered(), changed, until)

    def not_offered(self) -> frozenset[str]:
        """Return the routes that are no longer offered, as ``sona.routes_not_offered`` has it."""
        session = self._session()
        return session.pages.overview.not_offered(session.space)

    def best_routes(self) -> Mapping[UUID, BestRoutes]:
        """Return the best routes of the live patterns, as ``pattern_map`` and ``sona.best_routes`` have them."""
        session = self._session()
        return session.pages.overview.best_routes(session.space, level_changes.LATELY)

    def pattern_map(self, version: int | None = None, topics: int | None = None) -> PatternMap:
        """Return the largest patterns of a version, by default the served one, on the plane of the served ones.

        With ``topics`` at most so many, in which patterns are put together; see ``pattern_maps.map_of``.

        Raises:
            UnknownVersion: the version is not kept.
        """
        session = self._session()
        if version is None or version == session.serving.version:
            linked = self._linked_of(session)
        else:
            kept = session.pages.versions.patterns_at(session.space, require_version(version))
            linked = (version, LinkedPatterns(kept))
        drawn = Drawn(*linked, *self._plane_of(session))
        gone = self.not_offered()
        known = self._routes_now(session, gone) if drawn.version == drawn.basis else None
        return map_of(session, drawn, topics, known, gone, self._topic_names(session), self._costs_of(session))

    def topic_costs(self, topics: int | None = None) -> TopicCosts:
        """Return the costs of the questions of each live pattern, or of ``topics`` of them, the most costly first."""
        session = self._session()
        return self._grouped(session, topics).costs(session.pages.overview.topic_costs(session.space))

    def topics_in_period(self, days: float = 30.0, until: date | None = None, topics: int | None = None) -> ToldTopics:
        """Return the quality of the served topics in the last ``days``, its change, and routes that changed in one."""
        session = self._session()
        names = self._topic_names(session)
        return told_topics(session, self._linked_of(session)[1], names, days, until, topics)

    def memory_graph(self, find: str = "") -> PlacedGraph:
        """Return the best-connected part of the served memory graph, on the plane of the patterns.

        With ``find`` the nodes whose label has this text, and what surrounds them.
        """
        session = self._session()
        serving = session.serving
        _, plane = self._plane_of(session)
        names, state = self._topic_names(session), serving.state
        return placed_graph(
            state, serving.patterns, serving.catalog, plane, NODES, find=find.strip(), named=names.of, texts=self._texts
        )

    def last_dreams(self) -> LastDreams | None:
        """Return when the space dreamt last, and how many of these dreams passed."""
        session, known = self._session(), self._dreams
        version = session.serving.version  # dreams make one
        if known is None or known[0] != version:
            known = self._dreams = (version, session.pages.overview.last_dreams(session.space))
        return known[1]

    def _texts(self, ids: Sequence[str]) -> dict[str, str]:
        """Return the texts of candidates, of those whose content has one."""
        session = self._session()
        known = ((one.id, one.content.get("text")) for one in session.pages.contents.read(session.space, ids))
        return {id_: text for id_, text in known if isinstance(text, str) and text.strip()}

    def labels(self, days: float = 30.0, until: date | None = None) -> LabelsInPeriod:
        """Return the quality by label in the last ``days``, and the users who gave much of what was rated down."""
        session = self._session()
        _, first, last = days_of_period(session, days, until)
        return session.pages.overview.labels(session.space, first, last)

    def compared_spaces(self, days: float, until: date | None, only: int | None) -> ComparedSpaces:
        """Return the sums of the store's spaces in the same days; see ``compared_spaces``."""
        return compared_spaces(self._session(), days, until, only)

    def undo_plan(self, version: int) -> UndoPlan:
        """Return what a rollback to ``version`` would undo; see ``undo_plans.undo_plan``."""
        return undo_plan(self._session(), require_version(version))

    def fleet(self, limit: int = 50) -> dict[str, Any]:
        """Return the row of ``sona.learning``, servers, workers, how long facts waited, and how many strayed."""
        session = self._session()
        servers = session.pages.read_view("fleet", session.space, require_count(limit, what="limit"))
        return {
            "learning": session.pages.overview.learning(session.space),
            "servers": servers,
            "workers": [one._asdict() for one in session.pages.connected_workers()],
            "waits": session.pages.overview.waits(session.space),
            "strayed": self._strayed_of(session),
        }

    def cycles(self, limit: int = 30) -> list[dict[str, Any]]:
        """Return the latest cycles, newest first."""
        session = self._session()
        rows = session.pages.read_view("cycle_log", session.space, require_count(limit, what="limit"))
        return [row | {"milliseconds": float(row["milliseconds"])} for row in rows]  # numeric in SQL

    def latest_feedback(self, limit: int = 30, wanted: WantedFacts = ALL_FACTS) -> list[ToldFact]:
        """Return the latest facts about the newest trajectories, latest first."""
        session = self._session()
        worst = session.config.patterns.failure_quality
        return session.pages.overview.facts(session.space, wanted, worst, require_count(limit, what="limit"))

    def requests(self, find: str) -> Sequence[StoredTrajectory]:
        """Return the trajectories with an id: their own, or that of the row they were imported from."""
        return found_requests(self._session(), find.strip())

    def candidates_with(self, find: str) -> CandidateMatches:
        """Return candidates with ``find`` in their id or text, the retired ones as well."""
        return found_candidates(self._session(), find.strip())

    def rated_bad(self, route: str, days: float = 30.0, until: date | None = None) -> Sequence[StoredTrajectory]:
        """Return the latest trajectories of a route in the last ``days`` that were rated bad, the latest first."""
        return rated_bad(self._session(), route, days, until)

    def said(self, trajectory: UUID) -> Mapping[str, Fact]:
        """Return what each source says of a trajectory now, facts that this process has just recorded included."""
        session = self._session()
        self._engine.flush(SAID_WITHIN)
        return standing(session.database.exports.said(session.space, trajectory))

    def answers(self, x: ArrayLike, versions: Sequence[int], k: int = 5) -> OldAnswers:
        """Return what is answered to ``x`` (dim,) now, and what each of ``versions`` has answered when it was made.

        They rank the candidates that are the best now, at most 1,000, of those that were stored then.

        Raises:
            UnknownVersion: a version is not kept.
        """
        session = self._session()
        vector, most = as_direction(x, self._engine.dim), require_count(k)
        told = self._routes_now(session, self.not_offered())  # what is being found is awaited, and all asked again
        then = (self._past.of(session, require_version(version)) for version in versions)
        self._engine.flush(SAID_WITHIN)  # what was said or taken back a moment ago counts
        return old_answers(session, vector, most, then, told, self._topic_names(session), self._texts)

    def facts_near(self, x: ArrayLike, k: int = 40) -> list[LearnedFact]:
        """Return the judged ones among the ``k`` trajectories nearest to ``x``, with the version that learned each."""
        session = self._session()
        vector, most = as_direction(x, self._engine.dim), require_count(k)
        found = session.pages.search(session.space, vector, most)
        learned = session.pages.overview.learned_by(session.space, [one.id for one in found])
        judged = [(one, learned[one.id]) for one in found if one.quality is not None and one.id in learned]
        return [
            LearnedFact(one.id, one.similarity, one.started_at, one.query, one.route, one.quality, *fact)
            for one, fact in judged
        ]

    @staticmethod
    def _topic_names(session: Session) -> TopicNames:
        return TopicNames(session.pages.topics.listing(session.space))

    def _session(self) -> Session:
        session = self._engine._session
        session.require_database()
        return session

    def _linked_of(self, session: Session) -> tuple[int, LinkedPatterns]:
        serving, known = session.serving, self._linked
        if known is None or known[0] != serving.version:
            known = self._linked = (serving.version, LinkedPatterns(serving.patterns))
        return known

    def _grouped(self, session: Session, topics: int | None) -> Topics:
        return self._linked_of(session)[1].topics(topics)

    def _plane_of(self, session: Session) -> tuple[int, Plane]:
        serving, known = session.serving, self._plane
        if known is None or known[0] != serving.version:
            largest = sorted(serving.patterns, key=lambda pattern: (-pattern.size, pattern.id))[:PLACED]
            plane = Plane.through(_centroids(largest, self._engine.dim), self._engine.dim)
            known = self._plane = (serving.version, plane)
        return known

    def _costs_of(self, session: Session) -> Mapping[str, float]:
        """Return the mean cost of a trajectory of each route."""
        known, now = self._costs, time.monotonic()
        if known is None or now - known[0] > COSTS_FOR:
            known = self._costs = (now, mean_costs(session, COSTS_OF))
        return known[1]

    def _strayed_of(self, session: Session) -> dict[str, Any] | None:
        """Return the feedback that finds no trajectory; None if all of it does."""
        known, now = self._strayed, time.monotonic()
        if known is None or now - known[0] > COSTS_FOR:
            known = self._strayed = (now, session.pages.strayed_feedback(session.space.space_id))
        return next((asdict(one) for one in known[1]), None)

    def _routes_now(self, session: Session, gone: frozenset[str]) -> RoutesNow:
        """Return the routes of the served patterns as they are told now, where those of ``gone`` are not offered."""
        known, version = self._routes, session.serving.version
        if known is None or known[:2] != (version, gone) or time.monotonic() - known.read_at > COSTS_FOR:
            changed = self._route_changes.within(session, level_changes.LATELY)
            work = partial(self._find_routes_now, session, version, gone, changed)
            known = self._finds.find(session.space.space_id, (version, gone), work, session.runtime.finds)
        return known

    def _find_routes_now(
        self, session: Session, version: int, gone: frozenset[str], changed: Sequence[RouteChange]
    ) -> RoutesNow:
        now = time.monotonic()
        worse = [one for one in changed if one.after_quality < one.before_quality]
        since = level_changes.ratings_since(session, worse)
        best = session.pages.overview.best_routes_of(session.space, worse, since)
        found = self._routes = RoutesNow(version, gone, now, since, best, worse)
        return found


def _centroids(patterns: Sequence[LearnedPattern], dim: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.array([pattern.centroid for pattern in patterns], np.float32).reshape(len(patterns), dim)
