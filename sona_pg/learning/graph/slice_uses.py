"""Uses and vain retrievals that the sessions of a slice tell of the nodes of a memory graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from sona_pg.domain.catalog import UNKNOWN, Catalog
from sona_pg.domain.memory import EdgeKind, NodeKind
from sona_pg.domain.pattern import LearnedPattern
from sona_pg.learning.graph.edges import GraphEdges
from sona_pg.learning.graph.learned_graph import LearnedGraph
from sona_pg.learning.graph.pair_uses import PairUses
from sona_pg.learning.graph.session_events import Activation, SessionEvents

Sets = Mapping[int, Sequence[str]]
Pairs = Sequence[tuple[int, int]]


class SliceUses:
    """The events of a slice as pairs of nodes of a graph that has a node for each of them."""

    def __init__(
        self,
        graph: LearnedGraph,
        events: SessionEvents,
        patterns: Sequence[LearnedPattern],
        catalog: Catalog,
        sets: Sets,
    ) -> None:
        """Count nothing yet; ``sets``: the ids of each candidate set that the slice names."""
        self._graph = graph
        self._events = events
        self._catalog = catalog
        self._sets = sets
        rows = range(len(graph))
        slots, kinds = graph.slots.tolist(), graph.kinds.tolist()
        self._row_of_slot = {slots[row]: row for row in rows if slots[row] != UNKNOWN}
        of_key = {graph.keys[row].tobytes(): row for row in rows if kinds[row] == NodeKind.PATTERN}
        self._row_of_pattern = {
            place: of_key[pattern.id.bytes] for place, pattern in enumerate(patterns) if pattern.id.bytes in of_key
        }

    def nodes_of(self, activation: Activation) -> tuple[int | None, int | None]:
        """Return the rows of the pattern, and of the candidate that was used."""
        return self._row_of_pattern.get(activation.pattern), self._row_of_slot.get(activation.used)

    def in_turn(self) -> PairUses:
        """Return patterns, and candidates, that succeeded each other."""
        rows = self._row_of_pattern
        patterns = [(rows[first], rows[second]) for first, second in self._events.patterns_in_turn if first in rows]
        pairs = [*patterns, *self._rows(self._events.candidates_in_turn)]
        return _uses([(first, second, 1, 0) for first, second in pairs])

    def taken_back(self) -> PairUses:
        """Return the uses of candidates for patterns that a changed outcome takes back."""
        return self._answers(self._events.taken_back)

    def together(self, edges: GraphEdges) -> PairUses:
        """Return what was used together, or retrieved in vain beside it; ``edges``: those before the slice."""
        events = self._events
        return _joined(
            self._answers([*events.activations, *events.revised]),
            _uses([(first, second, 1, 0) for first, second in self._rows(events.used_together)]),
            _uses([(first, second, 0, 1) for first, second in self._rows(events.in_vain)]),
            self._neighbours_unused(edges),
        )

    def _rows(self, pairs: Pairs) -> Iterable[tuple[int, int]]:
        """Return pairs of slots as rows, as far as both have a node."""
        rows = self._row_of_slot
        return ((rows[first], rows[second]) for first, second in pairs if first in rows and second in rows)

    def _answers(self, activations: Sequence[Activation]) -> PairUses:
        """Return the uses and vain retrievals of candidates for patterns."""
        found = []
        for activation in activations:
            pattern, used = self.nodes_of(activation)
            vain = self._row_of_slot.get(activation.vain)
            if pattern is not None and used is not None:
                found.append((pattern, used, 1, 0))
            if pattern is not None and vain is not None:
                found.append((pattern, vain, 0, 1))
        return _uses(found)

    def _neighbours_unused(self, edges: GraphEdges) -> PairUses:
        """Return the vain retrievals of candidates that are joined to a pattern, where another one was used.

        They were in the candidate set, so a weight comes to the share of a pattern's uses that a candidate has.
        """
        times: Counter[tuple[int, int]] = Counter()  # by pattern and candidate set
        own: Counter[tuple[int, int, int]] = Counter()  # and by the candidate used
        joined: dict[int, set[int]] = {}
        for activation in (*self._events.activations, *self._events.revised):
            pattern, row = self.nodes_of(activation)
            if pattern is None or activation.used == UNKNOWN:
                continue
            if pattern not in joined:
                span = slice(int(edges.starts[pattern]), int(edges.starts[pattern + 1]))
                near = edges.target[span][edges.kind[span] == EdgeKind.CO_ACTIVATION]
                joined[pattern] = set(near[self._graph.slots[near] != UNKNOWN].tolist())
            times[pattern, activation.candidate_set] += 1
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
        return _uses(found)

    def _members(self, number: int) -> frozenset[int] | None:
        """Return the slots of a candidate set; None for all candidates."""
        slots = frozenset(self._catalog.slots(list(self._sets.get(number, ()))).tolist())
        return slots if 0 < len(slots) < len(self._catalog) else None


def with_uses(edges: GraphEdges, uses: SliceUses, now: float, half_life: float) -> GraphEdges:
    """Return the edges of co-activation after the uses of a slice, as of ``now`` (days)."""
    edges = edges.learned(uses.taken_back(), EdgeKind.CO_ACTIVATION, now, half_life, reverse=True)
    together = uses.together(edges)
    return _confirmed(edges, together).learned(together, EdgeKind.CO_ACTIVATION, now, half_life)


def _confirmed(edges: GraphEdges, together: PairUses) -> GraphEdges:
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


def _uses(counted: Sequence[tuple[int, int, int, int]]) -> PairUses:
    columns = np.array(counted, np.int64).reshape(-1, 4).T
    return PairUses(columns[0].astype(np.int32), columns[1].astype(np.int32), columns[2], columns[3])


def _joined(*uses: PairUses) -> PairUses:
    columns = [(part.source, part.target, part.ups, part.downs) for part in uses]
    return PairUses(*(np.concatenate(column) for column in zip(*columns, strict=True)))
