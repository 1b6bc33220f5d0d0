"""A space: one isolated learning domain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Space:
    """A space as the store knows it."""

    space_id: int
    name: str
    dim: int
    settings: Mapping[str, Any] = field(default_factory=dict)  # learning settings by dotted name, complete
    has_own_settings: bool = True  # False: an earlier release has made it, see ``sona_pg.config.space_settings``


@dataclass(frozen=True, slots=True)
class SpaceSummary:
    """Summary of a space: identity and row counts."""

    name: str
    dim: int
    live_version: int  # 0 before anything was learned
    trajectories: int  # recorded in all, by every server there ever was
    feedback: int
    waiting: int  # of both, committed and not learned from
    patterns: int
    candidates: int
    servers: int  # that have it open now
    created_at: datetime
