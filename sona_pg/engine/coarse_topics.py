"""Coarser topics: patterns put together by their centroids, for people to look at; learning knows nothing of them.

Average linkage (Sokal and Michener 1958) of the centroids without their mean, which is the direction that they all have
in common (Mu and Viswanath 2018): with it the groups of a coarse cut are one large one and many small ones. Figures of
a group are those of its ratings, pooled. Where answers are texts each fits a few questions: one is called the best of a
group only if it has been rated in patterns of half of its requests.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.pattern import LearnedPattern
from sona_pg.domain.route_choice import NONE_BEST, NONE_SINCE, RATINGS, BestRoutes, RatingsSince, choose, rated_routes
from sona_pg.domain.topic_period import TopicSums
from sona_pg.engine.routes_now import RoutesNow
from sona_pg.engine.session import Session
from sona_pg.learning.graph.abstraction import linkage
from sona_pg.store.topic_cost_rows import TopicCost, TopicCosts

LEVELS = (50, 20, 10)  # topics to choose from
LINKED = 2000  # patterns, the largest: the time grows with their square; each other joins the nearest of these
SPEAKING = 0.5  # of the requests: share whose topics have a route with enough ratings
SPANNED = 0.5  # of a topic's requests: share whose patterns have rated its best route

Since = Mapping[UUID, Mapping[str, RatingsSince]]


@dataclass(frozen=True, slots=True)
class Topics:
    """Patterns put together; each topic has the id of its largest pattern."""

    patterns: Sequence[LearnedPattern]  # pooled
    of: Mapping[UUID, UUID]  # topic of each pattern
    spans: Mapping[UUID, Mapping[str, int]]  # of a topic of several patterns: requests of those that rated a route

    def members(self) -> dict[UUID, list[UUID]]:
        """Return the patterns of each topic, the largest first."""
        found: dict[UUID, list[UUID]] = {}
        for pattern, topic in self.of.items():
            found.setdefault(topic, []).append(pattern)
        return found

    def spanned(self, topic: LearnedPattern, route: str | None) -> bool:
        """Whether a route has been rated in patterns of half of the topic's requests."""
        known = self.spans.get(topic.id)
        return known is None or route is None or known.get(route, 0) >= SPANNED * topic.size

    def spanning(self, known: Mapping[UUID, BestRoutes]) -> Mapping[UUID, BestRoutes]:
        """Return the best routes of topics without those that are the best of a small part."""
        return {
            one.id: BestRoutes(*(route if self.spanned(one, route) else None for route in known.get(one.id, NONE_BEST)))
            for one in self.patterns
        }

    def since(self, known: Since) -> Since:
        """Return the ratings of routes that got worse by topic."""
        pooled: dict[UUID, dict[str, RatingsSince]] = {}
        for pattern, routes in known.items():
            topic = pooled.setdefault(self.of.get(pattern, pattern), {})
            for route, one in routes.items():
                topic[route] = _with(topic[route], one) if route in topic else one
        return pooled

    def sums(self, known: Sequence[TopicSums]) -> list[TopicSums]:
        """Return the sums of periods by topic: those of one period and topic are put together where they are read."""
        return [one._replace(pattern=self.of.get(one.pattern, one.pattern)) for one in known]

    def costs(self, known: TopicCosts) -> TopicCosts:
        """Return the costs by topic, the most costly first."""
        total: dict[UUID, TopicCost] = {}
        for one in known.topics:
            topic = self.of.get(one.pattern, one.pattern)
            before = total.get(topic, TopicCost(topic, 0, 0.0))
            total[topic] = TopicCost(topic, before.costed + one.costed, before.cost + one.cost)
        return known._replace(topics=sorted(total.values(), key=lambda one: (-one.cost, one.pattern)))


