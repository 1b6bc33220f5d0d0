"""The memory graph's part of a cycle: nodes and edges from the sessions of a slice.

Only trajectories with a session count, so a space without sessions has no graph and pays nothing for one. Every change
is by counts, so that the order of the slice does not matter; ``now`` is the latest moment in slice and graph.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sona_pg.config.graph_parts import GraphConfig
from sona_pg.domain.catalog import UNKNOWN, Catalog
from sona_pg.domain.ledger_slice import LedgerSlice
from sona_pg.domain.memory import EdgeKind, NodeKind
from sona_pg.domain.pattern import LearnedPattern
from sona_pg.domain.state import Arrays, LearnedState
from sona_pg.learning.graph.communities import adopted
from sona_pg.learning.graph.edges import GraphEdges, PairUses
from sona_pg.learning.graph.graph_nodes import selected, with_patterns
from sona_pg.learning.graph.learned_graph import NO_COMMUNITY, LearnedGraph, key_of_candidate
from sona_pg.learning.graph.memory_graph import LEAST_SIMILARITY, NEIGHBOURS
from sona_pg.learning.graph.open_sessions import sessions_from, sessions_to
from sona_pg.learning.graph.seasons import Seasons
from sona_pg.learning.graph.session_events import Activation, SessionEvents, session_events

PARTS = ("graph", "sessions", "seasons")
MOST_NEW = 4096  # candidates that become nodes in one cycle: each is inserted into an index at 0.4 ms
LEAST_WEIGHT = 1e-3  # an edge below it goes
MOVE = 0.05  # share of the way to the quality of an outcome that one activation moves an importance
FIRST_IMPORTANCE = 0.5
BLOCK = 1024  # nodes compared with all others at once

Sets = Mapping[int, Sequence[str]]
Pairs = Sequence[tuple[int, int]]


def learn_graph(
    before: LearnedState,
    claimed: LedgerSlice,
    patterns: Sequence[LearnedPattern],
    catalog: Catalog,
    sets: Sets,
    config: GraphConfig,
    version: int,
) -> dict[str, Arrays]:
    """Return the parts ``PARTS`` of the state of ``version``, as far as there are any.

    Args:
        before: the state before the slice.
        claimed: the slice.
        patterns: of ``version``.
        catalog: all candidates.
        sets: the ids of each candidate set that the slice names.
        config: of the space.
        version: that is made.
    """
    held = {part: before.arrays[part] for part in PARTS if part in before.arrays}
    in_session = any(name is not None for of in (claimed.fresh, claimed.revised) for name in of.sessions)
    if not config.nodes:
        return {}
    if not in_session and "graph" not in held:
        return held
    graph = LearnedGraph.from_arrays(held["graph"]) if "graph" in held else LearnedGraph.empty(before.micro.dim)
    kept = with_patterns(graph, patterns)
    if not in_session:
        return held if kept is graph else {**held, "graph": kept.to_arrays()}
    ends = sessions_from(held["sessions"]) if "sessions" in held else {}
    events = session_events(claimed, patterns, catalog, ends)
    now = max([kept.now, *(activation.at for activation in events.activations)])
    learned = _Learning(kept, events, patterns, catalog, sets, config, version, now).graph()
    seasons = Seasons.from_arrays(held.get("seasons"))
    seasons = seasons.after(events.activations, patterns, now, config.half_life)
    parts: dict[str, Arrays] = {"sessions": sessions_to(events.ends, now)}
    if len(learned):
        parts |= {"graph": learned.to_arrays(), "seasons": seasons.to_arrays()}
    return parts


class _Learning:
    """One slice folded into a graph."""

    def __init__(
        self,
        graph: LearnedGraph,
        events: SessionEvents,
        patterns: Sequence[LearnedPattern],
        catalog: Catalog,
        sets: Sets,
        config: GraphConfig,
        version: int,
        now: float,
    ) -> None:
        self._events = events
        self._patterns = patterns
        self._catalog = catalog
        self._sets = sets
        self._config = config
        self._now = now
        self._first_new = len(graph)
        self._graph = self._with_new_nodes(graph, version)
        rows = range(len(self._graph))
        slots, kinds = self._graph.slots.tolist(), self._graph.kinds.tolist()
        self._row_of_slot = {slots[row]: row for row in rows if slots[row] != UNKNOWN}
        of_key = {self._graph.keys[row].tobytes(): row for row in rows if kinds[row] == NodeKind.PATTERN}
        self._row_of_pattern = {
            place: of_key[pattern.id.bytes] for place, pattern in enumerate(patterns) if pattern.id.bytes in of_key
        }

    def graph(self) -> LearnedGraph:
        """Return the graph after the slice, within its bounds."""
        events, half_life = self._events, self._config.half_life
        edges = self._graph.edges
        edges = self._learned(edges, self._patterns_in_turn() + self._candidates_in_turn(), EdgeKind.SEQUENCE)
        gone = self._answers(events.taken_back)
        edges = edges.learned(gone, EdgeKind.CO_ACTIVATION, self._now, half_life, reverse=True)
        together = _joined(
            self._answers([*events.activations, *events.revised]),
            self._uses([(first, second, 1, 0) for first, second in self._slots(events.used_together)]),
            self._uses([(first, second, 0, 1) for first, second in self._slots(events.in_vain)]),
        )
        together = _joined(together, self._neighbours_unused(edges))
        edges = self._confirmed(edges, together)
        edges = edges.learned(together, EdgeKind.CO_ACTIVATION, self._now, half_life)
        edges = edges.united(self._similarities())
        edges = edges.without_weak(LEAST_WEIGHT, self._now, half_life)
        edges = edges.capped_by_kind(self._config.degree, self._now, half_life)
        learned = self._accessed(dataclasses.replace(self._graph, edges=edges))
        return self._bounded(adopted(learned, self._now, half_life))

    # -- nodes --------------------------------------------------------------------------------------------

    def _with_new_nodes(self, graph: LearnedGraph, version: int) -> LearnedGraph:
        """Return the graph with the patterns activated, and the candidates used most that have no node yet."""
        every = (*self._events.activations, *self._events.revised)
        counts = Counter(activation.used for activation in every)
        known = {UNKNOWN, *graph.slots.tolist()}
        fresh = sorted((slot for slot in counts if slot not in known), key=lambda slot: (-counts[slot], slot))
        slots = sorted(fresh[:MOST_NEW])
        there = {key.tobytes() for key in graph.keys[graph.kinds == NodeKind.PATTERN]}
        activated = sorted({activation.pattern for activation in every} - {UNKNOWN})
        patterns = [self._patterns[place] for place in activated]
        patterns = [pattern for pattern in patterns if pattern.id.bytes not in there]
        keys = [pattern.id.bytes for pattern in patterns]
        keys += [key_of_candidate(self._catalog.ids[slot]) for slot in slots]
        more = len(keys)
        if not more:
            return graph
        kinds = [NodeKind.PATTERN] * len(patterns) + [NodeKind.CANDIDATE] * len(slots)
        return LearnedGraph(
            kinds=_followed_by(graph.kinds, np.array(kinds, np.uint8)),
            keys=_followed_by(graph.keys, np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 16)),
            slots=_followed_by(graph.slots, np.array([UNKNOWN] * len(patterns) + slots, np.int32)),
            importance=_followed_by(graph.importance, np.full(more, FIRST_IMPORTANCE, np.float32)),
            accesses=_followed_by(graph.accesses, np.zeros(more, np.int64)),
            accessed=_followed_by(graph.accessed, np.zeros(more)),
            created=_followed_by(graph.created, np.full(more, version, np.int64)),
            communities=_followed_by(graph.communities, np.full(more, NO_COMMUNITY, np.int32)),
            vectors=graph.vectors,
            edges=graph.edges.grown_to(len(graph) + more),
        )

    def _accessed(self, graph: LearnedGraph) -> LearnedGraph:
        """Return the graph with one more use of every node activated, and its importance nearer to the outcomes."""
        count, told, total = np.zeros(len(graph), np.int64), np.zeros(len(graph)), np.zeros(len(graph))
        accessed = graph.accessed.copy()
        for fresh, activations in ((True, self._events.activations), (False, self._events.revised)):
            for activation in activations:
                pattern, slot = self._row_of_pattern.get(activation.pattern), self._row_of_slot.get(activation.used)
                for row in (pattern, slot):
                    if row is None:
                        continue
                    count[row] += fresh or row == slot  # a revised one has activated its pattern before
                    accessed[row] = max(accessed[row], activation.at)
                    if not np.isnan(activation.quality):
                        told[row] += 1
                        total[row] += activation.quality
        mean = total / np.maximum(told, 1)
        importance = mean + (graph.importance - mean) * (1.0 - MOVE) ** told
        return dataclasses.replace(
            graph, accesses=graph.accesses + count, accessed=accessed, importance=importance.astype(np.float32)
        )

    def _bounded(self, graph: LearnedGraph) -> LearnedGraph:
        """Return the graph with at most ``graph.nodes`` nodes: candidates and queries used least go first."""
        excess = len(graph) - self._config.nodes
        if excess <= 0:
            return graph
        use = graph.accesses * np.exp2(-np.maximum(self._now - graph.accessed, 0.0) / self._config.half_life)
        may_go = np.flatnonzero(graph.kinds != NodeKind.PATTERN)
        order = np.lexsort((np.array(graph.identities())[may_go], use[may_go]))
        place = np.arange(len(graph))
        place[may_go[order[:excess]]] = UNKNOWN
        return selected(graph, place)

    # -- edges --------------------------------------------------------------------------------------------

    def _learned(self, edges: GraphEdges, pairs: list[tuple[int, int]], kind: EdgeKind) -> GraphEdges:
        uses = self._uses([(first, second, 1, 0) for first, second in pairs])
        return edges.learned(uses, kind, self._now, self._config.half_life)

    def _patterns_in_turn(self) -> list[tuple[int, int]]:
        rows = self._row_of_pattern
        return [(rows[first], rows[second]) for first, second in self._events.patterns_in_turn if first in rows]

    def _candidates_in_turn(self) -> list[tuple[int, int]]:
        return list(self._slots(self._events.candidates_in_turn))

    def _slots(self, pairs: Pairs) -> Iterable[tuple[int, int]]:
        """Return pairs of slots as rows, as far as both have a node."""
        rows = self._row_of_slot
        return ((rows[first], rows[second]) for first, second in pairs if first in rows and second in rows)

    def _answers(self, activations: Sequence[Activation]) -> PairUses:
        """Return the uses and vain retrievals of candidates for patterns."""
        found = []
        for activation in activations:
            pattern = self._row_of_pattern.get(activation.pattern)
            used, vain = self._row_of_slot.get(activation.used), self._row_of_slot.get(activation.vain)
            if pattern is not None and used is not None:
                found.append((pattern, used, 1, 0))
            if pattern is not None and vain is not None:
                found.append((pattern, vain, 0, 1))
        return self._uses(found)

    def _neighbours_unused(self, edges: GraphEdges) -> PairUses:
        """Return the vain retrievals of candidates that are joined to a pattern, where another one was used.

        They were in the candidate set, so a weight comes to the share of a pattern's uses that a candidate has.
        """
        times: Counter[tuple[int, int]] = Counter()  # by pattern and candidate set
        own: Counter[tuple[int, int, int]] = Counter()  # and by the candidate used
        joined: dict[int, set[int]] = {}
        for activation in (*self._events.activations, *self._events.revised):
            pattern = self._row_of_pattern.get(activation.pattern)
            if pattern is None or activation.used == UNKNOWN:
                continue
            if pattern not in joined:
                span = slice(int(edges.starts[pattern]), int(edges.starts[pattern + 1]))
                near = edges.target[span][edges.kind[span] == EdgeKind.CO_ACTIVATION]
                joined[pattern] = set(near[self._graph.slots[near] != UNKNOWN].tolist())
            times[pattern, activation.candidate_set] += 1
            row = self._row_of_slot.get(activation.used)
            if row is not None:
                joined[pattern].add(row)
                own[pattern, activation.candidate_set, row] += 1
        members = {number: self._members(number) for number in {number for _, number in times}}
        found = []
        for (pattern, number), total in times.items():
            among = members[number]
            found += [
                (pattern, row, 0, total - own[pattern, number, row])
                for row in joined[pattern]
                if among is None or int(self._graph.slots[row]) in among
            ]
        return self._uses(found)

    def _members(self, number: int) -> frozenset[int] | None:
        """Return the slots of a candidate set; None for all candidates."""
        slots = frozenset(self._catalog.slots(list(self._sets.get(number, ()))).tolist())
        return slots if 0 < len(slots) < len(self._catalog) else None

    def _confirmed(self, edges: GraphEdges, together: PairUses) -> GraphEdges:
        """Return the edges with dreamt ones between nodes used together turned into co-activation."""
        dreamt = np.flatnonzero(edges.kind == EdgeKind.DREAM)
        if not len(dreamt):
            return edges
        used = together.summed(edges.nodes, symmetric=True)
        codes = (used.source.astype(np.int64) * edges.nodes + used.target)[used.ups > 0]
        turned = dreamt[np.isin(edges.source[dreamt].astype(np.int64) * edges.nodes + edges.target[dreamt], codes)]
        if not len(turned):
            return edges
        kinds = edges.kind.copy()
        kinds[turned] = EdgeKind.CO_ACTIVATION
        return GraphEdges.joined(edges.nodes, edges.source, edges.target, kinds, edges.weight, edges.reinforced)

    def _similarities(self) -> GraphEdges:
        """Return edges from each new node to the nodes nearest to it."""
        graph, found = self._graph, []
        if len(graph) == self._first_new:
            return GraphEdges.empty(len(graph))
        everything = graph.embeddings(np.arange(len(graph)), self._patterns, self._catalog)
        for start in range(self._first_new, len(graph), BLOCK):
            cosines = everything[start : start + BLOCK] @ everything.T
            own = np.arange(len(cosines))
            cosines[own, start + own] = -1.0
            count = min(NEIGHBOURS, len(graph))
            near = np.argpartition(-cosines, count - 1, axis=1)[:, :count]
            heavy = np.take_along_axis(cosines, near, 1)
            source = np.broadcast_to(start + own[:, None], near.shape)
            close = heavy >= LEAST_SIMILARITY
            found.append((source[close], near[close], heavy[close]))
        sources, targets, weights = (np.concatenate(column) for column in zip(*found, strict=True))
        ends = sources.astype(np.int32), targets.astype(np.int32)
        return GraphEdges.of(len(graph), *ends, EdgeKind.SIMILARITY, weights.astype(np.float32), self._now)

    @staticmethod
    def _uses(counted: Sequence[tuple[int, int, int, int]]) -> PairUses:
        columns = np.array(counted, np.int64).reshape(-1, 4).T
        return PairUses(columns[0].astype(np.int32), columns[1].astype(np.int32), columns[2], columns[3])


def _joined(*uses: PairUses) -> PairUses:
    columns = [(part.source, part.target, part.ups, part.downs) for part in uses]
    return PairUses(*(np.concatenate(column) for column in zip(*columns, strict=True)))


def _followed_by(values: NDArray[Any], more: NDArray[Any]) -> NDArray[Any]:
    return np.concatenate([values, more.astype(values.dtype)])
