"""Calls that rank candidates, that store them, and that retire them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from numpy.typing import ArrayLike

from sona_pg.domain.answer import Ranking
from sona_pg.domain.memory import SECONDS
from sona_pg.engine.lifetime import EngineLifetime
from sona_pg.serving.arguments import as_directions, require_count
from sona_pg.serving.candidate_sets import check_ids


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
        """Return the ``k`` candidates most likely meant by ``query`` (dim,), best first.

        For the next version to learn, pass the ranking to ``begin_trajectory``, the shown candidate to
        ``set_trajectory_route``, and the quality to ``end_trajectory`` or ``feedback``.

        Args:
            query: the query's embedding.
            candidates: (m, dim) embeddings, stored by id; by default those in the store. From then on this server knows
                them by their ids; others about a second after the commit.
            ids: (m,) one text each; an id means the same candidate for ever. Retired ones are left out.
            k: the largest number of results.
            exploration: above 0, candidates with little evidence are ranked higher (1 is a good value while learning);
                the returned scores are the ranker's own.
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
        """Return the ranking of each of ``queries`` (n, dim), by one version; far cheaper than single calls."""
        rows = as_directions(queries, self.dim, "queries")
        return self._session.ranker.rank_many(
            self._session.serving, rows, candidates, ids, require_count(k), exploration
        )  # fmt: skip

    def recall(
        self,
        query: ArrayLike,
        *,
        ids: Sequence[str] | None = None,
        k: int = 10,
        context: Sequence[ArrayLike] = (),
    ) -> Ranking:
        """Return the ``k`` stored candidates that ``query`` (dim,) activates most, best first.

        It begins with the scores of ``rank`` and spreads them along the order of groups: the answer is often the turn
        after the one that matches the question. Feedback teaches as with ``rank``. The first call of an engine reads
        the order of all groups from the database; later calls never wait for it.

        Args:
            query: what is asked.
            ids: the candidates to choose among, by default all that are stored.
            k: how many at most.
            context: embeddings of the context before the query, the latest last.

        Raises:
            UnknownCandidate: an id is not stored, or there is no candidate.
            DatabaseUnavailable: the first call of an engine while the database is away.
        """
        session = self._session
        return session.recaller.recall(session.held.serving, query, ids, k, context, session.member.now / SECONDS)

    def remember(self, ids: Sequence[str], embeddings: ArrayLike, *, group: str | None = None) -> None:
        """Store candidates ahead of their first ranking, so that ``rank`` needs only their ids.

        This server knows them at once, others about a second after the commit. A known id gets its new embedding, which
        counts in the same way: what was learned of it stays.

        Args:
            ids: (m,) one text each.
            embeddings: (m, dim).
            group: conversation or document that they are parts of: they follow, in this order, the parts that it has.
                A candidate has one group and place, the latest that was told.

        Raises:
            InvalidValue: the space would have more than a million candidates.
            DatabaseUnavailable: the queue of candidates is full, and Postgres does not answer.
        """
        session, rows = self._session, as_directions(embeddings, self.dim, "embeddings")
        order = None if group is None else session.recaller.next_of(group, len(rows))
        session.ranker.remember(ids, rows, order)
        if order is not None:
            session.recaller.remember(ids, order)
        session.attend()

    def retire_candidates(self, ids: Sequence[str]) -> int:
        """Answer with these candidates no more, until they are restored; return how many were not retired before.

        A retired candidate is neither ranked nor recalled, also where a caller names it: on this server at once, on
        others about a second after the commit. What was recorded and learned stays, and goes on to count; to remove a
        person's data see ``forget``. Committed when this returns.

        Args:
            ids: one or more; to repeat the call changes nothing.

        Raises:
            InvalidValue: an id cannot be used.
            UnknownCandidate: one is not stored; none is retired then.
            DatabaseUnavailable: Postgres does not answer.
        """
        return self._session.retire_candidates(check_ids("candidate id", ids))

    def restore_candidates(self, ids: Sequence[str]) -> int:
        """Answer with retired candidates again, as if they had never been retired; return how many were.

        Args:
            ids: one or more; those that are not retired stay as they are.

        Raises:
            InvalidValue: an id cannot be used.
            UnknownCandidate: one is not stored; none is restored then.
            DatabaseUnavailable: Postgres does not answer.
        """
        return self._session.restore_candidates(check_ids("candidate id", ids))

    def known_candidates(self, ids: Sequence[str]) -> list[str]:
        """Return those of ``ids`` that are stored, in their order, the retired ones as well.

        As this server knows them: what another one stores, about a second after its commit. Never waits.

        Raises:
            InvalidValue: an id cannot be used.
        """
        known = self._session.ranker.catalog(self._session.serving).index
        return [name for name in check_ids("candidate id", ids) if name in known]

    def retired_candidates(self) -> dict[str, datetime]:
        """Return the retired candidates, the first retired first, each with the time since which it is.

        Raises:
            DatabaseUnavailable: Postgres does not answer.
        """
        self._session.require_database()
        return self._session.database.retirements.retired(self._session.space)