class LinkedPatterns:
    """Patterns of a version with the order in which they are put together."""

    def __init__(self, patterns: Sequence[LearnedPattern]) -> None:
        """Link ``patterns``."""
        self._patterns = sorted(patterns, key=lambda one: (-one.size, one.id))
        self._vectors = _without_mean(self._patterns)
        self._merges = sorted(linkage(self._vectors[:LINKED]), key=lambda merge: -merge[2])

    def topics(self, wanted: int | None) -> Topics:
        """Return at most ``wanted`` topics; None: each pattern is one."""
        count = len(self._patterns)
        if wanted is None or wanted >= count:
            return Topics(self._patterns, {one.id: one.id for one in self._patterns}, {})
        linked = min(count, LINKED)
        first = list(range(linked))  # the largest pattern of the topic of each
        for one, other, _ in self._merges[: max(linked - wanted, 0)]:
            low, high = sorted((first[one], first[other]))
            first = [low if of == high else of for of in first]
        for vector in self._vectors[linked:]:
            first.append(first[int(np.argmax(self._vectors[:linked] @ vector))])
        members: dict[int, list[LearnedPattern]] = {}
        for of, pattern in zip(first, self._patterns, strict=True):
            members.setdefault(of, []).append(pattern)
        pooled = [reduce(LearnedPattern.merge, known) for known in members.values()]
        ids = [one.id for one in self._patterns]
        spans = {known[0].id: _spans(known) for known in members.values() if len(known) > 1}
        return Topics(pooled, {id_: ids[of] for id_, of in zip(ids, first, strict=True)}, spans)

    def merges(self) -> list[tuple[UUID, UUID]]:
        """Return which topics are put together, the nearest first, each by the id of its largest pattern."""
        return [(self._patterns[low].id, self._patterns[high].id) for low, high, _ in self._merges]

    def queries(self, patterns: Collection[UUID]) -> list[str]:
        """Return the typical queries of some patterns, those of the largest first."""
        return [query for one in self._patterns if one.id in patterns for query in one.typical_queries]

    def levels(self) -> list[int]:
        """Return the numbers of topics to choose from beside all."""
        return [level for level in LEVELS if level < len(self._patterns)]

    def enough(self, gone: Collection[str], since: Since) -> int | None:
        """Return the most topics at which those of half of the requests have a route with enough ratings; None: all.

        Of a space without a level that has, the one at which most requests do, the fewest topics among equals; of one
        without ratings all.
        """
        if not any(one.rated for one in self._patterns):
            return None
        shares: dict[int | None, float] = {}
        for level in (None, *self.levels()):
            shares[level] = _speaking(self.topics(level), gone, since)
            if shares[level] >= SPEAKING:
                return level
        return max(reversed(shares), key=lambda level: shares[level])


def best_of(session: Session, topics: Topics, known: RoutesNow) -> Mapping[UUID, BestRoutes]:
    """Return the best routes of each topic, as ``sona.best_routes`` tells those of a pattern."""
    if len(topics.patterns) == len(topics.of):
        return known.best
    return topics.spanning(session.pages.overview.best_routes_of(session.space, known.worse, known.since, topics.of))


def by_ratings(topics: Topics) -> Mapping[UUID, BestRoutes]:
    """Return the best routes of each topic by its ratings alone, as an earlier version had them."""
    return topics.spanning({one.id: choose(rated_routes(one.routes, {})) for one in topics.patterns})


def _spans(patterns: Sequence[LearnedPattern]) -> dict[str, int]:
    spans: dict[str, int] = {}
    for one in patterns:
        for name, record in one.routes.items():
            if record.weight > 0:
                spans[name] = spans.get(name, 0) + one.size
    return spans


def _speaking(topics: Topics, gone: Collection[str], since: Since) -> float:
    """Return the share of the requests whose topics have a route with enough ratings."""
    pooled = topics.since(since)
    told = sum(
        one.size for one in topics.patterns
        if any(
            route.weight >= RATINGS and route.route not in gone and topics.spanned(one, route.route)
            for route in rated_routes(one.routes, {}, pooled.get(one.id, NONE_SINCE))
        )
    )  # fmt: skip
    return told / max(sum(one.size for one in topics.patterns), 1)


def _with(one: RatingsSince, other: RatingsSince) -> RatingsSince:
    rated = one.rated + other.rated
    total = one.rated * one.quality + other.rated * other.quality
    return one._replace(rated=rated, quality=total / rated if rated else 0.0)


def _without_mean(patterns: Sequence[LearnedPattern]) -> NDArray[np.float64]:
    """Return the unit vectors (n, dim) of the centroids without their mean, weighed by size."""
    if not patterns:
        return np.zeros((0, 1))
    centroids = np.array([one.centroid for one in patterns], np.float64)
    sizes = np.array([max(one.size, 1) for one in patterns], np.float64)
    apart = centroids - sizes @ centroids / sizes.sum()
    lengths = np.linalg.norm(apart, axis=1, keepdims=True)
    return np.asarray(apart / np.where(lengths > 0, lengths, 1.0))
