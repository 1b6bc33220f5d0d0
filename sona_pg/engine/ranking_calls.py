"""Calls that rank candidates, and that store them."""

from __future__ import annotations

from collections.abc import Sequence

from numpy.typing import ArrayLike

from sona_pg.domain.answer import Ranking
from sona_pg.engine.lifetime import EngineLifetime
from sona_pg.serving.arguments import as_directions, require_count


class RankingCalls(EngineLifetime):
    """Calls about candidates."""

    def rank(
        self,
        query: ArrayLike,
        candidates: ArrayLike | None = None,
        *,
        ids: Sequence[str] | None = None,
        k: int = 10,
        exploration: float = 0.0,
    ) -> Ranking:
        """Return the ``k`` candidates that ``query`` (dim,) most likely means, best first.

        Hand the ranking to ``begin_trajectory``, say with ``set_trajectory_route`` which one was shown, and how it
        went with ``end_trajectory`` or ``feedback``: that is what the next version learns from.

        Args:
            query: what is asked.
            candidates: (m, dim) embeddings of what can be answered; the store keeps them by id. Without them
                the candidates are taken from the store.
            ids: (m,) one text each; the same id is the same candidate for ever.
            k: how many at most.
            exploration: above 0, candidates that few have confirmed are shown more often (1 is a good value
                while learning); the scores stay the ranker's own.
        """
        session = self._session
        return session.ranker.rank(session.held.serving, query, candidates, ids, k, exploration)

    def rank_many(
        self,
        queries: ArrayLike,
        candidates: ArrayLike | None = None,
        *,
        ids: Sequence[str] | None = None,
        k: int = 10,
        exploration: float = 0.0,
    ) -> list[Ranking]:
        """Return what ``rank`` returns for each of ``queries`` (n, dim), all by one version; a batch is far cheaper."""
        rows = as_directions(queries, self.dim, "queries")
        return self._session.ranker.rank_many(
            self._session.serving, rows, candidates, ids, require_count(k), exploration
        )  # fmt: skip

    def remember(self, ids: Sequence[str], embeddings: ArrayLike) -> None:
        """Store candidates ahead of their first ranking, so that ``rank`` needs only their ids.

        This server knows them at once, others about a second after they are committed. One whose id was known has its
        new embedding after the next cycle.

        Args:
            ids: (m,) one text each.
            embeddings: (m, dim).

        Raises:
            InvalidValue: the space would have more than a million candidates.
            DatabaseUnavailable: more candidates wait than the buffer may take, and Postgres takes none.
        """
        self._session.ranker.remember(ids, as_directions(embeddings, self.dim, "embeddings"))
