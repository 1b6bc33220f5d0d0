"""One round over a memory graph, in units of work: link, dream, consolidate. It can end after any unit.

A round is a pure function of graph, settings, seed, moment, where it starts and how many units it does. The time that
a unit takes decides only after which unit a live round ends; that number is recorded, and a rebuild does as many.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sona_pg.config.graph_parts import DreamConfig
from sona_pg.domain.deep_result import DreamTotals
from sona_pg.domain.memory import Dream
from sona_pg.learning.graph.abstraction import with_abstractions, without_abstractions
from sona_pg.learning.graph.confirmation import settled
from sona_pg.learning.graph.consolidation import Consolidated, Limits, merged_duplicates, revalued, trimmed
from sona_pg.learning.graph.dreams import Walk, connections, diversity, judged, network_of, proposed_edges, walks
from sona_pg.learning.graph.edges import GraphEdges
from sona_pg.learning.graph.integration import integration
from sona_pg.learning.graph.linking import ROWS, similar_to, unlinked
from sona_pg.learning.graph.memory_graph import MemoryGraph

STAGES = ("link", "dream", "settle", "value", "merge")
BATCH = 64  # dreams walked at once
COMPARED = 200  # dreams whose diversity is measured
KEPT = 3  # best dreams that are reported whole


@dataclass(frozen=True, slots=True)
class Position:
    """Place in a round where the next one goes on."""

    stage: int = 0
    done: int = 0  # of the stage: rows looked at, dreams dreamt, or 1

    @property
    def is_start(self) -> bool:
        """Whether nothing of the round has been done."""
        return self == Position()


@dataclass(frozen=True, slots=True)
class Extent:
    """Part of a round to do."""

    start: Position = Position()
    most: int | None = None  # units; None: to the end
    stop: Callable[[int, int], bool] = lambda units, total: False  # asked after each unit; total: if all are done


@dataclass(frozen=True, slots=True, eq=False)
class Rounded:
    """Result of a round, or of a part of it."""

    graph: MemoryGraph
    next: Position  # where the next part goes on; the start if the round was finished
    units: int
    dreams: DreamTotals
    best: tuple[Dream, ...]  # that joined the graph, the best first
    consolidated: Consolidated
    linked: int  # nodes that got similarity edges
    confirmed: int  # dreamt edges that use has confirmed
    faded: int  # dreamt edges that it has not

    @property
    def finished(self) -> bool:
        """Whether all of the round was done."""
        return self.next.is_start


def run_round(
    graph: MemoryGraph, config: DreamConfig, limits: Limits, now: float, seed: int, extent: Extent
) -> Rounded:
    """Do the part ``extent`` of a round over ``graph`` at ``now`` (days).

    However far it gets: dreams that passed join, edges and nodes are within their limits, and the hierarchy is that of
    the patterns there are.
    """
    work = _Round(without_abstractions(graph), config, limits, now, seed)
    del graph  # the round replaces it
    units, position, total = 0, extent.start, work.total(extent.start)
    for reached in work.units(extent.start):
        position = reached
        units += 1
        if units == extent.most or extent.stop(units, total):
            break
    else:
        position = Position()
    return work.result(position, units)


@dataclass(slots=True, eq=False)
class _Round:
    graph: MemoryGraph
    config: DreamConfig
    limits: Limits
    now: float
    seed: int
    found: list[GraphEdges] = field(default_factory=list)  # not yet part of the graph
    joined: list[Dream] = field(default_factory=list)
    dreamt: list[Dream] = field(default_factory=list)
    consolidated: Consolidated = field(default_factory=Consolidated)
    linked: int = 0
    confirmed: int = 0
    faded: int = 0

    def total(self, start: Position) -> int:
        """Return the number of units from ``start`` to the end of the round."""
        blocks = -(-len(self._fresh(start.done)) // ROWS) if start.stage == 0 else 0
        dreams = self.config.count - (start.done if start.stage == 1 else 0) if len(self.graph) else 0
        last = len(STAGES) - max(start.stage, 2) - (start.stage >= 2 and start.done > 0)
        return blocks + (dreams if start.stage <= 1 else 0) + last

    def units(self, start: Position) -> Iterator[Position]:
        """Do one unit after the other; yield the place that is reached."""
        for stage in range(start.stage, len(STAGES)):
            self._join()
            for done in self._stage(stage, start.done if stage == start.stage else 0):
                yield Position(stage, done)

    def _stage(self, stage: int, done: int) -> Iterator[int]:
        """Do the units of a stage that are left; yield the number of those done."""
        if stage == 0:
            yield from self._link(done)
        elif stage == 1:
            yield from self._dream(done)
        elif not done:
            (self._settle, self._value, self._merge)[stage - 2]()
            yield 1

    def _link(self, first: int) -> Iterator[int]:
        """Link the nodes from row ``first`` on that have no similarity edge."""
        fresh = self._fresh(first)
        for start in range(0, len(fresh), ROWS):
            rows = fresh[start : start + ROWS]
            self.found.append(similar_to(self.graph, rows, self.now))
            self.linked += len(rows)
            yield int(rows[-1]) + 1

    def _fresh(self, first: int) -> NDArray[np.int64]:
        fresh = unlinked(self.graph) if len(self.graph) > 1 else np.zeros(0, np.int64)
        return fresh[fresh >= first]

    def _dream(self, start: int) -> Iterator[int]:
        if not len(self.graph):
            return
        weights = self.graph.edges.weights_at(self.now, self.limits.half_life)
        for first in range(start, self.config.count, BATCH):
            count = min(BATCH, self.config.count - first)
            walked = walks(self.graph, self.config, self.now, self.limits.half_life, self.seed, count, first=first)
            for number, one in enumerate(walked, first + 1):
                self._judge(one, weights)
                yield number

    def _judge(self, walked: Walk, weights: NDArray[np.float32]) -> None:
        dream = judged(self.graph, walked, self.config)
        if dream.quality >= self.config.least_quality:
            phi = integration(network_of(self.graph, weights, walked))
            dream = dataclasses.replace(dream, integration=phi)
            if phi >= self.config.least_integration and connections(walked):
                self.joined.append(dream)
                self.found.append(proposed_edges(self.graph, walked, self.config.edge_weight, self.now))
        self.dreamt.append(dream)

    def _settle(self) -> None:
        edges, self.confirmed, self.faded = settled(self.graph.edges, self.now)
        self.graph = self.graph.with_edges(edges)

    def _value(self) -> None:
        self.graph, self.consolidated = revalued(self.graph, self.now, self.limits)

    def _merge(self) -> None:
        self.graph, merged = merged_duplicates(self.graph, self.limits)
        self.consolidated = dataclasses.replace(self.consolidated, merged=merged)

    def _join(self) -> None:
        """Add the edges that were found to the graph."""
        if self.found:
            self.graph = self.graph.with_edges(union([self.graph.edges, *self.found]))
            self.found = []

    def result(self, position: Position, units: int) -> Rounded:
        """End the round here."""
        self._join()
        edges = len(self.graph.edges)
        self.graph = trimmed(self.graph, self.now, self.limits)
        removed = edges - len(self.graph.edges)
        self.graph = with_abstractions(self.graph, self.now)
        return Rounded(
            graph=self.graph,
            next=position,
            units=units,
            dreams=self._totals(),
            best=tuple(sorted(self.joined, key=lambda dream: -dream.quality)[:KEPT]),
            consolidated=dataclasses.replace(self.consolidated, edges_removed=removed),
            linked=self.linked,
            confirmed=self.confirmed,
            faded=self.faded,
        )

    def _totals(self) -> DreamTotals:
        if not self.dreamt:
            return DreamTotals()
        scores = np.array([(dream.novelty, dream.coherence, dream.utility, dream.quality) for dream in self.dreamt])
        measured = [dream.integration for dream in self.dreamt if dream.integration is not None]
        novelty, coherence, utility, quality = scores.mean(axis=0).tolist()
        return DreamTotals(
            count=len(self.dreamt),
            novelty=novelty,
            coherence=coherence,
            utility=utility,
            quality=quality,
            diversity=diversity(self.dreamt[:COMPARED]),
            good=len(measured),
            integration=float(np.mean(measured)) if measured else 0.0,
            joined=len(self.joined),
        )


def union(parts: Sequence[GraphEdges]) -> GraphEdges:
    """Return the edges of all parts; of those that several have, the heaviest weight and the latest moment stay."""
    columns = [[getattr(part, name) for part in parts] for name in ("source", "target", "kind", "weight", "reinforced")]
    return GraphEdges.joined(max(part.nodes for part in parts), *map(np.concatenate, columns))
