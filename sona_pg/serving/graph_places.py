"""Places of the nodes of a memory graph on a plane, for people who look at it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.catalog import Catalog
from sona_pg.domain.memory import EdgeKind, NodeKind
from sona_pg.domain.overview_figures import PlacedEdge, PlacedGraph, PlacedNode
from sona_pg.domain.pattern import LearnedPattern
from sona_pg.domain.state import LearnedState
from sona_pg.domain.wording import title, wordings
from sona_pg.learning.graph.edges import DIRECTED
from sona_pg.learning.graph.learned_graph import LearnedGraph
from sona_pg.learning.knowledge import graph_of
from sona_pg.learning.patterns.plane import Plane

EDGES_A_NODE = 3  # that are shown, on average
MATCHES = 25  # nodes that a search shows


def placed_graph(
    state: LearnedState,
    patterns: Sequence[LearnedPattern],
    catalog: Catalog,
    plane: Plane,
    most: int,
    *,
    find: str = "",
    named: Callable[[UUID], str | None] = lambda pattern: None,
    texts: Callable[[Sequence[str]], Mapping[str, str]] = lambda ids: {},
) -> PlacedGraph:
    """Return the ``most`` nodes with the heaviest edges, and the heaviest edges between them.

    With ``find`` those whose label has this text, and what they are connected to. ``named`` returns the name that
    people gave a pattern, ``texts`` the texts of candidates by id; they are labels in place of typical queries and ids.
    """
    graph = graph_of(state)
    edges = graph.edges
    names = graph.names(catalog)
    strength = np.bincount(edges.source, edges.weight, len(graph)) + np.bincount(edges.target, edges.weight, len(graph))
    strongest = np.argsort(-strength, kind="stable")
    labels = _labels(graph, names, patterns, named)
    matching = strongest[[_has(labels, names[row], find) for row in strongest.tolist()]] if find else strongest
    rows = np.sort(_surrounded(graph, matching[:MATCHES], most) if find else strongest[:most])
    embeddings = graph.embeddings(rows, patterns, catalog)
    if not patterns:
        plane = Plane.through(embeddings, embeddings.shape[1])
    shown = np.zeros(len(graph), bool)
    shown[rows] = True
    once = (edges.source < edges.target) | np.isin(edges.kind, DIRECTED)  # symmetric ones are stored both ways
    between = np.flatnonzero(once & shown[edges.source] & shown[edges.target])
    heaviest = _heaviest(graph, between, EDGES_A_NODE * len(rows))
    told = texts([names[row].partition("/")[2] for row in rows.tolist() if graph.kinds[row] == NodeKind.CANDIDATE])
    labels |= {f"candidate/{id_}": text for id_, text in told.items()}
    return PlacedGraph(
        nodes=[
            PlacedNode(names[row], x, y, names[row].partition("/")[0], labels.get(names[row]),
                       float(graph.importance[row]), int(graph.accesses[row]), float(strength[row]))
            for row, (x, y) in zip(rows.tolist(), plane.place(embeddings).tolist(), strict=True)
        ],
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
        matches=[names[row] for row in matching[:MATCHES].tolist()] if find else [],
    )  # fmt: skip


def _heaviest(graph: LearnedGraph, rows: NDArray[np.integer], most: int) -> NDArray[np.integer]:
    """Return ``most`` of the edges ``rows``, heaviest first: those of each kind in turns, for dreams weigh little."""
    order = rows[np.argsort(-graph.edges.weight[rows], kind="stable")]
    kinds = graph.edges.kind[order]
    turn = np.zeros(len(order))
    for kind in np.unique(kinds):
        of_kind = kinds == kind
        turn[of_kind] = np.arange(of_kind.sum())
    return order[np.sort(np.argsort(turn, kind="stable")[:most])]


def _has(labels: Mapping[str, str], name: str, find: str) -> bool:
    return find.casefold() in labels.get(name, "").casefold()


def _surrounded(graph: LearnedGraph, rows: NDArray[np.integer], most: int) -> NDArray[np.integer]:
    """Return ``rows`` and the nodes to which they have the heaviest edges, ``most`` in all."""
    edges = graph.edges
    beside = np.zeros(len(graph))
    for ends, others in ((edges.source, edges.target), (edges.target, edges.source)):
        of_rows = np.isin(ends, rows)
        np.maximum.at(beside, others[of_rows], edges.weight[of_rows])
    beside[rows] = 2.0  # before all others: a weight is at most 1
    order = np.argsort(-beside, kind="stable")[:most]
    return order[beside[order] > 0]


def _labels(
    graph: LearnedGraph, names: Sequence[str], patterns: Sequence[LearnedPattern], named: Callable[[UUID], str | None]
) -> dict[str, str]:
    """Return the label of each node that has one: a typical query, the id of a candidate, what a group consists of."""
    titles = {f"pattern/{one.id}": named(one.id) or title(wordings(one.typical_queries)) for one in patterns}
    labels = {name: label for name, label in titles.items() if label is not None}
    for name in names:
        if name.startswith("candidate/"):
            labels[name] = name.partition("/")[2]
    edges = graph.edges
    of_groups = np.flatnonzero(edges.kind == EdgeKind.ABSTRACTION)
    members: dict[str, list[str]] = {}
    for row in of_groups.tolist():
        members.setdefault(names[edges.target[row]], []).append(names[edges.source[row]])
    for group, of in members.items():
        known = [labels[one] for one in of if one in labels]
        if known:
            labels[group] = f"{known[0]} and {len(of) - 1} more" if len(of) > 1 else known[0]
    return labels
