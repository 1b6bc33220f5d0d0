"""Changes of the mean quality of a space: since which day, by how much, with which parts, and in a sentence."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Literal, NamedTuple

PartKind = Literal["route", "topic", "label", "user", "version"]
WORDS: dict[PartKind, str] = {
    "route": "answers of", "topic": "the topic", "label": "the label", "user": "the user", "version": "version",
}  # fmt: skip

NAMELESS: dict[PartKind, str] = {
    "route": "answers of no route", "topic": "a topic without texts", "label": "an empty label", "user": "a user",
    "version": "decisions of no version",
}  # fmt: skip


class LevelChange(NamedTuple):
    """A row of ``sona.quality_changes``: the mean quality before a day, and from it on."""

    day: date
    difference: float
    low: float
    high: float
    before_from: date
    before_rated: int
    before_quality: float
    after_until: date  # the last day with ratings before the next change
    after_rated: int
    after_quality: float
    chance: float
    earliest: date  # on which it may have been, 99 times out of 100
    latest: date


class RouteChange(NamedTuple):
    """A row of ``sona.route_changes``: since when the quality of a route is another, and not as that of the others."""

    route: str
    changed_on: date
    before_from: date
    before_rated: int
    before_quality: float
    after_until: date
    after_rated: int
    after_quality: float
    others_before: float
    others_after: float
    chance: float
    former_from: date | None = None  # None: it had not changed before
    former_rated: int | None = None
    former_quality: float | None = None

    @property
    def is_worse(self) -> bool:
        """Whether it is worse since that day."""
        return self.after_quality < self.before_quality


class FactsRevision(NamedTuple):
    """State of the facts of a space that its daily figures are of: two that are equal tell the same figures."""

    day: date  # (UTC) at which it was read
    batches: int  # that may not be in the daily figures yet
    newest: datetime | None  # of these
    days: int  # with daily figures
    summed_at: datetime | None  # the day summed up last
    stale: int  # days to be summed up again
    stale_since: datetime | None
    removed: int  # erasures, and records removed later by them


@dataclass(frozen=True, slots=True)
class ChangePart:
    """A row of ``sona.change_parts``: what one name contributed to a change."""

    kind: PartKind
    name: str
    title: str | None
    before_rated: int
    before_quality: float | None  # None: it was not there
    after_rated: int
    after_quality: float | None
    before_share: float  # of the ratings
    after_share: float
    share_effect: float
    quality_effect: float
    effect: float
    is_clear: bool
    sampled: bool
    own_effect: float  # what it would be, had the topics not changed that clearly did
    first_day: date  # of its ratings on both sides
    last_day: date

    @property
    def usual(self) -> float:
        """Its part of the ratings: of a fall of everything, its part of the difference."""
        return (self.before_share + self.after_share) / 2

    def on_its_own(self) -> ChangePart:
        """Return it with the effect that it would have, had those topics not changed."""
        return replace(self, quality_effect=self.own_effect - self.share_effect, effect=self.own_effect)

    def plus(self, other: ChangePart) -> ChangePart:
        """Return both as one, under this one's name."""
        return replace(
            self,
            before_rated=self.before_rated + other.before_rated,
            before_quality=_pooled(self.before_quality, self.before_rated, other.before_quality, other.before_rated),
            after_rated=self.after_rated + other.after_rated,
            after_quality=_pooled(self.after_quality, self.after_rated, other.after_quality, other.after_rated),
            before_share=self.before_share + other.before_share,
            after_share=self.after_share + other.after_share,
            share_effect=self.share_effect + other.share_effect,
            quality_effect=self.quality_effect + other.quality_effect,
            effect=self.effect + other.effect,
            is_clear=self.is_clear or other.is_clear,
            own_effect=self.own_effect + other.own_effect,
            first_day=min(self.first_day, other.first_day),
            last_day=max(self.last_day, other.last_day),
        )

    def told(self, of: str = "of it") -> str:
        """Return what happened to it, in words; ``of``: what its points are of."""
        shown = f"{WORDS[self.kind]} “{self.title}”" if self.title else NAMELESS[self.kind]
        count = f"{self.after_rated:,} {'sampled ' if self.sampled else ''}rating{'' if self.after_rated == 1 else 's'}"
        points = f"{tenths(self.effect)} points {of}"
        shares = f"{share(self.before_share)} to {share(self.after_share)} of the ratings"
        if self.before_quality is None and self.after_quality is not None:
            return f"{shown} came in new, at {share(self.after_quality)} of {count} since ({points})"
        if self.after_quality is None:
            return f"{shown} went away, with {share(self.before_share)} of the ratings before ({points})"
        assert self.before_quality is not None
        if abs(self.quality_effect) >= abs(self.share_effect):
            went = "got worse" if self.quality_effect < 0 else "got better"
            went += f", {share(self.before_quality)} to {share(self.after_quality)}"
            return f"{shown} {went} of {count} since ({points})"
        went = "came more often" if self.after_share > self.before_share else "came less often"
        return f"{shown} {went}, {shares}, at {share(self.after_quality)} of {count} since ({points})"


