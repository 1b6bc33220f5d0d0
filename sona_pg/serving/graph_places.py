"""Places of the nodes of a memory graph on a plane, for people who look at it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.catalog import Catalog
from sona_pg.domain.memory import EdgeKind
from sona_pg.domain.overview_figures import PlacedEdge, PlacedGraph, PlacedNode
from sona_pg.domain.pattern import LearnedPattern
from sona_pg.domain.state import LearnedState
from sona_pg.domain.wording import title, wordings
from sona_pg.learning.graph.edges import DIRECTED
from sona_pg.learning.graph.learned_graph import LearnedGraph
from sona_pg.learning.knowledge import graph_of
from sona_pg.learning.patterns.plane import Plane

EDGES_A_NODE = 3  # that are shown, on average


def placed_graph(
    state: LearnedState, patterns: Sequence[LearnedPattern], catalog: Catalog, plane: Plane, most: int
) -> PlacedGraph:
    """Return the ``most`` nodes with the heaviest edges, and the heaviest edges between them."""
    graph = graph_of(state)
    edges = graph.edges
    strength = np.bincount(edges.source, edges.weight, len(graph)) + np.bincount(edges.target, edges.weight, len(graph))
    rows = np.sort(np.argsort(-strength, kind="stable")[:most])
    embeddings = graph.embeddings(rows, patterns, catalog)
    if not patterns:
        plane = Plane.through(embeddings, embeddings.shape[1])
    shown = np.zeros(len(graph), bool)
    shown[rows] = True
    once = (edges.source < edges.target) | np.isin(edges.kind, DIRECTED)  # symmetric ones are stored both ways
    between = np.flatnonzero(once & shown[edges.source] & shown[edges.target])
    heaviest = between[np.argsort(-edges.weight[between], kind="stable")[: EDGES_A_NODE * len(rows)]]
    names = graph.names(catalog)
    return PlacedGraph(
        nodes=_nodes(graph, rows, plane.place(embeddings), names, patterns),
        edges=[
            PlacedEdge(
                names[edges.source[row]],
                names[edges.target[row]],
                EdgeKind(int(edges.kind[row])).name.lower(),
                float(edges.weight[row]),
            )
            for row in heaviest.tolist()
        ],
        all_nodes=len(graph),
        all_edges=int(once.sum()),
        dream_edges=int((once & (edges.kind == EdgeKind.DREAM)).sum()),
    )


def _nodes(
    graph: LearnedGraph,
    rows: NDArray[np.integer],
    places: NDArray[np.float64],
    names: Sequence[str],
    patterns: Sequence[LearnedPattern],
) -> list[PlacedNode]:
    typical = {f"pattern/{pattern.id}": pattern.typical_queries[:1] for pattern in patterns}
    made = []
    for row, (x, y) in zip(rows.tolist(), places.tolist(), strict=True):
        kind, _, source = names[row].partition("/")
        label = source if kind == "candidate" else title(wordings(typical.get(names[row], ())))
        made.append(PlacedNode(names[row], x, y, kind, label, float(graph.importance[row]), int(graph.accesses[row])))
    return made
