"""Recent evidence: feedback that no version has learned yet, weighed by every ranking until a version has.

The recorder notes what is recorded here, the follower what other servers have committed; the next ranking takes it up.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.judged import JudgedQuery
from sona_pg.domain.ledger_slice import Outcome
from sona_pg.learning.ranking.ranker_events import NONE, RankEvents, unit_rows
from sona_pg.learning.ranking.ranker_prepared import Corrected, Prepared
from sona_pg.learning.ranking.recent_ranking import RecentRanking
from sona_pg.serving.judged_queries import JudgedQueries, KnownQuery
from sona_pg.serving.served_version import ServedVersion

MOST_FOLDED = 1 << 20  # float32 of a set whose prepared weights are copied with each new evidence: 0.2 ms


class FindCandidates(Protocol):
    """Finds candidates by id, and others that they compete with."""

    def __call__(
        self, serving: ServedVersion, names: Sequence[str], *, rivals: bool
    ) -> tuple[Sequence[str], NDArray[np.float32]]:
        """Return those of ``names`` that are known here, with embeddings (n, dim); with ``rivals``, others first."""


@dataclass(frozen=True, slots=True, eq=False)
class EvidenceWeights:
    """What recent evidence adds to the prepared scores of one version's candidates."""

    rows: Mapping[str, int]  # of candidates; it may have grown since
    weights: NDArray[np.float32]  # (m, dim)
    offset: NDArray[np.float32]  # (m,)

    def added_to(self, prepared: Prepared, ids: Sequence[str]) -> Prepared | Corrected:
        """Return the prepared candidates ``ids`` with the evidence."""
        found = [(place, row) for place, name in enumerate(ids) if (row := self.rows.get(name, NONE)) != NONE]
        places, rows = np.array(found, np.int64).reshape(-1, 2).T
        known = rows < len(self.offset)
        places, rows = places[known], rows[known]
        if prepared.weights.size > MOST_FOLDED:
            return Corrected(prepared, places, self.weights[rows], self.offset[rows])
        weights, offset = prepared.weights.copy(), prepared.offset.copy()
        weights[places] += self.weights[rows]
        offset[places] += self.offset[rows]
        return Prepared(weights, offset)


