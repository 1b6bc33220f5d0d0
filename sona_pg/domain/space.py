"""A space: one isolated learning domain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Space:
    """A space as the store knows it."""

    space_id: int
    name: str
    dim: int
    settings: Mapping[str, Any] = field(default_factory=dict)  # what it learns with, by dotted name; all of them
    has_own_settings: bool = True  # False: an earlier release has made it, see ``sona_pg.config.space_settings``
