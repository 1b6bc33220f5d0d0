"""Quality by label and by user in a period."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple


class LabelQuality(NamedTuple):
    """Quality of the requests with one label."""

    label: str
    rated: int
    quality: float
    low: float
    high: float
    downs: float  # of its ratings, as thumbs down; a grade of 40 % counts .6
    share_of_rated: float
    share_of_downs: float | None  # None: nothing was rated down
    quality_without: float | None  # of the space without these requests; None: there are no others


@dataclass(frozen=True, slots=True)
class LabelsInPeriod:
    """Labels with the most ratings in a period, and users who gave more than a tenth of what was rated down."""

    first_day: date
    last_day: date
    labels: Sequence[LabelQuality]
    heavy_users: Sequence[LabelQuality]
