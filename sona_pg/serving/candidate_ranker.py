"""Ranking of candidates: repeated sets are prepared once, and stored at their first use."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sona_pg import kernels
from sona_pg.domain.answer import Ranking
from sona_pg.domain.catalog import Catalog
from sona_pg.domain.memory import GroupOrder
from sona_pg.errors import InvalidValue, UnknownCandidate
from sona_pg.learning.ranking.ranker_confidence import Confidence
from sona_pg.learning.ranking.ranker_explore import explore
from sona_pg.learning.ranking.ranker_prepared import Prepared, prepare
from sona_pg.limits import MOST_EXPLORATION
from sona_pg.serving.arguments import (
    as_direction,
    as_matrix,
    as_vector,
    require_amount,
    require_count,
    require_directions,
)
from sona_pg.serving.background_uptake import BackgroundUptake
from sona_pg.serving.candidate_sets import KEPT_SETS, KeepSet, Named, NamedSets, check_ids
from sona_pg.serving.overlay import Overlay
from sona_pg.serving.prepared_sets import PreparedSets, RankedSet, ReadySet, RecentSet
from sona_pg.serving.ranking_evidence import RankingEvidence
from sona_pg.serving.recent_evidence import RecentEvidence
from sona_pg.serving.retired_candidates import RetiredCandidates
from sona_pg.serving.rival_candidates import RivalCandidates
from sona_pg.serving.served_version import ServedVersion

MANY = 1000  # candidates above which only the best are sorted


class Keep(Protocol):
    """Stores candidates; without ``wait`` it returns False if there is no room, and must be called again."""

    def __call__(
        self,
        ids: Sequence[str],
        embeddings: NDArray[np.float32],
        *,
        wait: bool = False,
        order: GroupOrder | None = None,
    ) -> bool: ...


class CandidateRanker:
    """Ranks by the served version; stores each set and embedding at its first use."""

    def __init__(
        self,
        dim: int,
        keep: Keep,
        keep_set: KeepSet,
        evidence: RecentEvidence,
        background: BackgroundUptake | None = None,
    ) -> None:
        """Start without prepared sets; ``keep`` stores candidates, ``keep_set`` their sets.

        ``evidence`` is weighed before a version has learned it, much of it in the ``background``.
        """
        self._dim = dim
        self._keep = keep
        self._named = NamedSets("candidate id", keep_set)
        self._sets: OrderedDict[int, RankedSet] = OrderedDict()
        self._sets_made = 0
        self._given_prepared: PreparedSets | None = None  # sets with embeddings
        self._stored_prepared: PreparedSets | None = None
        self.overlay = Overlay()
        self.retired = RetiredCandidates()
        self._rivals = RivalCandidates(dim, self.overlay, self._given)
        self.evidence = RankingEvidence(evidence, dim, self._rivals, background)
        self._lock = threading.Lock()

    def rank(
        self,
        serving: ServedVersion,
        query: ArrayLike,
        candidates: ArrayLike | None,
        ids: Sequence[str] | None,
        k: int,
        exploration: float,
    ) -> Ranking:
        """Return the best ``k``; see ``SonaEngine.rank``."""
        ready = self._recent(serving, ids) if candidates is None else None
        if ready is None or type(k) is not int or k < 1 or exploration != 0:
            query, k = as_direction(query, self._dim, "query"), require_count(k)
            require_amount(exploration, "exploration", MOST_EXPLORATION)
            ready = self._ready(serving, self._chosen(serving, candidates, ids))
        recent = self.evidence
        if recent.news or recent.weighed_for is not serving or recent.weights is not None:
            ready = self._weighed(ready)
        try:
            block = ready.scorer.block if exploration == 0 else None
            best = None if block is None else block.best(query, k, ready.candidates.ids, ready.confidence.sharpness)
        except OverflowError:  # of k
            require_count(k)
            raise
        if best is None:
            rows = as_direction(query, self._dim, "query")[None, :]
            return self._ranked(ready, rows, k, exploration)[0]
        first, scores, among = best
        believed = ready.confidence.of_best(float(scores[0]), among)
        return Ranking(first, scores, serving.version, ready.candidates.set_id, *believed)

    def rank_many(
        self,
        serving: ServedVersion,
        queries: NDArray[np.float32],
        candidates: ArrayLike | None,
        ids: Sequence[str] | None,
        k: int,
        exploration: float,
    ) -> list[Ranking]:
        """Return the best ``k`` for each of ``queries`` (n, dim); see ``SonaEngine.rank_many``."""
        require_amount(exploration, "exploration", MOST_EXPLORATION)
        ready = self._weighed(self._ready(serving, self._chosen(serving, candidates, ids)))
        return self._ranked(ready, queries, k, exploration)

    def _ranked(self, ready: ReadySet, queries: NDArray[np.float32], k: int, exploration: float) -> list[Ranking]:
        scores = ready.scorer.score(queries)
        order_by = scores
        if exploration > 0:
            ranker, embeddings = ready.serving.ranker, ready.candidates.embeddings
            order_by = explore(ranker, scores, ready.slots, exploration, queries, embeddings)
        order = best_first(order_by, k)
        best = np.take_along_axis(scores, order, axis=1)
        ids = ready.candidates.ids
        right, fit = ready.confidence.of(scores, best[:, 0])
        fits: list[float | None] = [None] * len(right) if fit is None else fit.tolist()
        return [
            Ranking(
                ids=tuple(ids[row] for row in rows),
                scores=of_query,
                version=ready.serving.version,
                candidate_set=ready.candidates.set_id,
                confidence=confidence,
                fit=fitting,
            )
            for rows, of_query, confidence, fitting in zip(order.tolist(), best, right.tolist(), fits, strict=True)
        ]

    def remember(self, ids: Sequence[str], embeddings: NDArray[np.float32], order: GroupOrder | None = None) -> None:
        """Store candidates (m, dim); known here at once, on other servers once they are committed."""
        names = check_ids("candidate id", ids)
        if len(names) != len(embeddings):
            raise InvalidValue(f"{len(embeddings)} embeddings with {len(names)} ids: expected one id each")
        self.overlay.require_room(names)
        self._keep(names, embeddings, wait=True, order=order)
        self.overlay.remember(names, embeddings)

    def ready(self, serving: ServedVersion, ids: Sequence[str] | None) -> ReadySet:
        """Return stored candidates as ``serving`` and recent evidence score them; all of them if no ids are given."""
        return self._weighed(self._recent(serving, ids) or self._ready(serving, self._stored(serving, ids)))

    def catalog(self, serving: ServedVersion) -> Catalog:
        """Return the candidates of a version, followed by further ones that this server knows by their ids."""
        return self.overlay.catalog(serving.catalog)

    def ids_of(self, number: int) -> tuple[str, ...] | None:
        """Return the ids of a candidate set that this server named lately; none of them for all candidates."""
        return self._named.ids_of(number)

    def shown(self, candidates: Sequence[str] | Mapping[str, ArrayLike]) -> int | None:
        """Return the number of a candidate set ranked by the application; see ``begin_trajectory``.

        None: there is no room to store it.
        """
        if isinstance(candidates, Mapping):
            rows = [as_vector(row, self._dim, f"candidate {name!r}") for name, row in candidates.items()]
            return self._prepared(np.reshape(rows, (-1, self._dim)), list(candidates)).set_id
        return self._named.number(candidates).number

    def _recent(self, serving: ServedVersion, ids: Sequence[str] | None) -> ReadySet | None:
        """Return a recently ranked set of this version; None if there is none, or the store must hear of it again."""
        prepared = self._stored_prepared
        if ids is None or prepared is None or prepared.serving is not serving:
            return None
        try:
            recent = prepared.recent.get(ids if type(ids) is tuple else tuple(ids))
        except TypeError:  # an id that cannot be hashed is none, and the check says so
            return None
        if recent is None or time.monotonic() > recent.until or recent.retired is not self.retired.ids:
            return None
        return recent.ready if self.overlay.catalog(serving.catalog) is prepared.catalog else None

    def _ready(self, serving: ServedVersion, chosen: RankedSet) -> ReadySet:
        """Return a set prepared for this version."""
        prepared = self._prepared_for(serving, None if chosen.stored is None else chosen.stored[0])
        ready = prepared.ready.get(chosen)
        if ready is None:
            slots = serving.catalog.slots(chosen.ids)
            scorer = prepare(serving.ranker, chosen.embeddings, slots)
            ready = ReadySet(serving, chosen, slots, scorer, Confidence(serving.ranker, chosen.embeddings))
            prepared.ready.put(chosen, ready, ready.numbers)
        if chosen.stored is not None:
            prepared.recent.put(chosen.ids, RecentSet(ready, *chosen.stored[1:]), ready.numbers)
        return ready

    def _prepared_for(self, serving: ServedVersion, catalog: Catalog | None) -> PreparedSets:
        """Return the cache of sets given by id from ``catalog``, or else with embeddings.

        It is replaced by one assignment, so threads may race.
        """
        prepared = self._given_prepared if catalog is None else self._stored_prepared
        if prepared is not None and prepared.serving is serving and prepared.catalog is catalog:
            return prepared
        prepared = PreparedSets(serving, catalog)
        if catalog is None:
            self._given_prepared = prepared
        else:
            self._stored_prepared = prepared
        return prepared

    def _weighed(self, ready: ReadySet) -> ReadySet:
        """Return a set as its version and recent evidence score it."""
        evidence = self.evidence.of(ready.serving)
        if evidence is None:
            return ready
        stored = ready.candidates.stored
        cache = self._prepared_for(ready.serving, None if stored is None else stored[0]).weighed
        known = cache.get(ready.candidates)
        if known is not None and known.evidence is evidence:
            return known
        assert isinstance(ready.scorer, Prepared)
        scorer = evidence.added_to(ready.scorer, ready.candidates.ids)
        weighed = dataclasses.replace(ready, scorer=scorer, evidence=evidence)
        cache.put(ready.candidates, weighed, ready.numbers)
        return weighed

    def _given(self) -> tuple[int, Sequence[RankedSet]]:
        """Return the sets that were ranked with embeddings, after a number that grows with each new one."""
        with self._lock:
            return self._sets_made, tuple(self._sets.values())

    def _chosen(self, serving: ServedVersion, candidates: ArrayLike | None, ids: Sequence[str] | None) -> RankedSet:
        if candidates is None:
            return self._stored(serving, ids)
        if ids is not None and self.retired.any_of(ids):
            rows = as_matrix(candidates, self._dim, "candidates")
            _require_one_each(rows, ids)
            kept = self.retired.rows_left(ids)
            candidates, ids = rows[kept], [ids[row] for row in kept]
        return self._prepared(candidates, ids)

    def _prepared(self, candidates: ArrayLike, ids: Sequence[str] | None) -> RankedSet:
        if ids is None:
            raise InvalidValue("candidates need ids=[…]: without them nothing can be learned about a candidate")
        named = self._named.number(ids)
        names = named.ids
        embeddings = as_matrix(candidates, self._dim, "candidates")
        _require_one_each(embeddings, names)
        checksum = kernels.crc32c(embeddings.data)
        with self._lock:
            known = self._sets.get(named.key)
            if known is not None and known.set_id == named.number and known.ids == names and known.checksum == checksum:
                self._sets.move_to_end(named.key)
                return known
        require_directions(embeddings, "candidates")
        self.overlay.require_room(names)
        kept = embeddings.copy()
        made = RankedSet(named.number, names, kept, checksum)
        if not self._keep(names, kept):  # a record with the set would name unknown candidates
            return dataclasses.replace(made, set_id=None)
        with self._lock:
            self._sets[named.key] = made
            self._sets_made += 1
            while len(self._sets) > KEPT_SETS:
                self._sets.popitem(last=False)
        return made

    def _take_up(self, catalog: Catalog) -> bool:
        """Add the candidates that were ranked here with their embeddings to the overlay; return whether any was new.

        Only once one of them is asked for by its id: the catalog is joined anew after each addition.
        """
        ranked = {name for given in self._given()[1] for name in given.ids if name not in catalog.index}
        found = self._rivals.ranked_here(ranked)
        if found:
            self.overlay.remember(list(found), np.stack(list(found.values())).astype(np.float32))
        return bool(found)

    def _stored(self, serving: ServedVersion, ids: Sequence[str] | None) -> RankedSet:
        """Return candidates given by id alone; all of them if no ids are given."""
        catalog, retired = self.overlay.catalog(serving.catalog), self.retired.ids
        if ids is None:
            wanted = self.retired.left_of(catalog)
        else:
            wanted = [ids[row] for row in self.retired.rows_left(ids)] if self.retired.any_of(ids) else ids
        named = self._named.number(wanted) if ids or catalog.ids else Named((), 0, stored=False)
        names = named.ids
        sets = self._prepared_for(serving, catalog).by_number
        last = sets.get(named.key)
        source = (catalog, named.until, retired)
        if last is not None and last.stored == source and last.ids == names and last.set_id == named.number:
            return last
        slots = catalog.slots(names)
        missing = [name for name, slot in zip(names, slots, strict=True) if slot < 0]
        if (missing or not names) and self._take_up(catalog):
            return self._stored(serving, ids)
        if missing or not names:
            what = ", ".join(map(repr, missing[:5])) or "any candidate"
            raise UnknownCandidate(
                f"version {serving.version} does not know {what}: give their embeddings or texts as well, or remember "
                "them first; candidates of another server are known here about a second after their commit"
            )
        halves = catalog.halves if len(names) == len(catalog) and ids is None else catalog.halves[slots]
        known = RankedSet(named.number, names, halves, 0, source)
        sets.put(named.key, known, halves.size)
        return known


def _require_one_each(embeddings: NDArray[np.float32], names: Sequence[str]) -> None:
    if len(embeddings) != len(names):
        raise InvalidValue(f"{len(embeddings)} candidates with {len(names)} ids: expected one id each")


def best_first(scores: NDArray[np.float32], k: int) -> NDArray[np.intp]:
    """Return the columns of the ``k`` highest of ``scores`` (n, m) in each row, (n, min(k, m)), best first.

    Of equal ones the first comes first. Of many columns only the best are sorted.
    """
    if scores.shape[1] < MANY or not 0 < 8 * k < scores.shape[1]:
        return np.argsort(-scores, axis=1, kind="stable")[:, :k]
    least = np.partition(scores, -k, axis=1)[:, -k]
    found = [np.flatnonzero(row >= lowest) for row, lowest in zip(scores, least, strict=True)]
    order = [rows[np.argsort(-row[rows], kind="stable")][:k] for row, rows in zip(scores, found, strict=True)]
    return np.array(order, np.intp).reshape(-1, k)
