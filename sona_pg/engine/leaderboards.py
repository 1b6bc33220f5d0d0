"""Leaderboard of the routes in the last days, with what was rated bad and since when quality is another."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import NamedTuple

from sona_pg.domain.leaderboard import (
    NOT_JUDGED,
    BadRatings,
    ChangedRoute,
    Leaderboard,
    RouteStanding,
    best_first,
    ordered,
    usual_share,
)
from sona_pg.domain.level_change import RouteChange
from sona_pg.domain.overview_figures import interval
from sona_pg.domain.period_figures import LikeQuality, RouteSums
from sona_pg.engine.period_overview import days_of_period
from sona_pg.engine.session import Session

SHOWN = 50  # routes
ORDERED = 50_000  # routes taken most often among which the first of an order are looked for
ALWAYS = 1_000  # routes that are among them however rarely they were taken: those rated bad most often


class Wanted(NamedTuple):
    """Which routes, in which order: a part of their names, and one of ``leaderboard.ORDERS``; None: best first."""

    find: str = ""
    order: str | None = None
    descending: bool = True


def leaderboard(
    session: Session,
    days: float,
    wanted: Wanted,
    gone: frozenset[str],
    changes: Sequence[RouteChange],
    until: date | None = None,
) -> Leaderboard:
    """Return routes of the last ``days`` (UTC): those taken most often, best first, or the first of another order.

    Their figures are exact, as ``sona.routes_between``; the best is that of ``sona.routes_on_like_questions``.
    """
    _, first, last = days_of_period(session, days, until)
    reads, most = session.pages.overview, SHOWN if wanted.order is None else ORDERED
    pleased = [one.label for one in reads.labels(session.space, first, last).always_good]
    bad = reads.bad_ratings(session.space, first, last, session.config.patterns.failure_quality, pleased)
    worst = () if wanted.order is None else heapq.nlargest(ALWAYS, (r for r in bad if bad[r].bad), lambda r: bad[r].bad)
    found = reads.routes(session.space, first, last, wanted.find.strip(), most, worst)
    like = {one.route: one for one in reads.like_questions(session.space, first, last)}
    changed = {one.route: one for one in changes}
    usual = usual_share(bad.values())
    standings = [
        replace(
            _standing(one, like.get(one.route), bad.get(one.route, NOT_JUDGED), usual),
            is_offered=one.route not in gone, changed=_changed(changed.get(one.route)),
        )
        for one in found.sums
    ]  # fmt: skip
    corrected = sum(one.corrected for one in bad.values())
    if wanted.order is None:
        shown = sorted(standings, key=best_first)
    else:
        shown = ordered(standings, wanted.order, wanted.descending)[:SHOWN]
    return Leaderboard(shown, found.all, len(standings), found.left_out, corrected, pleased)


def _standing(sums: RouteSums, like: LikeQuality | None, bad: BadRatings, usual: float) -> RouteStanding:
    quality = min(max(sums.quality / sums.rated, 0.0), 1.0) if sums.rated else None
    low, high = (None, None) if quality is None else interval(quality, sums.rated)
    cost = sums.cost / sums.costed if sums.costed else None
    compared = (0, None, None, None) if like is None else (like.compared, like.quality, like.low, like.high)
    share, least, most = bad.itself()
    return RouteStanding(
        sums.route, sums.trajectories, sums.rated, quality, low, high, sums.latency_us, sums.costed, cost, *compared,
        judged=bad.judged, bad=bad.bad, corrected=bad.corrected, bad_itself=share, bad_itself_low=least,
        bad_itself_high=most, bad_beyond_usual=bad.beyond(usual), always_good=bad.always_good,
        others_quality=bad.others_quality,
    )  # fmt: skip


def _changed(change: RouteChange | None) -> ChangedRoute | None:
    if change is None:
        return None
    return ChangedRoute(change.changed_on, change.after_rated, change.after_quality, change.is_worse)
