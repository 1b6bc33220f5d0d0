"""Feedback that finds no trajectory in its space, as a thumb given through another tenant's engine."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class StrayedFeedback:
    """Facts of the last seven days whose trajectory has not come within an hour."""

    space_id: int
    name: str
    facts: int
    since: datetime  # when the first of them was given
