"""Figures of a space that its store knows, whether it is open in a process or not."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SpaceFigures:
    """Counters of a space over all its servers, and whether it learns."""

    space_id: int
    name: str
    live_version: int  # 0 before anything was learned
    live_version_age: float  # seconds; before anything was learned, since the space was made
    trajectories: int  # lifetime total
    feedback: int
    unlearned: int  # trajectories and feedback
    unlearned_age: float  # seconds since the oldest of them was committed; 0 if there are none
    failed_cycles: int  # since the live version was made
