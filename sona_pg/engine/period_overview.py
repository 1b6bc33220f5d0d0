"""Figures of the last days of a space, from the daily figures, and the events that charts over time mark."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, date, datetime, time, timedelta

from sona_pg.domain.ids import EPOCH
from sona_pg.domain.period_figures import (
    DaySpending,
    DaySums,
    DayTraffic,
    PeriodFigures,
    PeriodSums,
    QualityChange,
    RouteSpending,
    SinceStart,
    SpaceEvent,
    without,
)
from sona_pg.domain.price_change import price_changes
from sona_pg.domain.route_days import came_on
from sona_pg.engine.session import Session

LISTED_ROUTES = 12  # by what they cost; the others are in the sums of the space
EVENTS = 40  # of each sort
WHOLE = 3650.0  # days from which a period has no beginning


def end_of_period(session: Session, days: float, until: date | None = None) -> datetime:
    """Return when the last ``days`` end: now, or with the newest trajectory if all are older (an import).

    With ``until`` they end with this day (UTC).
    """
    at = datetime.now(UTC)
    if until is not None and until < at.date():
        return datetime.combine(until, time.max, UTC)
    bounds = session.pages.overview.bounds(session.space, EPOCH)
    return at if until is not None or bounds is None or bounds.end >= start_of_period(at, days) else bounds.end


def start_of_period(end: datetime, days: float) -> datetime:
    """Return when the ``days`` up to ``end`` begin: whole ones (UTC) with the beginning of a day."""
    if days < 1:
        return end - timedelta(days=days)
    midnight = datetime(end.year, end.month, end.day, tzinfo=UTC)
    return max(midnight - timedelta(days=round(days) - 1), EPOCH)


def days_of_period(session: Session, days: float, until: date | None = None) -> tuple[date, date, date]:
    """Return the first day (UTC) of the period before the last ``days``, and their own first and last one."""
    end = end_of_period(session, days, until)
    last = end.date()
    if days >= WHOLE:
        return EPOCH.date(), EPOCH.date(), last
    first = start_of_period(end, max(days, 1.0)).date()
    return first - (last - first) - timedelta(days=1), first, last


def period_figures(session: Session, days: float, gone: frozenset[str], until: date | None = None) -> PeriodFigures:
    """Return quality and spending of the last ``days`` (UTC), and the change of quality against as many before.

    Of the routes in ``gone``, which are no longer offered, it tells when they were last taken.
    """
    earliest, first, last = days_of_period(session, days, until)
    whole = days >= WHOLE
    found = session.pages.overview.sums(session.space, earliest, last, LISTED_ROUTES)
    recent = [one for one in found.sums if one.day >= first]
    of_space = [one for one in recent if one.route is None]
    chat = [one for one in found.chat if one.day >= first]
    now_sums = PeriodSums.of(of_space)
    before = PeriodSums.of(one for one in found.sums if one.day < first and one.route is None)
    known = before if before.trajectories else None
    if whole and of_space:
        first = of_space[0].day
    # A day that is not summed yet may be one on which any route was taken.
    routes = _routes(recent, now_sums, set() if found.missing else {one.day for one in of_space}, gone)
    return PeriodFigures(
        first, last, now_sums, known, None if known is None else QualityChange.between(known, now_sums), routes,
        _days(recent), found.as_of, found.missing, PeriodSums.of(without(of_space, chat)) if chat else None,
        SinceStart.of(of_space) if whole else None, price_changes(found.sums, first),
        [DayTraffic(one.day, one.trajectories, one.rated) for one in of_space if one.trajectories],
        session.pages.overview.feedback(session.space),
    )  # fmt: skip


def mean_costs(session: Session, most: int) -> dict[str, float]:
    """Return the mean cost of a trajectory of each route that has costs, of the ``most`` that cost most in all."""
    found = session.pages.overview.sums(session.space, EPOCH.date(), datetime.now(UTC).date(), most)
    total: dict[str, tuple[float, int]] = {}
    for one in found.sums:
        if one.route:
            cost, costed = total.get(one.route, (0.0, 0))
            total[one.route] = (cost + one.cost, costed + one.costed)
    return {route: cost / costed for route, (cost, costed) in total.items() if costed}


def events(session: Session) -> list[SpaceEvent]:
    """Return the latest rollbacks, loads, rebuilds and erasures, oldest first."""
    listed = session.pages.versions.listing(session.space, EVENTS)
    made = [SpaceEvent(one.created_at, one.origin, one.version) for one in listed if one.origin != "cycle"]
    for one in session.pages.erasures.listing(session.space, EVENTS):
        if not one.found_nothing:
            made.append(SpaceEvent(one.requested_at, "erasure", None, one.removed.get("trajectories", 0)))
    return sorted(made, key=lambda event: event.at)


def _routes(
    sums: Sequence[DaySums], whole: PeriodSums, asked: AbstractSet[date], gone: frozenset[str]
) -> list[RouteSpending]:
    by_route: dict[str, list[DaySums]] = {}
    for one in sums:
        if one.route is not None:
            by_route.setdefault(one.route, []).append(one)
    listed = []
    for name, days in by_route.items():
        total = PeriodSums.of(days)
        share = total.cost / whole.cost if whole.cost > 0 else None
        thousand = 1000 * total.cost / total.costed if total.costed else None
        taken = {one.day for one in days if one.trajectories}
        came = came_on(taken, asked) if name and taken else None
        last = max(taken & asked, default=None) if name in gone else None
        listed.append(
            RouteSpending(name or None, total.trajectories, total.costed, total.cost, share, thousand, came, last)
        )
    return sorted(listed, key=lambda one: (-one.cost, -one.trajectories, one.route or ""))


def _days(sums: Sequence[DaySums]) -> list[DaySpending]:
    made = []
    for day, of_day in itertools.groupby(sums, key=_day):
        known = list(of_day)
        routes = {one.route: one.cost for one in known if one.route is not None and one.costed}
        for one in known:
            if one.route is None and one.costed:
                made.append(DaySpending(day, one.costed, one.cost, routes))
    return made


def _day(one: DaySums) -> date:
    return one.day
