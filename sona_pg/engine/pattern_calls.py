"""Calls that find patterns and similar trajectories."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from numpy.typing import ArrayLike

from sona_pg.domain.answer import FoundPatterns, Interpolation, SearchResult
from sona_pg.domain.memory import SECONDS
from sona_pg.domain.pattern import PatternKind
from sona_pg.domain.verdict import Verdict
from sona_pg.engine.lifetime import EngineLifetime
from sona_pg.errors import InvalidValue
from sona_pg.learning.patterns.parameters import interpolate
from sona_pg.serving.arguments import as_vector, require_search


class PatternCalls(EngineLifetime):
    """Calls that find the neighbours of an embedding: patterns in memory, trajectories in the database."""

    def find_patterns(
        self,
        x: ArrayLike,
        k: int = 5,
        *,
        min_quality: float = 0.0,
        kind: PatternKind | None = None,
        route: str | None = None,
        verdict: Verdict | None = None,
        graph: bool = False,
        context: Sequence[ArrayLike] = (),
    ) -> FoundPatterns:
        """Return the ``k`` patterns nearest to ``x`` (dim,), nearest first; from memory, in microseconds.

        With ``graph`` the patterns that ``x`` activates most, over the memory graph that sessions have taught: a
        pattern counts by its cosine, by the activation that spreads to it, and by what usually comes after ``context``.
        That takes milliseconds. What judged answers of sessions say was used together counts at once.

        Args:
            x: the query's embedding.
            k: the largest number of results.
            min_quality: leave out patterns with a lower mean quality.
            kind: only patterns of this kind.
            route: only patterns in which this route was tried.
            verdict: only patterns with this prevailing verdict.
            graph: whether to spread activation over the memory graph.
            context: with ``graph``, embeddings of what came before, the latest last.

        Raises:
            InvalidValue: a filter that no pattern can pass, ``k`` below 1, or a context without ``graph``.
        """
        session = self._session
        serving = session.patterns.of(session.held.serving)
        if graph:
            filters = (float(min_quality), kind, route, verdict, False)
            view = session.graph.of(session.held.serving)
            return serving.find_patterns_by_graph(x, k, context, filters, session.member.now / SECONDS, view)
        if len(context):
            raise InvalidValue("context is what came before, which the memory graph knows: ask with graph as well")
        return serving.find_patterns(x, k, min_quality, kind, route, verdict)

    def interpolate_parameters(
        self, x: ArrayLike, k: int = 5, *, min_quality: float = 0.0, route: str | None = None
    ) -> Interpolation:
        """Return the parameters that went well in the ``k`` patterns nearest to ``x`` (dim,) with any.

        They are means over successful trajectories of the values given to ``set_trajectory_parameters``, weighted by
        similarity, quality and evidence. Round those that must be whole numbers.

        Args:
            x: the query's embedding.
            k: the largest number of patterns.
            min_quality: leave out patterns with a lower mean quality.
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

        Past weeks with many trajectories of the space are searched by index, all others are scanned. The result's
        ``complete`` is False if an index gave up before it had found ``k``.

        Args:
            x: the embedding to search for.
            k: the largest number of results, up to 100,000.
            route: only trajectories with this route.
            min_quality: only trajectories whose quality, with all feedback, is at least this.
            since: only trajectories begun at this time or later.
            exact: scan everything.

        Raises:
            InvalidValue: ``x`` has length 0, or another argument is invalid.
            DatabaseUnavailable: Postgres does not answer now.
        """
        vector = as_vector(x, self.dim)
        require_search(vector, k, route, min_quality, since)
        self._session.require_open()
        return self._session.database.search(
            self._session.space, vector, k, route=route, min_quality=min_quality, since=since, exact=exact
        )
