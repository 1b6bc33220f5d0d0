"""Quality of the spaces of a store in the same days, from the daily figures: none of them is opened for that."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import NamedTuple

from sona_pg.domain.period_figures import PeriodSums
from sona_pg.domain.space import Space
from sona_pg.engine.period_overview import days_of_period
from sona_pg.engine.session import Session

COMPARED = 20  # spaces: this one, and those with most trajectories


class SpacePeriod(NamedTuple):
    """One space with its sums of a period."""

    space: str
    sums: PeriodSums
    missing_days: int  # not summed yet, left out


class ComparedSpaces(NamedTuple):
    """Spaces in the same days, by name."""

    first_day: date
    last_day: date
    spaces: Sequence[SpacePeriod]
    all: int


def compared_spaces(session: Session, days: float, until: date | None, only: int | None) -> ComparedSpaces:
    """Return the sums of the spaces in the last ``days`` of this one; with ``only`` of the space with this number."""
    _, first, last = days_of_period(session, days, until)
    known = session.pages.space_figures(only)
    own = session.space.space_id
    busiest = sorted(known, key=lambda one: (one.space_id != own, -one.trajectories, one.name))[:COMPARED]
    found = []
    for one in sorted(busiest, key=lambda one: one.name):
        summed = session.pages.overview.sums(Space(one.space_id, one.name, session.space.dim), first, last, 0)
        sums = PeriodSums.of(day for day in summed.sums if day.route is None)
        found.append(SpacePeriod(one.name, sums, summed.missing))
    return ComparedSpaces(first, last, found, len(known))
