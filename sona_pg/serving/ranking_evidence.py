"""Recent evidence in rankings: what it adds to the prepared scores of one version's candidates."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from sona_pg.learning.ranking.ranker_events import NONE, RankEvents, unit_rows
from sona_pg.learning.ranking.ranker_prepared import Corrected, Prepared
from sona_pg.learning.ranking.recent_ranking import RecentRanking
from sona_pg.serving import uptake
from sona_pg.serving.background_uptake import BackgroundUptake
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


class _WeighedFacts(NamedTuple):
    """What was weighed last."""

    serving: ServedVersion | None = None
    facts: int = 0
    early: tuple[Judgement, ...] = ()  # beside those facts, before their turn
    weights: EvidenceWeights | None = None


class RankingEvidence:
    """Recent evidence of one space, as its rankings weigh it. Safe from many threads.

    A ranking weighs some new facts itself. For more, or for a large block of facts that is whole, it does not wait:
    they are taken up in the background, oldest first, and until all are, rankings go by those taken up so far, and by
    the latest that were told to this process: a person's own thumb waits for nobody else's.
    """

    def __init__(
        self, evidence: RecentEvidence, dim: int, candidates: KnownCandidates, background: BackgroundUptake | None
    ) -> None:
        """Weigh ``evidence``; without ``background``, all of it in the next ranking."""
        self.news = evidence.news
        self.weighed_for: ServedVersion | None = None  # whose ``weights`` are those of all but the news
        self._evidence = evidence
        self._dim = dim
        self._candidates = candidates
        self._background = background
        self._lock = threading.RLock()  # of whoever weighs
        self._asked: ServedVersion | None = None  # last
        self._is_behind = False  # the background weighs
        self._weighed = _WeighedFacts()
        self._serving: ServedVersion | None = None  # that the ranking starts from
        self._state: object = None  # of the candidates, then
        self._rivals: FoundCandidates | None = None
        self._judged: dict[str, NDArray[np.float32] | None] = {}  # candidates that were judged; None: not known here
        self._ranking: RecentRanking | None = None
        self._learned: list[Judgement] = []  # what the ranking has learned
        self._names: list[str] = []  # candidates of the ranking
        evidence.tell(self)
        evidence.on_heard = self._catch_up

    @property
    def weights(self) -> EvidenceWeights | None:
        """What was weighed last; None for nothing."""
        return self._weighed.weights

    def of(self, serving: ServedVersion) -> EvidenceWeights | None:
        """Return what counts beside a version now; None if nothing does."""
        if self.weighed_for is serving and not self.news:
            return self.weights
        self._asked = serving
        if self._catch_up():
            if self.news and self._lock.acquire(blocking=False):  # else the background is at it
                try:
                    self._take_up(serving, 0, in_parts=True)
                finally:
                    self._lock.release()
            return self._so_far(serving)
        most = None if self._background is None else uptake.TOLD_AT_ONCE
        with self._lock:
            self._is_behind = not self._take_up(serving, most)
        if self._is_behind and not self._catch_up():  # the engine is closed
            with self._lock:
                self._take_up(serving, None)
        return self._so_far(serving)

    def take_part(self) -> bool:
        """Weigh some of the facts that wait, in the background; return whether more do."""
        with self._lock:
            serving = self._asked
            return serving is not None and not self._take_up(serving, uptake.PART, in_parts=True)

    def weigh_all(self, serving: ServedVersion) -> None:
        """Weigh all that waits, however long it takes; for calls that wait for the database anyway."""
        self._asked = serving
        while self.take_part():
            pass

    def _catch_up(self) -> bool:
        """Have the background weigh, if so much waits; return whether it does."""
        much = self._is_behind or self._evidence.heard > uptake.HEARD_AT_ONCE
        return much and self._asked is not None and self._background is not None and self._background.add(self)

    def _so_far(self, serving: ServedVersion) -> EvidenceWeights | None:
        weighed = self._weighed
        return weighed.weights if weighed.serving is serving else None

    def _take_up(self, serving: ServedVersion, most: int | None, *, in_parts: bool = False) -> bool:
        """Weigh what waits, ``most`` new facts in this part and the latest told here; otherwise none of more.

        Return whether all was weighed.
        """
        evidence = self._evidence
        with evidence.lock:
            known = [(one, evidence.query(one.trajectory)) for one in evidence.waiting(serving)]
            changes, heard = evidence.changes, evidence.heard
        known = [(one, query) for one, query in known if one.correction is not None or query.is_ranking]
        queries = {one.trajectory: query.query for one, query in known}
        own = {one for one, query in known if query.told_here}
        if not self._weigh(serving, [one for one, _ in known], queries, most, in_parts, own):
            return False
        with evidence.lock:
            evidence.heard -= heard
            if evidence.changes == changes:
                self.weighed_for = serving
        self._is_behind = False
        return True

    def _weigh(
        self,
        serving: ServedVersion,
        waiting: list[Judgement],
        queries: Mapping[bytes, NDArray[np.float16]],
        most: int | None,
        in_parts: bool,
        own: Collection[Judgement],
    ) -> bool:
        """Bring the ranking up to date, from the first judgement that differs from those it has learned."""
        found = self._found(serving, waiting)
        waiting = [judged for judged in waiting if _candidate(judged) in found]
        if not waiting:
            self._serving, self._ranking, self._rivals, self._weighed = None, None, None, _WeighedFacts(serving)
            return True
        kept = 0 if self._ranking is None else _alike(self._learned, waiting)
        weighed = self._weighed
        is_weighed = weighed.serving is serving and not weighed.early
        if is_weighed and kept == len(waiting) == len(self._learned) == weighed.facts:
            return True
        if most is not None and not in_parts and len(waiting) - kept > most:
            return False
        ranking = self._ranking or self._begun(serving, waiting[0], found)
        if most is not None and not (in_parts and most) and self._is_large():
            most = min(most, ranking.room(kept))
            if most < 0:
                return False
        part = waiting[kept:] if most is None else waiting[kept : kept + most]
        whole = kept + len(part) == len(waiting)
        left = waiting[kept + len(part) :]
        early = tuple([one for one in left if not in_parts or one in own or one in weighed.early][-uptake.EARLY :])
        if not (whole or part) and weighed.serving is serving and early == weighed.early:
            return False
        del self._names[ranking.forget(kept) :]
        rows = self._extended(serving, ranking, part, found)
        ranking.learn(self._events(part, queries, rows))
        self._learned = waiting[: kept + len(part)]
        more = len(self._learned) > weighed.facts or early != weighed.early
        if whole or weighed.serving is not serving or more:
            known = len(self._names)
            rows = self._extended(serving, ranking, early, found)
            weights = EvidenceWeights(rows, *ranking.moves_with(self._events(early, queries, rows)))
            del self._names[known:]
            self._weighed = _WeighedFacts(serving, len(self._learned), early, weights)
        return whole

    def _is_large(self) -> bool:
        """Whether a block of facts takes too long for an answer."""
        return len(self._names) * self._dim > uptake.LARGE

    def _found(self, serving: ServedVersion, waiting: Sequence[Judgement]) -> Mapping[str, NDArray[np.float32]]:
        """Return the embeddings of the candidates judged, those that are known here."""
        if not waiting:
            return {}
        self._begin(serving)
        wanted = dict.fromkeys(map(_candidate, waiting))
        found = dict(zip(*self._candidates.find(serving, list(wanted)), strict=True))
        self._judged = {name: found.get(name) for name in wanted}
        return found

    def _begun(
        self, serving: ServedVersion, judged: Judgement, found: Mapping[str, NDArray[np.float32]]
    ) -> RecentRanking:
        """Begin a ranking of the rivals, or else of the candidate that is judged first."""
        rivals = self._rivals if self._rivals is not None and len(self._rivals.names) else None
        first = rivals or FoundCandidates([_candidate(judged)], found[_candidate(judged)][None, :])
        slots = serving.catalog.slots(first.names)
        self._ranking = RecentRanking(serving.ranker, unit_rows(first.embeddings), slots)
        self._learned, self._names = [], list(first.names)
        return self._ranking

    def _extended(
        self,
        serving: ServedVersion,
        ranking: RecentRanking,
        part: Sequence[Judgement],
        found: Mapping[str, NDArray[np.float32]],
    ) -> Mapping[str, int]:
        """Add the candidates of ``part``; return the rows of all."""
        rows = {name: row for row, name in enumerate(self._names)}
        more = [name for name in dict.fromkeys(map(_candidate, part)) if name not in rows]
        if more:
            units = unit_rows(np.array([found[name] for name in more], np.float32))
            ranking.extend(units, serving.catalog.slots(more))
            rows.update((name, len(self._names) + row) for row, name in enumerate(more))
            self._names += more
        return rows

    def _begin(self, serving: ServedVersion) -> None:
        """Begin anew if the version, the rivals, or what is known of the candidates judged is another one."""
        state = self._candidates.state(serving)
        if self._serving is serving and self._state == state:
            return
        rivals = self._candidates.rivals(serving)
        if self._serving is not serving or not self._are_the_same(serving, rivals):
            self._ranking = None
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

    def _events(
        self,
        judged: Sequence[Judgement],
        queries: Mapping[bytes, NDArray[np.float16]],
        rows: Mapping[str, int],
    ) -> RankEvents:
        asked = [queries[one.trajectory] for one in judged]
        at = np.array([rows[_candidate(one)] for one in judged], np.int32)
        told = np.array([one.correction is not None for one in judged], np.bool_)
        return RankEvents(
            query=unit_rows(np.array(asked, np.float32).reshape(len(judged), self._dim)),
            shown=at,
            quality=np.array([np.nan if one.quality is None else one.quality for one in judged], np.float32),
            correct=np.where(told, at, np.int32(NONE)).astype(np.int32),
            weight=np.ones(len(judged), np.float32),
        )


def _alike(learned: Sequence[Judgement], waiting: Sequence[Judgement]) -> int:
    """Return how many of the first judgements are the same."""
    pairs = enumerate(zip(learned, waiting, strict=False))
    return next((at for at, (old, new) in pairs if old != new), min(len(learned), len(waiting)))


def _candidate(judged: Judgement) -> str:
    """Return the candidate that a judgement is about."""
    return judged.correction if judged.correction is not None else judged.route or ""
