"""Expectation: what a version's memory graph expects of a query, and of what came before it.

A query is like some patterns, whose candidates it may use. What came before is like some patterns and candidates, too,
and sessions tell what usually comes next: a first-order Markov chain over the sequence edges, with the confidence of
each step. ``spread`` is personalised PageRank (Jeh and Widom 2003), a few steps of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.catalog import UNKNOWN, Catalog
from sona_pg.domain.memory import EdgeKind, NodeKind
from sona_pg.domain.pattern import LearnedPattern
from sona_pg.learning.graph.activation import PreparedGraph, Primed
from sona_pg.learning.graph.edges import RATE, Floats, GraphEdges, Indices
from sona_pg.learning.graph.learned_graph import LearnedGraph

SHARPNESS = 14.0  # logits that a cosine of 1 is worth where something is told which nodes it is like
NEAREST = 8  # nodes that something is like
HALF_SURE = 2.0  # uses by which an edge is half of a sure one
STEPS = 4  # of PageRank
RESTART = 0.5

NO_LIFTS: Mapping[bytes, float] = MappingProxyType({})

Rows = NDArray[np.int64]
Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Expectation:
    """A learned graph as of one moment, prepared for queries."""

    graph: LearnedGraph
    strength: Doubles  # (edges,) in [0, 1] of each edge
    embeddings: Floats  # (n, dim) of length one
    season: Doubles  # (n,) share of a pattern's uses now that its season explains
    patterns: tuple[Rows, Floats]  # rows of the patterns, and their embeddings
    followed: tuple[Rows, Floats]  # rows of the nodes that something came after, and their embeddings

    @classmethod
    def of(
        cls,
        graph: LearnedGraph,
        patterns: Sequence[LearnedPattern],
        catalog: Catalog,
        now: float,
        half_life: float,
        lifts: Mapping[bytes, float] = NO_LIFTS,
    ) -> Expectation:
        """Prepare a graph for queries, its edges faded as of ``now`` (days); ``lifts``: see ``in_season``."""
        embeddings = graph.embeddings(np.arange(len(graph)), patterns, catalog)
        of_patterns = np.flatnonzero(graph.kinds == NodeKind.PATTERN)
        followed = np.unique(graph.edges.source[graph.edges.kind == EdgeKind.SEQUENCE]).astype(np.int64)
        parts = ((rows, embeddings[rows]) for rows in (of_patterns, followed))
        strength = _strength(graph, now, half_life)
        return cls(graph, strength, embeddings, np.zeros(len(graph)), *parts).in_season(lifts)

    def changed(self, graph: LearnedGraph, embeddings: Floats, now: float, half_life: float) -> Expectation:
        """Return a later ``graph``, without seasons: more nodes may follow, sequence edges are the same.

        ``embeddings`` (n, dim) are those of its nodes.
        """
        of_patterns = np.flatnonzero(graph.kinds == NodeKind.PATTERN)
        return Expectation(
            graph=graph,
            strength=_strength(graph, now, half_life),
            embeddings=embeddings,
            season=np.zeros(len(graph)),
            patterns=(of_patterns, embeddings[of_patterns]),
            followed=self.followed,
        )

    def in_season(self, lifts: Mapping[bytes, float]) -> Expectation:
        """Return the graph prepared for an hour; ``lifts``: of the patterns with a season, see ``seasons``."""
        season = np.zeros(len(self.graph))
        if lifts:
            of_patterns = self.patterns[0]
            shares = [1.0 - 1.0 / lifts.get(self.graph.keys[row].tobytes(), 1.0) for row in of_patterns.tolist()]
            season[of_patterns] = np.maximum(shares, 0.0)
        return dataclasses.replace(self, season=season)

    def of_query(self, x: Floats) -> Doubles:
        """Return how much each node (n,) is used by the patterns that ``x`` (dim,) is like."""
        return self._used_by(self._like(x, *self.patterns))

    def expected(self, context: Floats | None) -> Doubles:
        """Return how much each node (n,) is expected now, in [0, 1]: by its season, and after ``context`` (c, dim)."""
        known = context is not None and len(context)
        after = np.minimum(self.after(context[-1]), 1.0) if context is not None and known else np.zeros(len(self.graph))
        in_season = np.minimum(self.season + self._used_by(self.season), 1.0)
        return np.asarray(1.0 - (1.0 - after) * (1.0 - in_season), np.float64)

    def after(self, before: Floats) -> Doubles:
        """Return how much each node (n,) is expected after ``before`` (dim,): patterns, candidates, and their use."""
        edges = self.graph.edges
        rows = np.flatnonzero(edges.kind == EdgeKind.SEQUENCE)
        mass = self._like(before, *self.followed)
        reached = mass[edges.source[rows]] * self.strength[rows]
        expected = np.bincount(edges.target[rows], reached, len(self.graph))
        patterns = np.where(self.graph.kinds == NodeKind.PATTERN, expected, 0.0)
        return np.asarray(expected + self._used_by(patterns), np.float64)

    def spread(self, x: Floats) -> Doubles:
        """Return the activation of each node (n,) from the nodes that ``x`` (dim,) is like; they sum to 1 at most.

        It passes no dreamt edge that use has not confirmed: measured, these are worth no more than random ones.
        """
        edges, count = self.graph.edges, len(self.graph)
        seeds = self._like(x, np.arange(count), self.embeddings)
        strength = np.where(edges.kind == EdgeKind.DREAM, 0.0, self.strength)
        out = np.maximum(np.bincount(edges.source, strength, count), 1e-12)
        share = strength / out[edges.source]
        mass = seeds
        for _ in range(STEPS):
            moved = np.bincount(edges.target, mass[edges.source] * share, count)
            mass = RESTART * seeds + (1.0 - RESTART) * moved
        return np.asarray(mass, np.float64)

    def joined(self, prepared: PreparedGraph, slots: Indices) -> PreparedGraph:
        """Return prepared candidates of ``slots`` (m,) with the edges of common use and of dreams between them."""
        edges = self.graph.edges
        rows = _rows_of(slots, self.graph.slots)
        source, target = rows[edges.source], rows[edges.target]
        keep = (source != UNKNOWN) & (target != UNKNOWN)
        keep &= (edges.kind == EdgeKind.CO_ACTIVATION) | (edges.kind == EdgeKind.DREAM)
        strength = self.strength[keep].astype(np.float32)
        made = GraphEdges.joined(
            len(slots), source[keep], target[keep], edges.kind[keep], strength, edges.reinforced[keep]
        )
        return prepared.joined(made, made.weight)

    def primed(self, x: Floats, context: Floats | None, slots: Indices) -> Primed:
        """Return what the graph expects of candidates of ``slots`` (m,) for the unit query ``x`` (dim,)."""
        rows = _rows_of(slots, self.graph.slots)
        values = np.stack([np.minimum(self.of_query(x), 1.0), self.expected(context)], axis=1).astype(np.float32)
        nodes = np.flatnonzero((rows != UNKNOWN) & values.any(axis=1))
        return Primed(rows[nodes].astype(np.int64), values[nodes, 0], values[nodes, 1])

    def slots(self, values: Doubles) -> tuple[Rows, Doubles]:
        """Return the slots of the candidates with a value above 0, and the values."""
        rows = np.flatnonzero((self.graph.slots != UNKNOWN) & (values > 0.0))
        return self.graph.slots[rows].astype(np.int64), values[rows]

    def _like(self, x: Floats, among: Rows, embeddings: Floats) -> Doubles:
        """Return how much ``x`` is like each node (n,), of ``among`` (m,); they sum to the highest cosine."""
        found = np.zeros(len(self.graph))
        if not len(among):
            return found
        cosines = (embeddings @ x).astype(np.float64)
        best = among[np.argsort(-cosines, kind="stable")[:NEAREST]]
        near = np.sort(cosines)[::-1][:NEAREST]
        weight = np.exp(SHARPNESS * (near - near[0]))
        found[best] = max(float(near[0]), 0.0) * weight / weight.sum()
        return found

    def _used_by(self, patterns: Doubles) -> Doubles:
        """Return the use of each node (n,) by patterns of some mass (n,)."""
        edges = self.graph.edges
        rows = np.flatnonzero((edges.kind == EdgeKind.CO_ACTIVATION) & (patterns[edges.source] > 0.0))
        reached = patterns[edges.source[rows]] * self.strength[rows]
        return np.asarray(np.bincount(edges.target[rows], reached, len(self.graph)), np.float64)


def _rows_of(slots: Indices, wanted: Indices) -> Indices:
    """Return the row in ``slots`` (m,) of each of ``wanted`` (n,), UNKNOWN where there is none."""
    row_of = np.full(int(max(slots.max(initial=0), wanted.max(initial=0))) + 2, UNKNOWN, np.int32)
    known = np.flatnonzero(slots != UNKNOWN)
    row_of[slots[known]] = known.astype(np.int32)
    return np.where(wanted == UNKNOWN, UNKNOWN, row_of[wanted]).astype(np.int32)


def uses_of(weights: Doubles) -> Doubles:
    """Return the uses (m,) that alone would have brought edges to ``weights``."""
    return np.asarray(np.log1p(-np.minimum(weights, 1.0 - 1e-7)) / np.log1p(-RATE), np.float64)


def sureness(weights: Doubles) -> Doubles:
    """Return how sure common use is (m,), in [0, 1): a weight is small after few uses, however regular they were."""
    uses = uses_of(weights)
    return np.asarray(uses / (uses + HALF_SURE), np.float64)


def _strength(graph: LearnedGraph, now: float, half_life: float) -> Doubles:
    """Return the strength (m,) of each edge as of ``now`` (days)."""
    weights = graph.edges.weights_at(now, half_life).astype(np.float64)
    strength = np.where(graph.edges.kind == EdgeKind.CO_ACTIVATION, sureness(weights), weights)
    return np.where(graph.edges.kind == EdgeKind.SEQUENCE, _confidence(graph, weights), strength)


def _confidence(graph: LearnedGraph, weights: Doubles) -> Doubles:
    """Return the confidence (m,) of each sequence edge: its share of what followed a node, and one time more."""
    edges = graph.edges
    times = np.where(edges.kind == EdgeKind.SEQUENCE, uses_of(weights), 0.0)
    # A pattern is followed by patterns and a candidate by candidates, so that their shares do not mix.
    return np.asarray(times / (1.0 + np.bincount(edges.source, times, len(graph))[edges.source]), np.float64)
