"""Calls that explain an answer by the facts that moved it."""

from __future__ import annotations

from numpy.typing import ArrayLike

from sona_pg.domain.answer import Decision, Ranking
from sona_pg.domain.influence import Explanation
from sona_pg.engine.lifetime import EngineLifetime
from sona_pg.errors import InvalidValue
from sona_pg.serving.arguments import as_direction, require_amount, require_count

MOST_NEAR = 1000  # facts that one call leaves out in turn


class ExplainingCalls(EngineLifetime):
    """Calls that learn the past again."""

    def why(
        self,
        query: ArrayLike,
        answer: Ranking | Decision | None = None,
        *,
        candidate: str | None = None,
        route: str | None = None,
        k: int = 5,
        near: int = 16,
        seconds: float = 20.0,
    ) -> Explanation:
        """Return the trajectories that moved an answer to ``query`` (dim,) most, with their effects.

        Of a ranking it explains the score of the first candidate, of a decision the expected quality of the route; both
        as the live version has them, without recent evidence. Each of the nearest trajectories is left out in turn, and
        the cycles since it was learned are run again in memory without it: its effect is exactly what a rebuild without
        it would change. Learners of the space wait while the past is read. It waits for the database.

        Args:
            query: what was asked.
            answer: of ``rank``, ``recall`` or ``route``; or
            candidate: the id of one; or
            route: its name.
            k: how many facts to return, those with the largest effects first.
            near: how many to try: those whose queries are nearest.
            seconds: after which no other one is tried; ``complete`` tells whether all were.

        Raises:
            InvalidValue: not exactly one answer is named, or the route is unknown.
            UnknownCandidate: the candidate is.
            Conflict: more than 100,000 trajectories were learned since the last kept version.
        """
        if sum(given is not None for given in (answer, candidate, route)) != 1:
            raise InvalidValue("name one of answer, candidate and route: what is to be explained")
        if isinstance(answer, Ranking):
            if not answer.ids:
                raise InvalidValue("answer: the ranking is empty")
            candidate = answer.ids[0]
        elif isinstance(answer, Decision):
            route = answer.route
        elif answer is not None:
            raise InvalidValue(f"answer is of type {type(answer).__name__}, expected a Ranking or a Decision")
        require_amount(seconds, "seconds")
        row = as_direction(query, self.dim, "query")
        wanted = {"most": require_count(k), "near": require_count(near, most=MOST_NEAR, what="near")}
        if candidate is not None:
            return self._session.explain("candidate", candidate, row, **wanted, seconds=seconds)
        assert route is not None
        return self._session.explain("route", route, row, **wanted, seconds=seconds)
