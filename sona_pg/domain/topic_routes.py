"""Routes whose quality changed on one kind of question, and not likewise on the others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import reduce
from operator import add, sub
from statistics import NormalDist
from typing import NamedTuple
from uuid import UUID

from sona_pg.domain.exact_test import Counted, chance_of
from sona_pg.domain.level_change import ratings, share
from sona_pg.domain.overview_figures import interval
from sona_pg.domain.topic_period import CHANCE, TopicSums

FEWEST = 10  # ratings in a period and in the one before it: of the route in the topic, and of it elsewhere


class RatedPeriods(NamedTuple):
    """Ratings of a route in a period and in the one before it, with the sums of their comparison within patterns.

    Compared are the ratings of the same pattern (Mantel and Haenszel 1959): another mix of patterns is no change.
    """

    rated: int = 0
    total: float = 0.0  # sum of the ratings
    before_rated: int = 0
    before_total: float = 0.0
    weight: float = 0.0  # of two sides of n ratings each: n / 2
    apart: float = 0.0  # differences of the means, weighed
    variance: float = 0.0  # of ``apart`` if nothing had changed; grades between good and bad vary less

    @classmethod
    def of_pattern(cls, now: tuple[int, float], before: tuple[int, float]) -> RatedPeriods:
        """Return the ratings of one pattern: of both periods how many, and their sum."""
        (rated, total), (before_rated, before_total) = now, before
        if not rated or not before_rated:
            return cls(rated, total, before_rated, before_total)
        size = rated + before_rated
        weight, mean = rated * before_rated / size, (total + before_total) / size
        apart = weight * (total / rated - before_total / before_rated)
        variance = weight * max(mean * (1 - mean), 0.0) * size / (size - 1)
        return cls(rated, total, before_rated, before_total, weight, apart, variance)

    def plus(self, other: RatedPeriods) -> RatedPeriods:
        """Return both together."""
        return RatedPeriods(*map(add, self, other))

    def less(self, other: RatedPeriods) -> RatedPeriods:
        """Return these without ``other``, which are among them."""
        return RatedPeriods(*map(sub, self, other))

    @property
    def counted(self) -> Counted:
        """Its ratings without the sums of their comparison."""
        return self.rated, self.total, self.before_rated, self.before_total

    @property
    def is_enough(self) -> bool:
        """Whether both periods have enough ratings to be compared."""
        return min(self.rated, self.before_rated, 2 * self.weight) >= FEWEST

    @property
    def quality(self) -> float:
        """Mean of the period; it has ratings."""
        return _mean(self.total, self.rated)

    @property
    def before_quality(self) -> float:
        """Mean of the period before it; it has ratings."""
        return _mean(self.before_total, self.before_rated)

    @property
    def change(self) -> float:
        """Change of quality within patterns; 0 where nothing can be compared."""
        return self.apart / self.weight if self.weight > 0 else 0.0

    @property
    def error(self) -> float:
        """Standard error of the change if there were none."""
        return math.sqrt(max(self.variance, 0.0)) / self.weight if self.weight > 0 else 0.0

    @property
    def strength(self) -> float:
        """How many standard errors the change is away from 0."""
        return abs(self.change) / self.error if self.error > 0 else 0.0


class TopicRouteChange(NamedTuple):
    """A route that changed in one topic, and not likewise elsewhere."""

    route: str
    patterns: frozenset[UUID]  # of the topic, in which it is rated
    there: RatedPeriods
    elsewhere: RatedPeriods

    @property
    def is_shown(self) -> bool:
        """Whether the plain means differ in the same direction: another mix of patterns may turn them round."""
        return (self.there.quality - self.there.before_quality) * self.there.change > 0

    def is_of_topic(self, sure: float) -> bool:
        """Whether it changed there further in its direction than elsewhere, by ``sure`` standard errors."""
        apart = (self.there.change - self.elsewhere.change) * math.copysign(1, self.there.change)
        return apart > sure * math.hypot(self.there.error, self.elsewhere.error)

    def sentence(self, title: str | None, days: int) -> str:
        """Return it in words; ``title``: of its topic, ``days``: of the period."""
        there, other = self.there, self.elsewhere
        went = "lower" if there.change < 0 else "higher"
        low, high = interval(there.quality, there.rated)
        asked = "one group of like questions, recorded without texts," if title is None else f"questions like “{title}”"
        return (
            f"Answers of “{self.route}” to {asked} were rated {went} in this period than in the {days} days before it: "
            f"{share(there.quality)} of {ratings(there.rated)} ({share(low)} to {share(high)}), before "
            f"{share(there.before_quality)} of {there.before_rated:,}. Its answers to all other questions: "
            f"{share(other.quality)} of {other.rated:,}, before {share(other.before_quality)} of "
            f"{other.before_rated:,}."
        )


ByPattern = Mapping[UUID, RatedPeriods]


def topic_route_changes(sums: Sequence[TopicSums], merges: Sequence[tuple[UUID, UUID]]) -> list[TopicRouteChange]:
    """Return the changes beyond chance of routes in single topics, the clearest first.

    A route is compared in every pattern, and in every topic that patterns are put together into, where it has ten
    ratings on both sides, and ten elsewhere: by Fisher's exact test within patterns (Fisher 1935), and whether it
    changed further there than elsewhere. If nobody rated twice alike, by chance alone one page of 20 at most tells any
    (Bonferroni 1936). Of topics that overlap the clearest is told.

    Args:
        sums: of both periods by pattern and route.
        merges: which topics are put together, the nearest first; both by the id of one of their patterns, the new
            topic by the first.
    """
    by_route = _by_route(sums)
    compared = [one for route, known in by_route.items() for one in _compared(route, known, merges)]
    chance = CHANCE / max(len(compared), 1)
    sure = NormalDist().inv_cdf(1 - chance / 2)
    clear = [
        one for one in compared
        if one.there.strength > sure and one.is_shown and one.is_of_topic(sure)
        and chance_of(by_route[one.route][pattern].counted for pattern in one.patterns) < chance
    ]  # fmt: skip
    told: list[TopicRouteChange] = []
    for one in sorted(clear, key=lambda one: (-one.there.strength, one.route)):
        if not any(one.route == known.route and one.patterns & known.patterns for known in told):
            told.append(one)
    return told


def _compared(route: str, known: ByPattern, merges: Sequence[tuple[UUID, UUID]]) -> list[TopicRouteChange]:
    """Return a route in every topic in which it can be compared; topics that differ by others' patterns alone once."""
    whole = reduce(RatedPeriods.plus, known.values())
    sums, patterns = dict(known), {pattern: [pattern] for pattern in known}
    found = []

    def compare(topic: UUID) -> None:
        there, elsewhere = sums[topic], whole.less(sums[topic])
        if there.is_enough and elsewhere.is_enough:
            found.append(TopicRouteChange(route, frozenset(patterns[topic]), there, elsewhere))

    for pattern in known:
        compare(pattern)
    for one, other in merges:
        if other not in sums:
            continue
        added, members = sums.pop(other), patterns.pop(other)
        if one in sums:
            sums[one], patterns[one] = sums[one].plus(added), patterns[one] + members
            compare(one)
        else:
            sums[one], patterns[one] = added, members
    return found


def _by_route(sums: Sequence[TopicSums]) -> dict[str, ByPattern]:
    """Return the ratings of each route by pattern, of the routes with enough for a topic and elsewhere."""
    told: dict[tuple[str, UUID], dict[bool, tuple[int, float]]] = {}
    for one in sums:
        if one.route is not None:
            sides = told.setdefault((one.route, one.pattern), {})
            rated, total = sides.get(one.is_now, (0, 0.0))
            sides[one.is_now] = (rated + one.rated, total + one.quality)
    by_route: dict[str, dict[UUID, RatedPeriods]] = {}
    for (route, pattern), sides in told.items():
        known = RatedPeriods.of_pattern(sides.get(True, (0, 0.0)), sides.get(False, (0, 0.0)))
        by_route.setdefault(route, {})[pattern] = known
    return {route: known for route, known in by_route.items() if _has_enough(known)}


def _has_enough(known: ByPattern) -> bool:
    sides = (sum(one.rated for one in known.values()), sum(one.before_rated for one in known.values()))
    return min(sides) >= 2 * FEWEST


def _mean(total: float, count: int) -> float:
    return min(max(total / count, 0.0), 1.0) if count else 0.0
