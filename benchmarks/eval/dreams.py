"""Worth of dreams: recall over a memory graph with one part after another, Φ of real dreams, and the hierarchy.

LoCoMo: the turns of a conversation are nodes. Each part adds features of spreading activation to the match, and the
mixing learns their weights from the evidence of half of the questions; the other half is measured. Beside dreams stand
as many random edges. The defaults were chosen on conversations 0 to 4 (``--split validation``).

CLINC150: one pattern for each intent, from its training queries. Does the hierarchy put the intents of a domain
together?
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.eval.context import Context
from benchmarks.eval.data import Clinc, Conversations, unit
from benchmarks.eval.stats import Figures, Table, gather
from sona_pg.config import DreamConfig
from sona_pg.domain.memory import EdgeKind, MemoryNode
from sona_pg.learning.graph.abstraction import hierarchy
from sona_pg.learning.graph.activation import FEATURES, PreparedGraph
from sona_pg.learning.graph.consolidation import Limits
from sona_pg.learning.graph.deep_round import Extent, run_round, union
from sona_pg.learning.graph.dreams import network_of, walks
from sona_pg.learning.graph.edges import GraphEdges
from sona_pg.learning.graph.integration import integration
from sona_pg.learning.graph.memory_graph import MemoryGraph
from sona_pg.learning.graph.mixing import JudgedRecall, Mixing, fit_mixing

DEPTHS = (5, 10, 25)
NOW, HALF_LIFE = 7.0, 30.0  # days
LIMITS = Limits(half_life=HALF_LIFE, degree=16, by_kind=True, merged=frozenset())
WEEKS = 10  # deep cycles before the questions
DREAMS = DreamConfig(count=50)
MEASURED = 200  # dreams whose Φ is measured
OWN = ("own",)
GRAPH = (*OWN, "similar", "co_active", "hubness")
SEQUENCE = (*GRAPH, "before", "after", "two_away", "group")
ALL = (*SEQUENCE, "dreamt")
NOTES = (
    "Means over questions of the share of evidence found; features of spreading activation alone, without the ranker.",
    f"Dreams of {WEEKS} deep cycles of {DREAMS.count}. Random: as many edges between random turns of the conversation.",
)
INTENTS_NOTE = (
    "Share of intents that share their group with a majority of their own domain; at random: groups shuffled."
)


def run_seed(context: Context, seed: int) -> Figures:
    """Return recall by part, quantiles of Φ, and the purity of the hierarchy."""
    talks = context.conversations()
    judged = np.random.default_rng(seed).random(len(talks.questions)) < 0.5
    figures: Figures = {}
    found: dict[str, list[list[float]]] = {}
    phi: list[float] = []
    joined = 0
    for number in np.unique(talks.of).tolist():
        talk = _Talk(talks, number, judged, seed)
        plain = talk.graph
        dreamt = talk.after_dreams(plain, DREAMS)
        exploring = talk.after_dreams(plain, dataclasses.replace(DREAMS, exploration=0.5))
        random = talk.with_random_edges(plain, int((dreamt.edges.kind == EdgeKind.DREAM).sum()) // 2)
        joined += int((dreamt.edges.kind == EdgeKind.DREAM).sum()) // 2
        arms = (
            ("embedding only", plain, OWN),
            ("+ graph", plain, GRAPH),
            ("+ sequence", plain, SEQUENCE),
            ("+ dreams", dreamt, ALL),
            ("+ random edges instead", random, ALL),
            ("+ dreams that explore", exploring, ALL),
            ("+ dreams, consolidated", talk.consolidated(dreamt), ALL),
        )
        for name, graph, features in arms:
            found.setdefault(name, []).extend(talk.recalled(graph, features))
        phi += talk.phi(plain, seed)
    for name, rows in found.items():
        figures[name] = dict(
            zip([*(f"@{depth}" for depth in DEPTHS), "MRR"], np.mean(rows, axis=0).tolist(), strict=True)
        )
        context.say(f"dreams seed {seed}: {name}: {figures[name]}")
    quantiles = np.quantile(phi, (0.1, 0.5, 0.67, 0.9)).tolist()
    figures["Φ"] = dict(zip(("10 %", "median", "67 %", "90 %"), quantiles, strict=True))
    figures["share of dreams above"] = {f"Φ {at}": float(np.mean(np.array(phi) >= at)) for at in (0.1, 0.3)}
    figures["edges"] = {"dreamt": float(joined)}
    figures |= _hierarchy(context.clinc(), seed)
    return figures


def report(context: Context, seeds: Sequence[Figures]) -> list[Table]:
    """Return the tables."""
    which = "0 to 4" if context.split == "validation" else "5 to 9"
    cells = gather(seeds)
    parts = [cell for cell in cells if cell.heading.startswith("@") or cell.heading == "MRR"]
    others = [cell for cell in cells if cell not in parts]
    intents = [cell for cell in others if cell.method.startswith("hierarchy")]
    rest = [cell for cell in others if cell not in intents]
    return [
        Table("dreams", f"Recall by part, LoCoMo, conversations {which}", parts, digits=3, notes=NOTES),
        Table("dreams-phi", f"Φ of {MEASURED} dreams a conversation, LoCoMo, conversations {which}", rest, digits=3),
        Table("dreams-hierarchy", "Hierarchy over 150 intents, CLINC150", intents, digits=3, notes=[INTENTS_NOTE]),
    ]


class _Talk:
    """One conversation as a memory graph, and its questions."""

    def __init__(self, talks: Conversations, number: int, judged: NDArray[np.bool_], seed: int) -> None:
        names = talks.ids_of(number)
        self._row = {name: row for row, name in enumerate(names)}
        rows = [int(name.removeprefix("turn-")) for name in names]
        asked = np.flatnonzero(talks.of == number)
        self._seed = seed * 100 + number
        self._questions = talks.questions
        self._evidence = {row: [self._row[name] for name in talks.evidence[row]] for row in asked.tolist()}
        self._judged, self._held_out = asked[judged[asked]].tolist(), asked[~judged[asked]].tolist()
        nodes = [MemoryNode(talks.ids[row], talks.turns[row], group=talks.groups[row]) for row in rows]
        graph = MemoryGraph.of(nodes, talks.turns.shape[1])
        edges = graph.similarity_edges(0.0).united(graph.sequence_edges(0.0))
        self.graph = graph.with_edges(edges)
        for row in self._judged:  # used together
            used = np.array(self._evidence[row], np.int32)
            first, second = np.triu_indices(len(used), 1)
            kind = EdgeKind.CO_ACTIVATION
            edges = edges.reinforced_by(used[first], used[second], kind, 0.0, HALF_LIFE)
            self.graph = self.graph.used(used, 0.0)
        self.graph = self.graph.with_edges(edges)

    def after_dreams(self, graph: MemoryGraph, config: DreamConfig) -> MemoryGraph:
        """Return the graph after some deep cycles without their consolidation."""
        for week in range(WEEKS):
            part = Extent(most=config.count)
            graph = run_round(graph, config, LIMITS, NOW, self._seed * 1000 + week, part).graph
        return graph

    def consolidated(self, graph: MemoryGraph) -> MemoryGraph:
        """Return the graph after a whole round without dreams."""
        return run_round(graph, dataclasses.replace(DREAMS, count=0), LIMITS, NOW, 0, Extent()).graph

    def with_random_edges(self, graph: MemoryGraph, count: int) -> MemoryGraph:
        """Return the graph with random edges in the place of dreams."""
        random = np.random.default_rng(self._seed)
        source, target = random.integers(0, len(graph), (2, count)).astype(np.int32)
        weight = np.full(count, DREAMS.edge_weight, np.float32)
        made = GraphEdges.of(len(graph), source, target, EdgeKind.DREAM, weight, NOW)
        return graph.with_edges(union([graph.edges, made]))

    def recalled(self, graph: MemoryGraph, features: Sequence[str]) -> list[list[float]]:
        """Return recall at each depth and the reciprocal rank of the questions held out."""
        prepared = PreparedGraph.of(graph, NOW, HALF_LIFE)
        kept = np.array([name in features for name in FEATURES])

        def activated(row: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
            active = prepared.activate(np.asarray(graph.embeddings @ self._questions[row], np.float32))
            return active.rows, np.where(kept, active.features, np.float32(0.0))

        told = []
        for row in self._judged:
            rows, values = activated(row)
            used = np.isin(rows, self._evidence[row]).astype(np.float64)
            if used.any():
                told.append(JudgedRecall(values, used / used.sum()))
        mixing = fit_mixing(told, Mixing.initial())
        found = []
        for row in self._held_out:
            rows, values = activated(row)
            order = rows[np.argsort(-mixing.scores(values), kind="stable")].tolist()
            places = [order.index(at) if at in order else len(graph) for at in self._evidence[row]]
            shares = [float(np.mean([place < depth for place in places])) for depth in DEPTHS]
            found.append([*shares, 1.0 / (1.0 + min(places))])
        return found

    def phi(self, graph: MemoryGraph, seed: int) -> list[float]:
        """Return Φ of some dreams."""
        weights = graph.edges.weights_at(NOW, HALF_LIFE)
        walked = walks(graph, DREAMS, NOW, HALF_LIFE, seed, MEASURED)
        return [integration(network_of(graph, weights, one)) for one in walked]


def _hierarchy(clinc: Clinc, seed: int) -> Figures:
    """Return the share of intents whose group has mostly intents of their domain, and that of shuffled groups."""
    random = np.random.default_rng(seed)
    few = [random.choice(np.flatnonzero(clinc.train.labels == intent), 20) for intent in range(len(clinc.names))]
    centroids = unit(np.stack([clinc.train.embeddings[rows].mean(axis=0) for rows in few]))
    groups = hierarchy(centroids.astype(np.float64))
    lowest = [group.members for group in groups if all(child >= 0 for child in group.children)]
    shuffled = random.permutation(clinc.domain)
    return {
        "hierarchy, lowest groups": {
            "groups": float(len(lowest)),
            "of one domain": _purity(lowest, clinc.domain),
            "at random": _purity(lowest, shuffled),
        }
    }


def _purity(groups: Sequence[Sequence[int]], domain: NDArray[np.integer]) -> float:
    right = sum(int(np.bincount(domain[list(members)]).max()) for members in groups)
    return right / sum(map(len, groups))
