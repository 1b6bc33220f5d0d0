"""Recent evidence in the memory graph: what judged answers of sessions say was used together, and what in vain."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from sona_pg.config.graph_parts import GraphConfig
from sona_pg.domain.catalog import Catalog
from sona_pg.domain.ledger_slice import LedgerSlice, Outcome
from sona_pg.learning.graph.expectation import Expectation
from sona_pg.learning.graph.learned_graph import LearnedGraph
from sona_pg.learning.graph.open_sessions import sessions_from
from sona_pg.learning.graph.recent_graph import with_recent
from sona_pg.serving.candidate_ranker import CandidateRanker
from sona_pg.serving.graph_view import GraphView
from sona_pg.serving.judged_queries import Judgement, KnownQuery
from sona_pg.serving.recent_evidence import RecentEvidence
from sona_pg.serving.recent_slice import recent_slice
from sona_pg.serving.served_version import ServedVersion
from sona_pg.serving.uptake import Uptake

# Of each: what counts, whether its candidate set is known, and what the version has learned of it; None for nothing.
Counted = Sequence[tuple[Judgement, bool, Outcome | None]]


class _Weighed(NamedTuple):
    """A version's graph, with the evidence that counted when it was made."""

    serving: ServedVersion
    catalog: Catalog
    counted: Counted
    view: GraphView | None


class GraphEvidence:
    """Recent evidence of one space, as its memory graph counts it. Safe from many threads, none waits for another."""

    def __init__(
        self, evidence: RecentEvidence, dim: int, ranker: CandidateRanker, config: Callable[[], GraphConfig]
    ) -> None:
        """Count ``evidence``; ``ranker`` knows the candidates, ``config`` is that of the space."""
        self.weighed_for: ServedVersion | None = None
        self._news = evidence.news
        self._evidence = evidence
        self._dim = dim
        self._ranker = ranker
        self._config = config
        self._uptake = Uptake()
        self._weighed: _Weighed | None = None
        self._lock = threading.Lock()  # never waited for: a signal handler may hold it
        evidence.tell(self)

    def of(self, serving: ServedVersion) -> GraphView | None:
        """Return the memory graph of a version with what counts beside it now; None if there is none."""
        last, catalog = self._weighed, self._ranker.catalog(serving)
        is_last = last is not None and last.serving is serving
        if last is not None and is_last and last.catalog is catalog and self.weighed_for is serving and not self._news:
            return last.view
        if not self._lock.acquire(blocking=False):
            return last.view if last is not None and is_last else serving.graph
        try:
            if last is not None and is_last and not self._uptake.is_due():
                return last.view
            found = self._weighed = self._weigh(serving, catalog, last if is_last else None)
            return found.view
        finally:
            self._lock.release()

    def _weigh(self, serving: ServedVersion, catalog: Catalog, last: _Weighed | None) -> _Weighed:
        config = self._config()
        with self._evidence.lock:
            waiting = [(one, self._evidence.query(one.trajectory)) for one in self._evidence.waiting(serving)]
            waiting = [(one, query) for one, query in waiting if query.session is not None and config.nodes]
            sets = self._sets([query for _, query in waiting])
            counted = [
                (one, query.candidate_set in sets, None if query.is_new else query.learned_outcome)
                for one, query in waiting
            ]
            recent = recent_slice([(one.trajectory, query) for one, query in waiting], self._dim)
            shown = {query.candidate_set: (query.route,) for _, query in waiting if query.route is not None}
            self.weighed_for = serving
        if not counted:
            return _Weighed(serving, catalog, (), serving.graph)
        if last is not None and last.counted == counted and last.catalog is catalog:
            return last
        try:  # of a set that is not known here, only the answer is known to have been in it
            view = self._view(serving, catalog, recent, {**shown, **sets}, config.half_life)
        except BaseException:  # interrupted
            self.weighed_for = None
            raise
        return _Weighed(serving, catalog, counted, view)

    def _sets(self, queries: Sequence[KnownQuery]) -> dict[int, tuple[str, ...]]:
        """Return the ids of the candidate sets that are known here; none for a set of all candidates."""
        found: dict[int, tuple[str, ...]] = {0: ()}
        for number in {query.candidate_set for query in queries} - {0}:
            ids = self._evidence.ids_of(number)
            ids = self._ranker.ids_of(number) if ids is None else ids
            if ids is not None:
                found[number] = ids
        return found

    def _view(
        self,
        serving: ServedVersion,
        catalog: Catalog,
        recent: LedgerSlice,
        sets: Mapping[int, Sequence[str]],
        half_life: float,
    ) -> GraphView:
        parts, patterns = serving.state.arrays, serving.patterns
        learned = (
            Expectation.of(LearnedGraph.empty(self._dim), patterns, serving.catalog, 0.0, half_life)
            if serving.graph is None
            else serving.graph.expectation
        )
        ends = sessions_from(parts["sessions"]) if "sessions" in parts else {}
        with self._uptake:
            told = with_recent(learned, ends, recent, patterns, catalog, sets, half_life, serving.version)
            return GraphView(parts, patterns, catalog, half_life, told)
