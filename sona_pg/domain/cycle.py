"""Results of learning cycles and rebuilds."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal, Self
from uuid import UUID


@dataclass(frozen=True, slots=True)
class CycleResult:
    """The outcome of one cycle of loop B or C, or the sum over consecutive cycles.

    ``learned`` is False if there were no new facts.
    """

    loop: Literal["background", "deep", "rollback", "load"]
    cycle_id: UUID
    base_version: int
    version: int  # equal to base_version when nothing was learned
    trajectories: int  # new ones read
    feedback: int  # new facts read
    revised: int  # earlier trajectories whose quality changed
    set_aside: int  # rows that could not be learned from; sona.set_aside says why
    patterns: int  # patterns afterwards
    patterns_created: int
    patterns_merged: int
    patterns_pruned: int
    milliseconds: float
    candidates: int = 0  # candidates with a slot in the learned state
    without_route: int = 0  # trajectories with candidates but no route: the shown candidate is unknown
    cycles: int = 1  # number of cycles summed up here
    followed: bool = False  # whether unlearned facts remained after the claim

    def then(self, later: Self) -> Self:
        """Return the outcome of this and of ``later``, the cycle after it."""
        summed = {name: getattr(self, name) + getattr(later, name) for name in SUMMED}
        return dataclasses.replace(later, base_version=self.base_version, **summed)

    @property
    def learned(self) -> bool:
        """Whether a new version was published."""
        return self.version != self.base_version

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-ready values."""
        return {**dataclasses.asdict(self), "cycle_id": str(self.cycle_id), "learned": self.learned}

    def __str__(self) -> str:
        return json.dumps(self.as_dict())


SUMMED = (
    "trajectories", "feedback", "revised", "set_aside", "patterns_created", "patterns_merged", "patterns_pruned",
    "milliseconds", "without_route", "cycles",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class LearningSchedule:
    """Counts and times that decide whether a cycle is due."""

    live_version: int
    waiting: int  # unlearned trajectories and feedback
    learned: int  # those that were
    elapsed: timedelta  # since the last cycle began; before the first, since the space was made
    settings: Mapping[str, Any] = field(default_factory=dict)  # of the space, by dotted name; those that it has
    failures: int = 0  # cycles in a row that failed, on any server
    since_failure: timedelta = timedelta(0)  # since the last of them ended
    last_learner: UUID | None = None  # that held the lease last: it may still have the space in its cache


@dataclass(frozen=True, slots=True)
class DeepSchedule:
    """Facts that decide whether a deep cycle is due."""

    live_version: int
    learned_since: bool  # whether a version was made after the last deep cycle's
    finished: bool  # whether the last deep cycle finished its round
    elapsed: timedelta  # since the last one began; before the first, since the space was made
    failures: int  # of deep cycles in a row, on any server
    since_failure: timedelta
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class DeepExtent:
    """The moment of a deep cycle, and how far it went."""

    at: float  # days since 1970
    units: int | None  # None: to the end of its round


@dataclass(frozen=True, slots=True)
class PastCycle:
    """A cycle that made a version, with the inputs to repeat it."""

    cycle_id: UUID
    version: int
    candidates: int | None  # candidates with a slot in the learned state; None: not recorded
    loaded: bool = False  # loaded from a file: not learned from this ledger
    release: str | None = None  # release of the learner; None: not recorded
    deep: DeepExtent | None = None  # of a cycle of loop C


@dataclass(frozen=True, slots=True)
class RebuildResult:
    """Result of a rebuild."""

    version: int  # live afterwards
    cycles: int  # that were run again
    trajectories: int  # that were read
    differences: tuple[str, ...]  # parts of the live state that differ from the rebuilt ones
    published: bool
    milliseconds: float
    # Other releases that have learned some of the versions: their mathematics may explain differences.
    other_releases: tuple[str, ...] = ()

    @property
    def equal(self) -> bool:
        """Whether the rebuilt state equals the live one exactly."""
        return not self.differences

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-ready values."""
        lists = {"differences": list(self.differences), "other_releases": list(self.other_releases)}
        return {**dataclasses.asdict(self), **lists, "equal": self.equal}

    def __str__(self) -> str:
        return json.dumps(self.as_dict())