def joined(parts: Iterable[ChangePart]) -> list[ChangePart]:
    """Return the parts, those of topics with the same title as one, the largest effect first."""
    made: dict[tuple[str, str | None], ChangePart] = {}
    for part in parts:
        key = (part.kind, part.title if part.kind == "topic" else part.name)
        made[key] = made[key].plus(part) if key in made else part
    return sorted(made.values(), key=lambda part: -abs(part.effect))


def _pooled(one: float | None, size: int, other: float | None, more: int) -> float | None:
    """Return the mean of two means by their sizes."""
    known = [(mean, count) for mean, count in ((one, size), (other, more)) if mean is not None and count]
    return sum(mean * count for mean, count in known) / sum(count for _, count in known) if known else None


def sentence(change: LevelChange, lasts: bool, until: date | None = None) -> str:
    """Return a change in words, asked for up to a day ``until``; ``lasts``: no later one has ended it."""
    way = "lower" if change.difference < 0 else "higher"
    about = "about " if change.earliest < change.latest else ""
    doubt = f" (it changed between {_day(change.earliest)} and {_day(change.latest)})" if about else ""
    since = f"Since {about}{dated(change.day)}{doubt} quality is" if lasts else (
        f"From {about}{dated(change.day)}{doubt} to {dated(change.after_until)} quality was"
    )  # fmt: skip
    return (
        f"{since} {tenths(change.difference)} points {way}: {share(change.after_quality, 1)} of "
        f"{ratings(change.after_rated)}, after {share(change.before_quality, 1)} of {ratings(change.before_rated)} "
        f"from {dated(change.before_from)} on.{_past(change.after_until, until) if lasts else ''}"
    )


def _past(last: date, until: date | None) -> str:
    """Return until when the ratings since a change go, where that is after the days that were chosen."""
    return "" if until is None or last <= until else (
        f" The ratings since go on to {dated(last)}, past the days chosen."
    )  # fmt: skip


def route_sentence(change: RouteChange, until: date | None = None) -> str:
    """Return the change of a route in words, beside that of all others, asked for up to a day ``until``."""
    way = "worse" if change.is_worse else "better"
    former = ""
    if change.former_quality is not None and change.former_rated is not None:
        former = f", and {share(change.former_quality)} of {ratings(change.former_rated)} before that"
        if (change.former_quality < change.before_quality) == (change.after_quality < change.before_quality):
            way += " again"  # than in between
    return (
        f"Since about {dated(change.changed_on)} answers of “{change.route}” are {way}: "
        f"{share(change.after_quality)} of {ratings(change.after_rated)}, after {share(change.before_quality)} of "
        f"{ratings(change.before_rated)} from {dated(change.before_from)} on{former}. "
        f"All others: {share(change.others_after)}, after {share(change.others_before)}."
        f"{_past(change.after_until, until)}"
    )


def same_change(route: RouteChange, changes: Iterable[LevelChange]) -> LevelChange | None:
    """Return the change of the mean that may be that of a route: in its direction, and not told of the same day.

    The day of a route lies then within the days between which the mean changed.
    """
    way = route.after_quality - route.before_quality
    return next((
        one for one in changes
        if one.difference * way > 0 and one.earliest <= route.changed_on <= one.latest and one.day != route.changed_on
    ), None)  # fmt: skip


def same_sentence(route: RouteChange, change: LevelChange) -> str:
    """Return what two days of what may be one change mean, in words."""
    return (
        f"The quality of all, told from about {dated(change.day)} on, changed between {_day(change.earliest)} and "
        f"{dated(change.latest)}: “{route.route}” itself changed within these days, about {dated(route.changed_on)}, "
        "so both may be one change."
    )


def ratings(count: int) -> str:
    """Return a number of ratings in words."""
    return f"{count:,} rating{'' if count == 1 else 's'}"


def tenths(difference: float) -> str:
    """Return the points of a difference, without its sign."""
    return f"{100 * abs(difference):.1f}"


def share(value: float, digits: int = 0) -> str:
    """Return a share in percent."""
    return f"{100 * value:.{digits}f} %"


def dated(day: date) -> str:
    """Return a day in words."""
    return f"{day.day} {day:%B %Y}"


def _day(day: date) -> str:
    return f"{day.day} {day:%B}"
