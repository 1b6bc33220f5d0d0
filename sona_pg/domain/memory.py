"""Memory graph: its nodes, its edges and its dreams, as the application sees them."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SECONDS = 86_400  # of a day


def days_of(at: datetime) -> float:
    """Return a moment of the graph: days since 1970 (UTC)."""
    return at.timestamp() / SECONDS


class EdgeKind(enum.IntEnum):
    """Reason why two nodes are connected."""

    CO_ACTIVATION = 0  # used together in one session or for one question; symmetric
    SIMILARITY = 1  # close in the embedding space; symmetric
    SEQUENCE = 2  # the target came after the source; directed
    DREAM = 3  # proposed by a dream and not yet confirmed by use; symmetric
    ABSTRACTION = 4  # the target is the abstraction that the source belongs to; directed

    @property
    def directed(self) -> bool:
        """Whether source and target may not be exchanged."""
        return self in (EdgeKind.SEQUENCE, EdgeKind.ABSTRACTION)


class NodeKind(enum.IntEnum):
    """Origin of a node."""

    PATTERN = 0  # a pattern's centroid
    CANDIDATE = 1  # a candidate: a document, a turn of a conversation
    TRAJECTORY = 2  # the query of a trajectory
    ABSTRACTION = 3  # a group of patterns, or of such groups: a node of the hierarchy over patterns


@dataclass(frozen=True, slots=True, eq=False)
class MemoryNode:
    """One thing that is remembered."""

    id: str
    embedding: NDArray[np.float32]  # (dim,)
    importance: float = 0.5  # in [0, 1]
    kind: NodeKind = NodeKind.CANDIDATE
    group: str | None = None  # conversation, document or session whose order it belongs to
    access_count: int = 0
    last_accessed: float = 0.0  # days; the unit of every moment in the graph


@dataclass(frozen=True, slots=True)
class MemoryEdge:
    """One connection between two nodes."""

    source: str
    target: str
    kind: EdgeKind
    weight: float  # in [0, 1], as last reinforced
    reinforced: float = 0.0  # days


@dataclass(frozen=True, slots=True)
class Dream:
    """One walk over the memory graph, with its scores."""

    path: tuple[str, ...]  # node ids in the order of the walk
    jumps: tuple[int, ...]  # positions in the path that were reached by a creative jump
    novelty: float  # in [0, 1]: share of the walk's connections that the graph does not have
    coherence: float  # in [0, 1]: mean similarity of consecutive nodes
    utility: float  # in [0, 1]: mean importance of the nodes
    quality: float  # weighted sum of the three
    integration: float | None = None  # Φ of the nodes; None until it is asked for

    @property
    def phi(self) -> float | None:
        """SONA's name of ``integration``."""
        return self.integration


class GroupOrder(NamedTuple):
    """Group of some candidates, in the order of their ids."""

    group: str
    first: int  # position of the first one; the others follow

    def after(self, count: int) -> GroupOrder:
        """Return the order of the candidates after the first ``count``."""
        return GroupOrder(self.group, self.first + count)
