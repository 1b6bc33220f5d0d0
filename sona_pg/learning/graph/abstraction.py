"""Abstraction: a hierarchy over patterns, as nodes and edges of the memory graph, so that SQL can walk it.

Average-linkage clustering of the patterns' centroids (Sokal and Michener 1958) by nearest-neighbour chains (Murtagh
1983), cut into levels: each has a fifth of the groups of the one below. A group of two members or more is a node; an
edge leads from each member to it, weighed by their cosine. A group's id is made of the patterns in it, so it stays the
same as long as these do.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID, uuid5

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.memory import EdgeKind, MemoryNode, NodeKind
from sona_pg.learning.graph.consolidation import subgraph
from sona_pg.learning.graph.edges import GraphEdges
from sona_pg.learning.graph.memory_graph import MemoryGraph
from sona_pg.learning.vectors import unit

NAMES = UUID("6f1c4f0e-6c2b-5d0a-9a53-1d1f2f0c7c11")  # namespace of the ids of abstractions
BRANCHING = 5  # members of a group on average
LEAST_ALIKE = 0.15  # mean cosine of two groups below which they are not joined
MOST = 2000  # patterns in a hierarchy, the most important first: the time grows with their square

Doubles = NDArray[np.float64]
Merge = tuple[int, int, float]  # two groups by a member of each, and their mean cosine


@dataclass(frozen=True, slots=True)
class Abstraction:
    """A node of the hierarchy."""

    members: tuple[int, ...]  # patterns, by row
    children: tuple[int, ...]  # patterns by row, or earlier groups as -1 - their place


def without_abstractions(graph: MemoryGraph) -> MemoryGraph:
    """Return the graph without its hierarchy."""
    abstract = graph.kinds == NodeKind.ABSTRACTION
    return subgraph(graph, np.flatnonzero(~abstract)) if abstract.any() else graph


def with_abstractions(graph: MemoryGraph, now: float) -> MemoryGraph:
    """Return a graph that has no hierarchy with one over its patterns."""
    rows = np.flatnonzero(graph.kinds == NodeKind.PATTERN)
    if len(rows) > MOST:
        rows = np.sort(rows[np.argsort(-graph.importance[rows], kind="stable")[:MOST]])
    vectors = graph.embeddings[rows].astype(np.float64)
    groups = hierarchy(vectors)
    if not groups:
        return graph
    first = len(graph)
    made = [_node(graph, [int(rows[member]) for member in group.members]) for group in groups]
    whole = graph.extended(made)
    pairs = [
        (int(rows[child]) if child >= 0 else first - 1 - child, first + place)
        for place, group in enumerate(groups)
        for child in group.children
    ]
    source, target = np.array(pairs, np.int32).T
    weight = np.einsum("ij,ij->i", whole.embeddings[source], whole.embeddings[target])
    edges = GraphEdges.of(len(whole), source, target, EdgeKind.ABSTRACTION, weight, now)
    return whole.with_edges(whole.edges.united(edges))


def hierarchy(vectors: Doubles) -> list[Abstraction]:
    """Return the groups over unit ``vectors`` (n, dim), each after its children."""
    count = len(vectors)
    merges = sorted(linkage(vectors), key=lambda merge: -merge[2])
    joined = list(range(count))  # group of each vector, by its lowest member
    child_of = list(range(count))  # what stands for each of these groups one level below
    groups: list[Abstraction] = []
    done = 0
    wanted = count
    while wanted > 1:
        wanted = max(round(wanted / BRANCHING), 1)
        while done < min(len(merges), count - wanted) and merges[done][2] >= LEAST_ALIKE:
            low, high = sorted((joined[merges[done][0]], joined[merges[done][1]]))
            joined = [low if of == high else of for of in joined]
            done += 1
        below: dict[int, list[int]] = {}
        members: dict[int, list[int]] = {}
        for row, of in enumerate(joined):
            members.setdefault(of, []).append(row)
            children = below.setdefault(of, [])
            if child_of[row] not in children:
                children.append(child_of[row])
        for of, children in below.items():
            if len(children) > 1:
                groups.append(Abstraction(tuple(members[of]), tuple(children)))
                for row in members[of]:
                    child_of[row] = -len(groups)
        if done == len(merges) or merges[done][2] < LEAST_ALIKE:
            break
    return groups


def linkage(vectors: Doubles) -> list[Merge]:
    """Return the n - 1 merges of average linkage over unit ``vectors`` (n, dim), as they are found."""
    sums, sizes = vectors.copy(), np.ones(len(vectors))
    alive = np.ones(len(vectors), bool)
    chain: list[int] = []
    merges: list[Merge] = []
    for _ in range(len(vectors) - 1):
        while True:
            if not chain:
                chain = [int(np.flatnonzero(alive)[0])]
            tip = chain[-1]
            alike = sums @ sums[tip] / (sizes * sizes[tip])
            alike[~alive] = -np.inf
            alike[tip] = -np.inf
            nearest = int(np.argmax(alike))
            if len(chain) > 1 and alike[chain[-2]] >= alike[nearest]:
                break
            chain.append(nearest)
        second, first = chain.pop(), chain.pop()
        low, high = sorted((first, second))
        merges.append((low, high, float(alike[first])))
        sums[low] += sums[high]
        sizes[low] += sizes[high]
        alive[high] = False
    return merges


def _node(graph: MemoryGraph, members: list[int]) -> MemoryNode:
    named = "\n".join(sorted(graph.ids[row] for row in members))
    vector = unit(graph.embeddings[members].sum(axis=0)).astype(np.float16)
    return MemoryNode(
        id=f"abstraction/{uuid5(NAMES, named)}",
        embedding=vector.astype(np.float32),
        importance=float(graph.importance[members].mean()),
        kind=NodeKind.ABSTRACTION,
        access_count=int(graph.accesses[members].sum()),
        last_accessed=float(graph.accessed[members].max()),
    )
