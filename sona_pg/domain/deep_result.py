"""Result of a deep cycle (loop C)."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

from sona_pg.domain.cycle import CycleResult


@dataclass(frozen=True, slots=True)
class DreamTotals:
    """Scores of the dreams of a cycle; means over all of them."""

    count: int = 0
    novelty: float = 0.0
    coherence: float = 0.0
    utility: float = 0.0
    quality: float = 0.0
    diversity: float = 1.0  # 1 minus the mean overlap of two dreams' nodes
    good: int = 0  # of sufficient quality: their Φ is measured
    integration: float = 0.0  # mean Φ of these
    joined: int = 0  # of sufficient Φ as well: their connections joined the graph


@dataclass(frozen=True, slots=True)
class DeepResult:
    """The outcome of one deep cycle, or of a part of a round if its time was over.

    ``learned`` is False if there was nothing to dream of or to consolidate.
    """

    cycle_id: UUID
    base_version: int
    version: int  # equal to base_version when nothing was learned
    patterns: int
    milliseconds: float = 0.0
    at: float = 0.0  # moment of the cycle by the database's clock: days since 1970
    from_stage: int = 0  # where in a round the cycle began
    from_done: int = 0
    units: int = 0  # of work done
    finished: bool = True  # whether the round was finished; the next cycle continues one that was not
    nodes: int = 0  # afterwards
    edges: int = 0  # afterwards; symmetric ones counted once
    linked: int = 0  # nodes that got similarity edges
    dreams: DreamTotals = field(default_factory=DreamTotals)
    best: tuple[Any, ...] = ()  # up to three dreams that joined, as JSON-ready values
    confirmed: int = 0  # dreamt edges that use has confirmed
    faded: int = 0  # dreamt edges that went because it has not
    strengthened: int = 0  # nodes
    weakened: int = 0
    pruned: int = 0
    merged: int = 0
    edges_removed: int = 0  # stored rows that faded or were beyond a node's degree
    abstractions: int = 0  # nodes of the hierarchy over patterns
    communities: int = 0  # that have nodes; found when a round is finished
    tasks_folded: int = 0  # protected tasks of EWC that became one
    candidates: int = 0  # candidates with a slot in the learned state
    loop: Literal["deep"] = "deep"
    trajectories: int = 0  # a deep cycle reads no facts of the ledger
    feedback: int = 0
    set_aside: int = 0

    @property
    def learned(self) -> bool:
        """Whether a new version was published."""
        return self.version != self.base_version

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-ready values."""
        return {**dataclasses.asdict(self), "cycle_id": str(self.cycle_id), "learned": self.learned}

    def __str__(self) -> str:
        return json.dumps(self.as_dict())


AnyCycle = CycleResult | DeepResult
