"""Recent evidence in rankings: what it adds to the prepared scores of one version's candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from sona_pg.learning.ranking.ranker_events import NONE, RankEvents, unit_rows
from sona_pg.learning.ranking.ranker_prepared import Corrected, Prepared
from sona_pg.learning.ranking.recent_ranking import RecentRanking
from sona_pg.serving.judged_queries import Judgement
from sona_pg.serving.recent_evidence import RecentEvidence
from sona_pg.serving.served_version import ServedVersion

MOST_FOLDED = 1 << 20  # float32 of a set whose prepared weights are copied with each new evidence: 0.2 ms


class FoundCandidates(NamedTuple):
    """FoundCandidates with their embeddings, (n, dim) float32 as they are stored."""

    names: Sequence[str]
    embeddings: NDArray[np.float32]


class KnownCandidates(Protocol):
    """The candidates that a server knows."""

    def state(self, serving: ServedVersion) -> object:
        """Return an object that is another one after any change of the candidates known beside a version."""

    def rivals(self, serving: ServedVersion) -> FoundCandidates:
        """Return candidates that others compete with: the same on every server that knows the same candidates."""

    def find(self, serving: ServedVersion, names: Sequence[str]) -> FoundCandidates:
        """Return those of ``names`` that are known."""


@dataclass(frozen=True, slots=True, eq=False)
class EvidenceWeights:
    """What recent evidence adds to the prepared scores of one version's candidates."""

    rows: Mapping[str, int]  # of candidates
    weights: NDArray[np.float32]  # (m, dim)
    offset: NDArray[np.float32]  # (m,)

    def added_to(self, prepared: Prepared, ids: Sequence[str]) -> Prepared | Corrected:
        """Return the prepared candidates ``ids`` with the evidence."""
        found = [(place, row) for place, name in enumerate(ids) if (row := self.rows.get(name, NONE)) != NONE]
        places, rows = np.array(found, np.int64).reshape(-1, 2).T
        if prepared.weights.size > MOST_FOLDED:
            return Corrected(prepared, places, self.weights[rows], self.offset[rows])
        weights, offset = prepared.weights.copy(), prepared.offset.copy()
        weights[places] += self.weights[rows]
        offset[places] += self.offset[rows]
        return Prepared(weights, offset)


class RankingEvidence:
    """Recent evidence of one space, as its rankings weigh it. Safe from many threads."""

    def __init__(self, evidence: RecentEvidence, dim: int, candidates: KnownCandidates) -> None:
        """Weigh ``evidence``."""
        self.news = evidence.news
        self.weighed_for: ServedVersion | None = None  # whose ``weights`` are those of all but the news
        self.weights: EvidenceWeights | None = None
        self._evidence = evidence
        self._dim = dim
        self._candidates = candidates
        self._serving: ServedVersion | None = None  # that the ranking starts from
        self._state: object = None  # of the candidates, then
        self._rivals: FoundCandidates | None = None
        self._judged: dict[str, NDArray[np.float32] | None] = {}  # candidates that were judged; None: not known here
        self._ranking: RecentRanking | None = None
        self._learned: list[Judgement] = []  # what the ranking has learned
        self._names: list[str] = []  # candidates of the ranking
        evidence.tell(self)

    def of(self, serving: ServedVersion) -> EvidenceWeights | None:
        """Return what counts beside a version now; None if nothing does."""
        if self.weighed_for is serving and not self.news:
            return self.weights
        with self._evidence.lock:
            waiting = self._evidence.waiting(serving)
            self._weigh(serving, [judged for judged in waiting if self._is_about_candidate(judged)])
            self.weighed_for = serving
            return self.weights

    def _is_about_candidate(self, judged: Judgement) -> bool:
        return judged.correction is not None or self._evidence.query(judged.trajectory).is_ranking

    def _weigh(self, serving: ServedVersion, waiting: Sequence[Judgement]) -> None:
        """Bring the ranking up to date, from the first judgement that differs from those it has learned."""
        if not waiting:
            self._serving, self._ranking, self._rivals, self.weights = None, None, None, None
            return
        self._begin(serving)
        wanted = dict.fromkeys(map(_candidate, waiting))
        names, embeddings = self._candidates.find(serving, list(wanted))
        found = dict(zip(names, embeddings, strict=True))
        self._judged = {name: found.get(name) for name in wanted}
        waiting = [judged for judged in waiting if _candidate(judged) in found]
        if not waiting:
            self._serving, self.weights = None, None
            return
        if self._ranking is None:
            rivals = self._rivals if self._rivals is not None and len(self._rivals.names) else None
            first = rivals or FoundCandidates([_candidate(waiting[0])], found[_candidate(waiting[0])][None, :])
            slots = serving.catalog.slots(first.names)
            self._ranking = RecentRanking(serving.ranker, unit_rows(first.embeddings), slots)
            self._learned, self._names = [], list(first.names)
        pairs = enumerate(zip(self._learned, waiting, strict=False))
        kept = next((at for at, (old, new) in pairs if old != new), min(len(self._learned), len(waiting)))
        if kept == len(waiting) == len(self._learned) and self.weights is not None:
            return
        del self._names[self._ranking.forget(kept) :]
        rows = {name: row for row, name in enumerate(self._names)}
        more = [name for name in dict.fromkeys(map(_candidate, waiting[kept:])) if name not in rows]
        if more:
            units = unit_rows(np.array([found[name] for name in more], np.float32))
            self._ranking.extend(units, serving.catalog.slots(more))
            rows.update((name, len(self._names) + row) for row, name in enumerate(more))
            self._names += more
        self._ranking.learn(self._events(waiting[kept:], rows))
        self._learned = waiting
        self.weights = EvidenceWeights(rows, *self._ranking.moves)

    def _begin(self, serving: ServedVersion) -> None:
        """Begin anew if the version, the rivals, or what is known of the candidates judged is another one."""
        state = self._candidates.state(serving)
        if self._serving is serving and self._state == state:
            return
        rivals = self._candidates.rivals(serving)
        if self._serving is not serving or not self._are_the_same(serving, rivals):
            self._ranking, self.weights = None, None
        self._serving, self._state, self._rivals = serving, state, rivals

    def _are_the_same(self, serving: ServedVersion, rivals: FoundCandidates) -> bool:
        """Whether the candidates that the ranking knows have not changed."""
        before = self._rivals
        if before is None or rivals.names != before.names or not np.array_equal(rivals.embeddings, before.embeddings):
            return False
        now = dict(zip(*self._candidates.find(serving, list(self._judged)), strict=True))
        for name, row in self._judged.items():
            found = now.get(name)
            if row is None or found is None:
                if row is not found:
                    return False
            elif not np.array_equal(row, found):
                return False
        return True

    def _events(self, judged: Sequence[Judgement], rows: Mapping[str, int]) -> RankEvents:
        queries = [self._evidence.query(one.trajectory).query for one in judged]
        at = np.array([rows[_candidate(one)] for one in judged], np.int32)
        told = np.array([one.correction is not None for one in judged], np.bool_)
        return RankEvents(
            query=unit_rows(np.array(queries, np.float32).reshape(len(judged), self._dim)),
            shown=at,
            quality=np.array([np.nan if one.quality is None else one.quality for one in judged], np.float32),
            correct=np.where(told, at, np.int32(NONE)).astype(np.int32),
            weight=np.ones(len(judged), np.float32),
        )


def _candidate(judged: Judgement) -> str:
    """Return the candidate that a judgement is about."""
    return judged.correction if judged.correction is not None else judged.route or ""
