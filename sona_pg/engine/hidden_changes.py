"""What a period without a change of quality may hide, from the daily figures."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

from sona_pg.domain.bad_week import NAMED as WEEKS
from sona_pg.domain.bad_week import bad_weeks, by_cause, not_told, passing
from sona_pg.domain.hidden_change import NAMED, Series, hidden_sentence, mean_sentence, worse_sentences
from sona_pg.domain.level_change import LevelChange, RouteChange
from sona_pg.domain.period_figures import DaySums, PeriodSums, QualityChange
from sona_pg.engine.period_overview import days_of_period
from sona_pg.engine.session import Session

LOOKED_AT = 60  # days at least, as sona.quality_changes does; and those around a period that it is compared with
ROUTES = 100  # that cost most, or are taken most often


def notes(
    session: Session, days: float, until: date | None, changes: Sequence[LevelChange], routes: Sequence[RouteChange]
) -> list[str]:
    """Return in words how large a fall could hide, what differs over the whole period, and weeks that were worse.

    Nothing without ratings. ``changes`` of the mean and ``routes`` that changed are told, and not told again; beside
    one of the mean the whole period is not compared.
    """
    earliest, first, last = days_of_period(session, days, until)
    start = min(earliest, last - timedelta(days=LOOKED_AT - 1))
    if first > earliest:  # else all time, which has nothing around it
        start = min(start, first - timedelta(days=LOOKED_AT))
    end = min(last + timedelta(days=LOOKED_AT), datetime.now(UTC).date())
    sums = session.pages.overview.sums(session.space, start, end, ROUTES).sums
    if not any(one.rated for one in sums if first <= one.day <= last):
        return []
    of_all = [one for one in sums if one.route is None]
    change = QualityChange.between(
        PeriodSums.of(one for one in of_all if earliest <= one.day < first),
        PeriodSums.of(one for one in of_all if first <= one.day <= last),
    )
    hidden = _hidden(session, sums, first, last, bool(changes))
    differs = None if changes else mean_sentence(change)
    told = frozenset(one.route for one in routes)
    worse = {} if changes else worse_sentences(sums, first, last, LOOKED_AT, told)
    lower = {None} if differs and change and change.difference < 0 else set()
    weeks = _weeks(session, sums, (first, last), changes, routes, {*worse, *lower})
    return [hidden, *([differs] if differs else []), *worse.values(), *weeks]


def _weeks(
    session: Session,
    sums: Sequence[DaySums],
    period: tuple[date, date],
    changes: Sequence[LevelChange],
    routes: Sequence[RouteChange],
    told: set[str | None],
) -> list[str]:
    """Return the weeks of a ``period`` that were worse than the days around them, where nothing else says it."""
    found = bad_weeks(sums, *period, LOOKED_AT)
    series = [[day for day in sums if day.route == one.route and day.rated] for one in found.weeks]
    excesses = session.pages.overview.excesses(series)
    by_route = {one.route: excess for one, excess in zip(found.weeks, excesses, strict=True)}
    clear = by_cause(passing(found, by_route), sums)
    return [one.told(LOOKED_AT) for one in not_told(clear, changes, routes, told)[:WEEKS]]


def _hidden(session: Session, sums: Sequence[DaySums], first: date, last: date, is_changed: bool) -> str:
    since = last - timedelta(days=LOOKED_AT - 1)
    looked_at = [one for one in sums if since <= one.day <= last]
    names = {one.route for one in looked_at if one.route}
    by_route = [
        Series.of(name, (one for one in looked_at if one.route == name), max(first, since), last) for name in names
    ]
    rated = sorted((one for one in by_route if one.stretch), key=lambda one: (-one.stretch, one.route or ""))
    whole = Series.of(None, (one for one in looked_at if one.route is None), max(first, since), last)
    shown = [whole, *rated[:NAMED]]
    excesses = session.pages.overview.excesses([one.days for one in shown])
    falls = [one.smallest_fall(excess, len(rated)) for one, excess in zip(shown, excesses, strict=True)]
    return hidden_sentence(shown, falls, is_changed)
