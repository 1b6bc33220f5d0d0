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


class QualityWithout(NamedTuple):
    """Quality of a space without the ratings of some users."""

    theirs: int  # ratings that these users gave
    rated: int  # the others
    quality: float | None  # of the others; None: there are none


@dataclass(frozen=True, slots=True)
class LabelsInPeriod:
    """Labels with the most ratings in a period, and users whose ratings weigh: heavy and one-sided ones."""

    first_day: date
    last_day: date
    labels: Sequence[LabelQuality]
    heavy_users: Sequence[LabelQuality]  # who gave more than a tenth of what was rated down
    always_good: Sequence[LabelQuality]  # users who rated everything good, ten times or more and beyond chance

    @property
    def without_always_good(self) -> QualityWithout | None:
        """Quality of the space without the users who rated everything good; None: there are none.

        A rating of two of them counts twice.
        """
        if not self.always_good:
            return None
        one = self.always_good[0]
        rated = round(one.rated / one.share_of_rated)
        total = (one.quality_without or 0.0) * (rated - one.rated) + one.quality * one.rated
        theirs = sum(user.rated for user in self.always_good)
        others = max(rated - theirs, 0)
        rest = total - sum(user.quality * user.rated for user in self.always_good)
        return QualityWithout(theirs, others, min(max(rest / others, 0.0), 1.0) if others else None)
