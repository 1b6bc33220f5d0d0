"""Parts of the memory graph that are switched on one after the other, in the product's own recall."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from benchmarks.eval.stats import Figures
from sona_pg import SonaConfig, SonaEngine
from sona_pg.domain.deep_result import DeepResult
from sona_pg.domain.memory import EdgeKind
from sona_pg.learning.graph.activation import FEATURES
from sona_pg.learning.graph.learned_graph import LearnedGraph
from sona_pg.learning.graph.mixing import DEFAULTS, SHARPNESS, Mixing
from sona_pg.learning.knowledge import graph_of
from sona_pg.serving.candidate_ranker import CandidateRanker, ReadySet
from sona_pg.serving.graph_evidence import GraphEvidence
from sona_pg.serving.graph_view import GraphView
from sona_pg.serving.served_version import ServedVersion

RANKING = ("own",)
GRAPH = (*RANKING, "similar", "co_active", "hubness", "used")
SEQUENCE = (*GRAPH, "before", "after", "two_away", "group", "context", "expected")
DREAMS = (*SEQUENCE, "dreamt")
DREAMT = SHARPNESS * DEFAULTS["co_active"]  # logits that a dreamt edge counts in the row of dreams, as a used one
LAST = 3  # units of a round after its dreams: settle, value, merge


@contextlib.contextmanager
def counting(names: Sequence[str]) -> Iterator[None]:
    """Have recall count the features of these ``names`` alone, with the weights that the version serves."""
    kept = np.array([name in names for name in FEATURES])
    dreamt = np.array([DREAMT * (name == "dreamt") for name in FEATURES])

    def scores(mixing: Mixing, features: NDArray[np.float32]) -> NDArray[np.float64]:
        return features.astype(np.float64) @ np.where(kept, mixing.weights + dreamt, 0.0)

    with patch.object(Mixing, "scores", scores):
        yield


@contextlib.contextmanager
def without_evidence() -> Iterator[None]:
    """Have recall answer as the version does, without what was judged since."""

    def as_learned(ranker: CandidateRanker, ready: ReadySet) -> ReadySet:
        return ready

    def of_version(evidence: GraphEvidence, serving: ServedVersion) -> GraphView | None:
        return serving.graph

    with patch.object(CandidateRanker, "_weighed", as_learned), patch.object(GraphEvidence, "of", of_version):
        yield


def dream_only(engine: SonaEngine) -> DeepResult:
    """Run a deep cycle to the end of its dreams: nothing is consolidated."""
    stop = threading.Event()
    return engine.deep_learn(progress=lambda done, total: done >= total - LAST and stop.set(), stop=stop)


def space_used(engine: SonaEngine) -> Figures:
    """Return size of the learned graph (nodes, edges, dreamt edges, bytes of a version), and its communities."""
    state = engine._session.held.serving.state
    graph, arrays = graph_of(state), state.arrays.get("graph", {})
    once = graph.edges.source < graph.edges.target
    sizes = {
        "nodes": float(len(graph)),
        "edges": float(len(graph.edges)),
        "dreamt": float((once & (graph.edges.kind == EdgeKind.DREAM)).sum()),
        "kB of a version": sum(np.asarray(values).nbytes for values in arrays.values()) / 1000,
        "communities": float(len(np.unique(graph.communities))),
        "modularity, %": 100.0 * modularity(graph),
    }
    return {"space used": sizes}


def modularity(graph: LearnedGraph) -> float:
    """Return how much more of the weight is within communities than chance would put there (Newman 2006)."""
    edges, of = graph.edges, graph.communities
    weights = edges.weights_at(graph.now, SonaConfig().graph.half_life).astype(np.float64)
    source, target = of[edges.source], of[edges.target]
    count, total = int(of.max(initial=0)) + 1, max(float(weights.sum()), 1e-12)
    by_chance = np.bincount(source, weights, count) @ np.bincount(target, weights, count) / total**2
    return float(weights[source == target].sum() / total - by_chance)
