"""Recall: candidates ranked for a query, and with them the ones around a match in its group.

The order of groups (turns of a conversation, sections of a document) is read at the first recall, and then with the
candidates of other servers. Candidates remembered by this server are known at once.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sona_pg.domain.answer import Ranking
from sona_pg.domain.memory import GroupOrder
from sona_pg.errors import InvalidValue
from sona_pg.learning.graph.activation import BLOCK, SEEDS, PreparedGraph
from sona_pg.serving.arguments import as_direction, require_count
from sona_pg.serving.candidate_ranker import CandidateRanker
from sona_pg.serving.graph_evidence import GraphEvidence
from sona_pg.serving.graph_view import GraphView
from sona_pg.serving.prepared_sets import RankedSet, ReadySet
from sona_pg.serving.served_version import ServedVersion

Order = tuple[str, int]  # group and position of a candidate
KEPT_GRAPHS = 16  # candidate sets whose graph is kept
MOST_CONTEXT = 64  # embeddings of context that count: the latest


class _OfSet(NamedTuple):
    """Graph of a candidate set, with the edges of one version and of recent evidence."""

    view: GraphView | None
    slots: NDArray[np.int32]  # (m,) in the catalog of the view
    plain: PreparedGraph  # without them
    graph: PreparedGraph


class Recaller:
    """Ranks by the served version, then spreads activation along the order of groups. Safe from many threads."""

    def __init__(
        self,
        ranker: CandidateRanker,
        evidence: GraphEvidence,
        read_order: Callable[[], Sequence[tuple[str, str, int]]],
    ) -> None:
        """Start without any order; ``read_order`` reads id, group and position of all candidates in groups."""
        self._ranker = ranker
        self._evidence = evidence
        self._read_order = read_order
        self.lock = threading.RLock()  # a signal handler may close the engine while a call holds it
        self._here: dict[str, Order] = {}  # remembered by this server
        self._stored: dict[str, Order] | None = None  # None: not read yet
        self._graphs: OrderedDict[RankedSet, _OfSet] = OrderedDict()
        self._last = 0  # position given last

    @property
    def is_used(self) -> bool:
        """Whether anybody has recalled: else no order needs to be read."""
        return self._stored is not None

    def next_of(self, group: str, count: int) -> GroupOrder:
        """Return places for ``count`` candidates after all that this server has given.

        Positions are microseconds since 1970, so that servers which add to one group in turns need not ask each other.

        Raises:
            InvalidValue: the group is no text, or has a NUL character.
        """
        if not isinstance(group, str) or not group or "\0" in group:
            raise InvalidValue(f"group={group!r} is no name: expected text without a NUL character")
        with self.lock:
            first = max(time.time_ns() // 1000, self._last + 1)
            self._last = first + count
        return GroupOrder(group, first)

    def remember(self, names: Sequence[str], order: GroupOrder) -> None:
        """Know the order of candidates given to this server before it is committed."""
        with self.lock:
            for place, name in enumerate(names):
                self._here[name] = (order.group, order.first + place)
            self._graphs.clear()

    def read(self) -> None:
        """Read the order of all groups; later ones of this server are added."""
        with self.lock:
            given = dict(self._here)
        stored = {name: (group, position) for name, group, position in self._read_order()}
        with self.lock:
            if stored != self._stored:
                self._stored = stored
                self._graphs.clear()
            for name, order in given.items():  # committed, or told anew elsewhere: the store's word counts from now on
                told = stored.get(name)
                if told is not None and told[1] >= order[1] and self._here.get(name) == order:
                    del self._here[name]

    def recall(
        self,
        serving: ServedVersion,
        query: ArrayLike,
        ids: Sequence[str] | None,
        k: int,
        context: Sequence[ArrayLike],
        at: float,
    ) -> Ranking:
        """Return the best ``k`` at ``at`` (days); see ``SonaEngine.recall``."""
        x, k = _unit(as_direction(query, len(serving.ranker.query_sum), "query")), require_count(k)
        if not self.is_used:
            self.read()
        before = self._context(context, len(x))
        ready = self._ranker.ready(serving, ids)
        of_set, primed = self._prepared(ready, self._evidence.of(serving)), None
        prepared = of_set.graph
        if of_set.view is not None:
            primed = of_set.view.expectation_at(at).primed(x, before, of_set.slots)
        scores = ready.scorer.score(x[None, :])[0]
        active = prepared.activate(self._matches(serving, prepared, scores, x), before, max(SEEDS, 4 * k), primed)
        logits = serving.mixing.scores(active.features)
        best = np.argsort(-logits, kind="stable")[:k]
        names = ready.candidates.ids
        return Ranking(
            ids=tuple(names[row] for row in active.rows[best].tolist()),
            scores=logits[best].astype(np.float32),
            version=serving.version,
            candidate_set=ready.candidates.set_id,
        )

    @staticmethod
    def _matches(
        serving: ServedVersion, prepared: PreparedGraph, scores: NDArray[np.float32], x: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return the ranker's scores (n,) in units of cosine, around the mean cosine of the query."""
        slope = serving.ranker.cosine_slope
        return np.asarray((scores - scores.mean()) / slope + float(prepared.mean @ x), np.float32)

    def _context(self, context: Sequence[ArrayLike], dim: int) -> NDArray[np.float32] | None:
        if isinstance(context, str) or not isinstance(context, Sequence | np.ndarray):
            raise InvalidValue(f"context is of type {type(context).__name__}, expected a list of embeddings")
        rows = [_unit(as_direction(row, dim, "context")) for row in context[-MOST_CONTEXT:]]
        return np.stack(rows) if rows else None

    def _prepared(self, ready: ReadySet, view: GraphView | None) -> _OfSet:
        """Return the graph of a candidate set: the order of its groups, and the edges that were learned."""
        candidates = ready.candidates
        with self.lock:
            found = self._graphs.get(candidates)
            if found is not None and found.view is view:
                self._graphs.move_to_end(candidates)
                return found
            order = {**(self._stored or {}), **self._here}
        plain = _graph_of(candidates, order) if found is None else found.plain
        slots = ready.slots
        if view is not None and view.catalog is not ready.serving.catalog:
            slots = view.catalog.slots(candidates.ids)
        graph = plain if view is None else view.expectation.joined(plain, slots)
        made = _OfSet(view, slots, plain, graph)
        with self.lock:
            self._graphs[candidates] = made
            while len(self._graphs) > KEPT_GRAPHS:
                self._graphs.popitem(last=False)
        return made


