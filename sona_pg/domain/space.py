"""A space: one isolated learning domain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Space:
    """Row of a space in the store."""

    space_id: int
    name: str
    dim: int
    settings: Mapping[str, Any] = field(default_factory=dict)  # learning settings by dotted name, complete
    has_own_settings: bool = True  # False: an earlier release has made it, see ``sona_pg.config.space_settings``
    has_kinds: bool = False  # whether an embedder has told it how to tell kinds of patterns


@dataclass(frozen=True, slots=True)
class SpaceSummary:
    """Summary of a space: identity and row counts."""

    name: str
    dim: int
    live_version: int  # 0 before anything was learned
    trajectories: int  # lifetime total, over all servers
    feedback: int
    waiting: int  # unlearned trajectories and feedback
    patterns: int
    candidates: int
    servers: int  # servers that have it open now
    created_at: datetime
