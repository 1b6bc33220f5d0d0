"""Ranking candidates: sets that come again are prepared once, and kept by the store from their first use."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sona_pg import kernels
from sona_pg.domain.answer import Ranking
from sona_pg.domain.catalog import Catalog
from sona_pg.engine.arguments import as_matrix
from sona_pg.engine.serving import Serving
from sona_pg.errors import ConfigError
from sona_pg.learning.ranker import explore, score

KEPT_SETS = 64  # candidate sets prepared at a time
LONGEST_ID = 1000  # bytes: an id is part of an index key


@dataclass(frozen=True, slots=True, eq=False)
class CandidateSet:
    """Candidates that are ranked together."""

    set_id: int  # a hash of the ids, as stored
    ids: tuple[str, ...]
    embeddings: NDArray[np.float32]  # (m, dim) float32
    checksum: int  # of the embeddings as they were given


Keep = Callable[[CandidateSet], None]


class Ranker:
    """Ranks by the served version; tells ``keep`` of every set it meets for the first time."""

    def __init__(self, dim: int, keep: Keep) -> None:
        """Start without prepared sets."""
        self._dim = dim
        self._keep = keep
        self._sets: OrderedDict[int, CandidateSet] = OrderedDict()
        self._slots: tuple[Catalog | None, dict[int, tuple[CandidateSet, NDArray[np.int32]]]] = (None, {})
        self._lock = threading.Lock()

    def rank(
        self,
        serving: Serving,
        query: NDArray[np.float32],
        candidates: ArrayLike | None,
        ids: Sequence[str] | None,
        k: int,
        exploration: float,
    ) -> Ranking:
        """Return the best ``k``; see ``SonaEngine.rank``."""
        return self.rank_many(serving, query[None, :], candidates, ids, k, exploration)[0]

    def rank_many(
        self,
        serving: Serving,
        queries: NDArray[np.float32],
        candidates: ArrayLike | None,
        ids: Sequence[str] | None,
        k: int,
        exploration: float,
    ) -> list[Ranking]:
        """Return the best ``k`` for each of ``queries`` (n, dim); see ``SonaEngine.rank_many``."""
        prepared = self._stored(serving, ids) if candidates is None else self._prepared(candidates, ids)
        slots = self._slots_of(serving, prepared)
        scores = score(serving.ranker, queries, prepared.embeddings, slots)
        order_by = explore(serving.ranker, scores, slots, exploration) if exploration > 0 else scores
        order = np.argsort(-order_by, axis=1, kind="stable")[:, : max(k, 0)]
        best = np.take_along_axis(scores, order, axis=1)
        return [
            Ranking(
                ids=tuple(prepared.ids[row] for row in rows),
                scores=of_query,
                version=serving.version,
                candidate_set=prepared.set_id,
            )
            for rows, of_query in zip(order.tolist(), best, strict=True)
        ]

    def _slots_of(self, serving: Serving, prepared: CandidateSet) -> NDArray[np.int32]:
        """Return the slots of a set, looked up once a version; threads that meet here do the same work twice."""
        catalog, known = self._slots
        if catalog is not serving.catalog:
            known = {}
            self._slots = (serving.catalog, known)
        slots = known.get(id(prepared))
        if slots is None or slots[0] is not prepared:
            slots = (prepared, serving.catalog.slots(prepared.ids))
            if len(known) < KEPT_SETS:
                known[id(prepared)] = slots
        return slots[1]

    def _prepared(self, candidates: ArrayLike, ids: Sequence[str] | None) -> CandidateSet:
        if ids is None:
            raise ConfigError("candidates need ids=[…]: without them nothing can be learned about a candidate")
        names = _checked_ids(ids)
        set_id = _set_id(names)
        embeddings = as_matrix(candidates, self._dim, "candidates")
        if len(embeddings) != len(names):
            raise ConfigError(f"{len(embeddings)} candidates with {len(names)} ids: expected one id each")
        checksum = kernels.crc32c(embeddings.data)
        with self._lock:
            known = self._sets.get(set_id)
            if known is not None and known.ids == names and known.checksum == checksum:
                self._sets.move_to_end(set_id)
                return known
        made = CandidateSet(set_id, names, embeddings.copy(), checksum)
        self._keep(made)
        with self._lock:
            self._sets[set_id] = made
            while len(self._sets) > KEPT_SETS:
                self._sets.popitem(last=False)
        return made

    def _stored(self, serving: Serving, ids: Sequence[str] | None) -> CandidateSet:
        """Return candidates that are known by id alone; all of them if no ids are given."""
        names = tuple(serving.catalog.ids) if ids is None else _checked_ids(ids)
        slots = serving.catalog.slots(names)
        missing = [name for name, slot in zip(names, slots, strict=True) if slot < 0]
        if missing or not names:
            what = ", ".join(map(repr, missing[:5])) or "any candidate"
            raise ConfigError(
                f"version {serving.version} does not know {what}: pass candidates=, or remember(ids, embeddings) "
                "and wait for the next cycle"
            )
        return CandidateSet(_set_id(names), names, serving.catalog.embeddings[slots], 0)


def _checked_ids(ids: Sequence[str]) -> tuple[str, ...]:
    names = tuple(ids)
    if not names or len(set(names)) != len(names):
        raise ConfigError(f"{len(names)} ids of which {len(set(names))} differ: expected one or more, each once")
    for name in names:
        if not isinstance(name, str) or not name or "\0" in name or len(name.encode()) > LONGEST_ID:
            raise ConfigError(f"candidate id {name!r} cannot be used: expected text of 1 to {LONGEST_ID} bytes")
    return names


def _set_id(names: tuple[str, ...]) -> int:
    digest = hashlib.blake2b("\0".join(sorted(names)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True) or 1