class RecentEvidence:
    """Evidence of one space. Safe from many threads; held by whoever takes up news, for about a millisecond."""

    def __init__(self, dim: int, most: int, find: FindCandidates) -> None:
        """Weigh the ``most`` latest judged queries."""
        self._dim = dim
        self.most = most
        self.news: deque[tuple[Any, ...]] = deque(maxlen=max(2 * most, 1))  # what the recorder has noted
        self.weighed_for: ServedVersion | None = None  # whose ``weights`` are those of all but the news
        self.weights: EvidenceWeights | None = None
        self._find = find
        self._queries = JudgedQueries(most)
        self._settled: tuple[int, Sequence[JudgedQuery], bool] | None = None  # version, and what it leaves
        self._changed: dict[bytes, None] = {}  # queries whose judgement may have changed, in order
        self._ranking: RecentRanking | None = None
        self._serving: ServedVersion | None = None  # that the ranking starts from
        self._rows: dict[str, int] = {}
        self._taken: dict[bytes, tuple[float | None, str | None]] = {}  # what the ranking has learned, by query
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Return the number of judged queries that are known."""
        return len(self._queries)

    def of(self, serving: ServedVersion) -> EvidenceWeights | None:
        """Return what counts beside a version now; None if nothing does."""
        if self.weighed_for is serving and not self.news:
            return self.weights
        with self._lock:
            self._gather()
            if self._settled is not None and self._settled[0] == serving.version:
                _, read, all_written = self._settled
                self._queries.settle(read, all_written=all_written)
                self._settled = None
                self._serving = None
            self._weigh(serving)
            self.weighed_for = serving
            return self.weights

    def gather(self) -> None:
        """Take up what the recorder has noted; for servers that record and never rank."""
        if self.news and self._lock.acquire(blocking=False):
            try:
                self._gather()
            finally:
                self._lock.release()

    def hear(self, read: Sequence[JudgedQuery]) -> None:
        """Take up judged queries that some server has committed."""
        if not read:
            return
        with self._lock:
            self._gather()
            self._changed.update(dict.fromkeys(self._queries.update(read)))
            self.weighed_for = None

    @property
    def ids(self) -> NDArray[np.uint8]:
        """(n, 16) of the judged queries that are known."""
        with self._lock:
            self._gather()
            return self._queries.ids

    def leave_to(self, version: int, read: Sequence[JudgedQuery], *, all_written: bool) -> None:
        """Let go of what ``version`` has learned as soon as it is served; see ``JudgedQueries.settle``."""
        with self._lock:
            self._settled = version, read, all_written
            self.weighed_for = None

    def _gather(self) -> None:
        news = self.news
        while news:
            try:
                changed = self._queries.note(news.popleft())
            except IndexError:  # a recorder has pushed out the last one
                return
            if changed is not None:
                self._changed[changed] = None
                self.weighed_for = None

    def _weigh(self, serving: ServedVersion) -> None:
        """Bring the ranking up to date: by what is new, or from the start if something was taken back or learned."""
        known = dict(self._queries)
        changed, self._changed = [key for key in self._changed if key in known], {}
        again = self._serving is not serving or any(
            key not in known or self._taken[key] != _said(known[key].outcome) for key in self._forgotten(known, changed)
        )
        if again:
            self._ranking, self._rows, self._taken = None, {}, {}
            self._serving = serving
            changed = sorted(known)  # oldest first, whoever told them
        fresh = [key for key in changed if key not in self._taken and known[key].waits and _is_judged(known[key])]
        if self._ranking is None:
            self.weights = None
        if not fresh:
            return
        if self._ranking is None:
            self._begin(serving, [judged for judged in known.values() if not judged.waits and _is_judged(judged)])
        self._learn(serving, {key: known[key] for key in fresh})
        if self._ranking is not None:
            self.weights = EvidenceWeights(self._rows, *self._ranking.moves)

    def _forgotten(self, known: Mapping[bytes, KnownQuery], changed: Sequence[bytes]) -> list[bytes]:
        """Return what the ranking has learned and may have to learn otherwise."""
        gone = [key for key in self._taken if key not in known] if len(self._queries) >= self.most else []
        # Of very many the oldest goes with each new one: it stays in the ranking until a tenth has gone.
        gone = gone if len(gone) > self.most // 10 else []
        return [*gone, *(key for key in changed if key in self._taken)]

    def _begin(self, serving: ServedVersion, learned: Sequence[KnownQuery]) -> None:
        """Begin with a version; what it has learned of late keeps its place beside what is learned now."""
        names, embeddings = self._find(serving, [], rivals=True)
        if len(names):
            self._rows = {name: row for row, name in enumerate(names)}
            self._ranking = RecentRanking(serving.ranker, unit_rows(embeddings), serving.catalog.slots(names))
            events = self._events(learned)
            if len(events):
                self._ranking.remember(events)

    def _learn(self, serving: ServedVersion, fresh: Mapping[bytes, KnownQuery]) -> None:
        wanted = dict.fromkeys(name for known in fresh.values() for name in _names(known))
        missing = [name for name in wanted if name not in self._rows]
        if missing:
            names, embeddings = self._find(serving, missing, rivals=False)
            if len(names):
                units, slots = unit_rows(embeddings), serving.catalog.slots(names)
                first = len(self._rows)
                self._rows.update((name, first + row) for row, name in enumerate(names))
                if self._ranking is None:
                    self._ranking = RecentRanking(serving.ranker, units, slots)
                else:
                    self._ranking.extend(units, slots)
        if self._ranking is None:
            return
        self._ranking.learn(self._events(list(fresh.values())))
        self._taken.update((key, _said(known.outcome)) for key, known in fresh.items())

    def _events(self, judged: Sequence[KnownQuery]) -> RankEvents:
        outcomes = [known.outcome for known in judged]
        return RankEvents(
            query=unit_rows(np.array([known.query for known in judged], np.float32).reshape(len(judged), self._dim)),
            shown=np.array([self._rows.get(known.route or "", NONE) for known in judged], np.int32),
            quality=np.array([np.nan if item.quality is None else item.quality for item in outcomes], np.float32),
            correct=np.array([self._rows.get(item.correction or "", NONE) for item in outcomes], np.int32),
            weight=np.ones(len(judged), np.float32),
        )


def _said(outcome: Outcome) -> tuple[float | None, str | None]:
    return outcome.quality, outcome.correction


def _is_judged(known: KnownQuery) -> bool:
    outcome = known.outcome
    return outcome.correction is not None or (outcome.quality is not None and known.route is not None)


def _names(known: KnownQuery) -> list[str]:
    correction = known.outcome.correction
    return [name for name in (known.route, correction) if name is not None]
