"""Changes of the mean quality of a space, with what they came with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

from sona_pg.domain.change_reasons import reasons
from sona_pg.domain.level_change import (
    ChangePart,
    LevelChange,
    RouteChange,
    dated,
    joined,
    route_sentence,
    same_change,
    same_sentence,
    sentence,
)
from sona_pg.domain.period_figures import SpaceEvent
from sona_pg.domain.rating_source import source_sentence
from sona_pg.domain.route_choice import RatingsSince
from sona_pg.domain.topic import TopicNames
from sona_pg.domain.wording import title, wordings
from sona_pg.engine.period_overview import events
from sona_pg.engine.session import Session
from sona_pg.errors import InvalidValue

LONGEST = 28  # days on each side whose parts are compared
LATELY = 90  # days in which a route that got worse is looked for
AROUND = timedelta(days=1)  # in which an event may have to do with a change


@dataclass(frozen=True, slots=True)
class ToldChange:
    """A change, in figures and in a sentence."""

    change: LevelChange
    sentence: str


@dataclass(frozen=True, slots=True)
class ToldRouteChange:
    """A change of one route, in figures and in a sentence."""

    change: RouteChange
    sentence: str


@dataclass(frozen=True, slots=True)
class ExplainedChange:
    """A change with what it came with."""

    change: LevelChange
    sentence: str
    reasons: str
    named: Sequence[ChangePart]  # of the reasons those that made the change
    parts: Sequence[ChangePart]  # the largest effect first
    events: Sequence[SpaceEvent]  # of that day and the days beside it


def changes(session: Session, days: float, until: date | None = None) -> list[ToldChange]:
    """Return the days of the last ``days`` on which quality changed beyond chance, oldest first."""
    found = session.pages.overview.changes(session.space, days_back(days, until))
    told = [ToldChange(one, sentence(one, one is found[-1], until)) for one in found]
    return told if until is None else [one for one in told if one.change.day <= until]


def days_back(days: float, until: date | None) -> int:
    """Return how many days of today's past hold the ``days`` up to ``until``."""
    ended = 0 if until is None else max((datetime.now(UTC).date() - until).days, 0)
    return max(round(days), 1) + ended


def earlier_change(session: Session, days: float, until: date | None = None) -> ToldChange | None:
    """Return the latest change of the period before the last ``days``, where these have none themselves."""
    found = changes(session, 2 * days, until)
    within = changes(session, days, until)
    return found[-1] if found and not within else None


def told_changes(
    found: Sequence[RouteChange], beside: Sequence[ToldChange] = (), until: date | None = None
) -> list[ToldRouteChange]:
    """Return changes of routes up to ``until`` with their sentences; ``beside``: those of the mean on the same page."""
    of_all = [one.change for one in beside]
    told = [(one, route_sentence(one, until), same_change(one, of_all)) for one in found]
    return [ToldRouteChange(one, f"{words} {same_sentence(one, same)}" if same else words) for one, words, same in told]


def with_sources(session: Session, told: Sequence[ToldRouteChange]) -> list[ToldRouteChange]:
    """Return changes of routes with the source that gave most ratings since, of those that are worse."""
    worse = [one.change for one in told if one.change.is_worse]
    sources = session.pages.overview.rating_sources(session.space, worse) if worse else {}
    return [
        replace(one, sentence=one.sentence + source_sentence(sources.get(one.change.route, []), one.change.after_rated))
        for one in told
    ]


def ratings_since(session: Session, worse: Sequence[RouteChange]) -> Mapping[UUID, Mapping[str, RatingsSince]]:
    """Return, of each live pattern, the ratings since then of the routes that got ``worse``.

    Where one has none since, it has none: what it was rated before says nothing of today.
    """
    if not worse:
        return {}
    known = session.pages.overview.ratings_since(session.space, worse)
    unrated = {one.route: RatingsSince(one.changed_on, 0, 0.0) for one in worse}
    return {pattern.id: {**unrated, **known.get(pattern.id, {})} for pattern in session.serving.patterns}


def explained(
    session: Session, day: date, days: float, until: date | None = None, routes: Sequence[RouteChange] = ()
) -> ExplainedChange:
    """Return the change of ``day``, which is one of ``changes``, with its parts; ``routes``: what changed of these.

    Raises:
        InvalidValue: quality did not change beyond chance on that day.
    """
    found = next((one for one in changes(session, days, until) if one.change.day == day), None)
    if found is None:
        raise InvalidValue(f"day={day}: no day of the last {round(days)} on which quality changed beyond chance")
    change = found.change
    first = max(change.before_from, change.day - timedelta(days=LONGEST))
    last = min(change.after_until, change.day + timedelta(days=LONGEST - 1))
    parts = session.pages.overview.change_parts(session.space, change.day, first, last)
    names = TopicNames(session.pages.topics.listing(session.space))
    named_topics = {str(one.id) for one in session.serving.patterns if names.of(one.id) is not None}
    shown = joined(_readable(part, named_topics) for part in parts)
    difference = change.difference
    words, named = reasons(difference, shown)
    beside = [one for one in events(session) if change.day - AROUND <= one.at.date() <= change.day + AROUND]
    words += compared(change, first, last)
    blamed = {part.name for part in named if part.kind == "route"}
    same = [one for one in routes if one.route in blamed and same_change(one, [change])]
    words = " ".join([words, *(same_sentence(one, change) for one in same)])
    return ExplainedChange(change, found.sentence, words, named, shown, beside)


def compared(change: LevelChange, first: date, last: date) -> str:
    """Return in words over which days the parts are compared, where these are not all that the change is told of."""
    if (first, last) == (change.before_from, change.after_until):
        return ""
    before = dated(change.day - timedelta(days=1))
    return f" Compared here: {dated(first)} to {before} with {dated(change.day)} to {dated(last)}."


def _readable(part: ChangePart, named_topics: set[str]) -> ChangePart:
    """Return a part as it is shown: topics without a name by their wording."""
    if part.kind != "topic" or part.name in named_topics or part.title is None:
        return part
    return replace(part, title=title(wordings([part.title])))
