"""Plan of a rollback: what going back to a version would undo, for people who decide about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID


class UndoneRuns(NamedTuple):
    """Cycles that the live version holds and another one does not."""

    undone: int
    redone: int  # that the other one holds and the live one does not
    trajectories: int  # that the undone ones had learned
    feedback: int
    since: datetime | None  # when the first of them began


class UndoneTopic(NamedTuple):
    """A topic that would change; None: it is not there on that side."""

    pattern: UUID
    title: str | None
    quality_now: float | None
    quality_then: float | None
    size_now: int | None
    size_then: int | None


@dataclass(frozen=True, slots=True)
class UndoPlan:
    """What a rollback to a version would do."""

    version: int
    live: int
    runs: UndoneRuns
    topics: Sequence[UndoneTopic]  # those that would vanish, come back or change, the largest first
