"""The memory graph of one version as it is learned and stored: nodes name their source.

A pattern's node has the pattern's centroid, a candidate's node the candidate's embedding; the other nodes have a vector
of their own, in half precision. The arrays are the part ``graph`` of a state: versions keep, restore and compare them
like all others. ``opened`` gives the graph with embeddings and names, ``closed`` takes it back.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.catalog import UNKNOWN, Catalog
from sona_pg.domain.memory import NodeKind
from sona_pg.domain.pattern import LearnedPattern
from sona_pg.domain.state import Arrays
from sona_pg.errors import MemoryGraphError
from sona_pg.learning.graph.edges import Floats, GraphEdges, Indices
from sona_pg.learning.graph.memory_graph import MemoryGraph
from sona_pg.learning.graph.node_vectors import NodeVectors, halved
from sona_pg.learning.vectors import unit

NO_COMMUNITY = 0  # of a node that no deep cycle has put into one
OF_CANDIDATES = uuid.UUID("5b0d2a3e-3c60-5f5b-9f1c-6d1b7a1c9e42")  # namespace of the keys of candidates' nodes

Keys = NDArray[np.uint8]  # (n, 16)


@dataclass(frozen=True, slots=True, eq=False)
class LearnedGraph:
    """Nodes by kind and key, and the edges between them."""

    kinds: NDArray[np.uint8]  # (n,) NodeKind
    keys: Keys  # (n, 16): of the pattern, trajectory or abstraction; of a candidate made from its id
    slots: Indices  # (n,) of a candidate; UNKNOWN for others
    importance: Floats  # (n,) in [0, 1]
    accesses: NDArray[np.int64]  # (n,)
    accessed: NDArray[np.float64]  # (n,) days
    created: NDArray[np.int64]  # (n,) version
    communities: Indices  # (n,) numbers from 1, or NO_COMMUNITY
    vectors: NDArray[np.float16]  # (v, dim) of the nodes with a vector of their own, in the order of the nodes
    edges: GraphEdges

    @classmethod
    def empty(cls, dim: int) -> LearnedGraph:
        """Return a graph without nodes."""
        return cls(
            kinds=np.zeros(0, np.uint8),
            keys=np.zeros((0, 16), np.uint8),
            slots=np.zeros(0, np.int32),
            importance=np.zeros(0, np.float32),
            accesses=np.zeros(0, np.int64),
            accessed=np.zeros(0, np.float64),
            created=np.zeros(0, np.int64),
            communities=np.zeros(0, np.int32),
            vectors=np.zeros((0, dim), np.float16),
            edges=GraphEdges.empty(0),
        )

    def __len__(self) -> int:
        """Return the number of nodes."""
        return len(self.kinds)

    @property
    def now(self) -> float:
        """The latest moment in it (days); 0 for an empty graph."""
        return float(max(self.accessed.max(initial=0.0), self.edges.reinforced.max(initial=0.0)))

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the graph as named arrays; the sources of the edges are in ``starts``."""
        edges = self.edges
        return {
            "kinds": self.kinds,
            "keys": self.keys,
            "slots": self.slots,
            "importance": self.importance,
            "accesses": self.accesses,
            "accessed": self.accessed,
            "created": self.created,
            "communities": self.communities,
            "vectors": self.vectors,
            "starts": edges.starts,
            "targets": edges.target,
            "edge_kinds": edges.kind,
            "weights": edges.weight,
            "reinforced": edges.reinforced,
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> LearnedGraph:
        """Restore from ``to_arrays``."""
        edges = GraphEdges.stored(
            starts=np.asarray(arrays["starts"], np.int64),
            target=np.asarray(arrays["targets"], np.int32),
            kind=np.asarray(arrays["edge_kinds"], np.uint8),
            weight=np.asarray(arrays["weights"], np.float32),
            reinforced=np.asarray(arrays["reinforced"], np.float64),
        )
        nodes = edges.nodes
        return cls(
            kinds=np.asarray(arrays["kinds"], np.uint8),
            keys=np.asarray(arrays["keys"], np.uint8).reshape(-1, 16),
            slots=np.asarray(arrays["slots"], np.int32),
            importance=np.asarray(arrays["importance"], np.float32),
            accesses=np.asarray(arrays["accesses"], np.int64),
            accessed=np.asarray(arrays["accessed"], np.float64),
            created=np.asarray(arrays["created"], np.int64),
            communities=np.asarray(arrays.get("communities", np.full(nodes, NO_COMMUNITY)), np.int32),
            vectors=np.asarray(arrays["vectors"], np.float16),
            edges=edges,
        )

    # -- with embeddings and names ------------------------------------------------------------------------

    def opened(self, patterns: Sequence[LearnedPattern], catalog: Catalog) -> MemoryGraph:
        """Return the graph with the embedding and the name of each node, in the same order."""
        own = has_vector(self.kinds)
        elsewhere = np.flatnonzero(np.logical_not(own))
        place = np.where(own, np.cumsum(own) - 1, -np.cumsum(np.logical_not(own))).astype(np.int32)
        return MemoryGraph(
            ids=tuple(self.names(catalog)),
            embeddings=NodeVectors(self.vectors, self.embeddings(elsewhere, patterns, catalog), place),
            importance=self.importance,
            kinds=self.kinds,
            groups=np.full(len(self), -1, np.int32),
            group_names=(),
            accesses=self.accesses,
            accessed=self.accessed,
            edges=self.edges,
        )

    def names(self, catalog: Catalog) -> list[str]:
        """Return the name of each node: ``pattern/…``, ``candidate/…``, ``query/…``, ``abstraction/…``."""
        return [
            f"candidate/{catalog.ids[slot]}"
            if slot != UNKNOWN
            else f"{PREFIXES[NodeKind(kind)]}/{uuid.UUID(bytes=key.tobytes())}"
            for kind, key, slot in zip(self.kinds.tolist(), self.keys, self.slots.tolist(), strict=True)
        ]

    def embeddings(
        self, rows: NDArray[np.integer], patterns: Sequence[LearnedPattern], catalog: Catalog
    ) -> NDArray[np.float32]:
        """Return the unit embeddings (len(rows), dim) of some nodes; zeros for one whose pattern is unknown."""
        out = np.zeros((len(rows), self.vectors.shape[1]), np.float32)
        kinds, slots = self.kinds[rows], self.slots[rows]
        own = np.flatnonzero(has_vector(kinds))
        if len(own):
            place = np.cumsum(has_vector(self.kinds)) - 1
            out[own] = self.vectors[place[rows[own]]]
        chosen = np.flatnonzero(slots != UNKNOWN)
        if len(chosen):
            out[chosen] = unit(catalog.halves[slots[chosen]].astype(np.float32))
        centroids = {pattern.id.bytes: pattern.centroid for pattern in patterns}
        for at in np.flatnonzero(kinds == NodeKind.PATTERN).tolist():
            centroid = centroids.get(self.keys[rows[at]].tobytes())
            if centroid is not None:
                out[at] = unit(centroid[None, :])[0]
        return out

    @classmethod
    def closed(cls, graph: MemoryGraph, catalog: Catalog, version: int, before: LearnedGraph) -> LearnedGraph:
        """Return an opened graph as it is stored; nodes that ``before`` lacks are created by ``version``.

        Nodes keep the communities that they have in ``before``.

        Raises:
            MemoryGraphError: a name has another form than ``names`` gives, or is of an unknown candidate.
        """
        sources = [_source(name, catalog) for name in graph.ids]
        keys = np.frombuffer(b"".join(key for _, key, _ in sources), np.uint8).reshape(-1, 16)
        kinds = np.array([kind for kind, _, _ in sources], np.uint8)
        known = dict(
            zip(
                before.identities(), zip(before.created.tolist(), before.communities.tolist(), strict=True), strict=True
            )
        )
        made = cls(
            kinds=kinds,
            keys=keys,
            slots=np.array([slot for _, _, slot in sources], np.int32),
            importance=graph.importance,
            accesses=graph.accesses,
            accessed=graph.accessed,
            created=np.zeros(len(kinds), np.int64),
            communities=np.full(len(kinds), NO_COMMUNITY, np.int32),
            vectors=halved(graph.embeddings, np.flatnonzero(has_vector(kinds))),
            edges=graph.edges,
        )
        told = [known.get(identity, (version, NO_COMMUNITY)) for identity in made.identities()]
        made.created[:] = [created for created, _ in told]
        made.communities[:] = [community for _, community in told]
        return made

    def identities(self) -> list[bytes]:
        """Return kind and key of each node."""
        whole = np.concatenate([self.kinds[:, None], self.keys], axis=1)
        return [row.tobytes() for row in whole]


def has_vector(kinds: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return whether nodes of ``kinds`` have a vector of their own."""
    return np.asarray((kinds != NodeKind.PATTERN) & (kinds != NodeKind.CANDIDATE), np.bool_)


def key_of_candidate(name: str) -> bytes:
    """Return the key of a candidate's node."""
    return uuid.uuid5(OF_CANDIDATES, name).bytes


# Of nodes whose key is a UUID.
PREFIXES: dict[int, str] = {
    kind: "query" if kind is NodeKind.TRAJECTORY else kind.name.lower()
    for kind in NodeKind
    if kind is not NodeKind.CANDIDATE
}
KINDS = {prefix: kind for kind, prefix in PREFIXES.items()}


def _source(name: str, catalog: Catalog) -> tuple[int, bytes, int]:
    """Return kind, key and slot of the node called ``name``."""
    prefix, _, rest = name.partition("/")
    if prefix == "candidate" and rest in catalog.index:
        return NodeKind.CANDIDATE, key_of_candidate(rest), catalog.index[rest]
    try:
        return KINDS[prefix], uuid.UUID(rest).bytes, UNKNOWN
    except (KeyError, ValueError) as exc:
        raise MemoryGraphError(
            f"node {name!r} names no source: expected candidate/<known id>, or one of {', '.join(KINDS)}/<uuid>"
        ) from exc