def _graph_of(candidates: RankedSet, order: dict[str, Order]) -> PreparedGraph:
    """Return the graph of some candidates: those of a group follow each other by position."""
    names, count = candidates.ids, len(candidates.ids)
    groups, positions = np.full(count, -1, np.int32), np.zeros(count, np.int64)
    numbers: dict[str, int] = {}
    for row, name in enumerate(names):
        if name in order:
            group, positions[row] = order[name]
            groups[row] = numbers.setdefault(group, len(numbers))
    return PreparedGraph.in_order(_unit_rows(candidates.embeddings), groups, positions)


def _unit(x: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(x / np.linalg.norm(x), np.float32)


def _unit_rows(embeddings: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return rows (n, dim) of length one: those given, if they are so."""
    blocks = range(0, len(embeddings), BLOCK)
    norms = [np.linalg.norm(embeddings[at : at + BLOCK].astype(np.float32), axis=1) for at in blocks]
    if all((np.abs(norm - 1) < 2e-3).all() for norm in norms):  # half precision rounds by up to 5e-4
        return embeddings
    made = np.empty_like(embeddings)
    for at, norm in zip(blocks, norms, strict=True):
        made[at : at + BLOCK] = embeddings[at : at + BLOCK] / np.where(norm > 0, norm, 1)[:, None]
    return made
