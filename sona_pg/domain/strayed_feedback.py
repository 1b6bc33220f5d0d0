"""Feedback that finds no trajectory in its space, as a thumb given through another tenant's engine."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class StrayedFeedback:
    """Facts of the last seven days whose trajectory has not come within an hour."""

    space_id: int
    name: str
    facts: int  # but for those that expired
    since: datetime | None  # when the first of these was given; None without any
    expired: int = 0  # on ids from before what retention keeps: late feedback, as is usual
    before_erasure: int = 0  # of ``facts``, on ids from before an erasure, which may have removed their trajectories
