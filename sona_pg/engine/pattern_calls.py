"""Calls that ask for patterns, and for trajectories like a given one."""

from __future__ import annotations

from datetime import datetime

from numpy.typing import ArrayLike

from sona_pg.domain.answer import FoundPatterns, Interpolation, SearchResult
from sona_pg.domain.pattern import PatternKind
from sona_pg.domain.verdict import Verdict
from sona_pg.engine.lifetime import EngineLifetime
from sona_pg.learning.patterns.parameters import interpolate
from sona_pg.serving.arguments import as_vector, require_search


class PatternCalls(EngineLifetime):
    """Calls that look for what is near an embedding: patterns in memory, trajectories in the database."""

    def find_patterns(
        self,
        x: ArrayLike,
        k: int = 5,
        *,
        min_quality: float = 0.0,
        kind: PatternKind | None = None,
        route: str | None = None,
        verdict: Verdict | None = None,
    ) -> FoundPatterns:
        """Return the ``k`` patterns nearest to ``x`` (dim,), nearest first; from memory, in microseconds.

        Args:
            x: what is asked.
            k: how many at most.
            min_quality: leave out patterns whose mean quality is lower.
            kind: only patterns of this kind.
            route: only patterns in which this route was tried.
            verdict: only patterns most of whose trajectories went so.

        Raises:
            InvalidValue: a filter that no pattern can pass.
        """
        return self._session.held.serving.find_patterns(x, k, min_quality, kind, route, verdict)

    def interpolate_parameters(
        self, x: ArrayLike, k: int = 5, *, min_quality: float = 0.0, route: str | None = None
    ) -> Interpolation:
        """Return the settings that went well in the ``k`` patterns nearest to ``x`` (dim,) that know any.

        They are what callers told with ``set_trajectory_parameters``, of trajectories that succeeded: means weighted
        by similarity, quality and evidence. Round what must be whole.

        Args:
            x: what is asked.
            k: how many patterns at most.
            min_quality: leave out patterns whose mean quality is lower.
            route: only patterns in which this route was tried.

        Raises:
            InvalidValue: ``x`` has length 0.
        """
        serving = self._session.serving
        found = serving.find_patterns(x, k, min_quality, route=route, with_parameters=True)
        return interpolate(found, serving.version)

    def search(
        self,
        x: ArrayLike,
        k: int = 10,
        *,
        route: str | None = None,
        min_quality: float | None = None,
        since: datetime | None = None,
        exact: bool = False,
    ) -> SearchResult:
        """Return the ``k`` stored trajectories nearest to ``x`` (dim,), nearest first; asks the database.

        Weeks that are over are searched by their index where the space has many trajectories in them, all else is
        scanned. The result's ``complete`` is False if an index gave up before it had found ``k``.

        Args:
            x: what is searched.
            k: how many at most, up to 100,000.
            route: only those that took this route.
            min_quality: only those whose quality, with all feedback, is at least this.
            since: only those that began then or later.
            exact: scan everything.

        Raises:
            InvalidValue: ``x`` has length 0, or another argument makes no sense.
            DatabaseUnavailable: Postgres does not answer now.
        """
        vector = as_vector(x, self.dim)
        require_search(vector, k, route, min_quality, since)
        self._session.require_open()
        return self._session.database.search(
            self._session.space, vector, k, route=route, min_quality=min_quality, since=since, exact=exact
        )
