"""Map of a version's patterns, or of coarser topics made of them, as people see it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from sona_pg.domain.overview_figures import PatternMap
from sona_pg.domain.route_choice import NONE_SINCE
from sona_pg.domain.topic import TopicNames
from sona_pg.domain.wording import titles, wordings
from sona_pg.engine.coarse_topics import LinkedPatterns, Since, best_of, by_ratings
from sona_pg.engine.placed_patterns import ShownTexts, placed
from sona_pg.engine.routes_now import RoutesNow
from sona_pg.engine.session import Session
from sona_pg.learning.patterns.plane import Plane

PLACED = 500  # topics on a map
AS_RATED = 0  # as many topics as have enough ratings


class Drawn(NamedTuple):
    """Version whose patterns are drawn, and the plane."""

    version: int
    linked: LinkedPatterns
    basis: int  # the version that spans the plane
    plane: Plane


def map_of(
    session: Session,
    drawn: Drawn,
    topics: int | None,
    known: RoutesNow | None,
    gone: frozenset[str],
    names: TopicNames,
    costs: Mapping[str, float],
) -> PatternMap:
    """Return the map of a version.

    Args:
        session: of the space.
        drawn: what is on it.
        topics: at most so many; ``AS_RATED``: as have enough ratings; None: each pattern is one.
        known: routes as they are told now; None: an earlier version is told as it was.
        gone: routes that are not offered.
        names: that people gave.
        costs: mean costs of routes.
    """
    linked = drawn.linked
    since: Since = {} if known is None else known.since
    then = () if known is None else gone
    if topics == AS_RATED:
        topics = linked.enough(then, since)
    grouped = linked.topics(topics)
    largest = sorted(grouped.patterns, key=lambda pattern: (-pattern.size, pattern.id))[:PLACED]
    centroids = np.array([one.centroid for one in largest], np.float32).reshape(len(largest), len(drawn.plane.mean))
    places = drawn.plane.place(centroids).tolist()
    best = by_ratings(grouped) if known is None else best_of(session, grouped, known)
    pooled, members = grouped.since(since), grouped.members()
    shown = [wordings(pattern.typical_queries) for pattern in largest]
    found = [
        placed(
            pattern, place, costs, then,
            ShownTexts(names.of_all(members[pattern.id]), called, texts, members[pattern.id]),
            pooled.get(pattern.id, NONE_SINCE), best.get(pattern.id),
        )
        for pattern, place, called, texts in zip(largest, places, titles(shown), shown, strict=True)
    ]  # fmt: skip
    left_out = len(grouped.patterns) - len(largest)
    coarse = topics if len(grouped.patterns) < len(grouped.of) else None
    return PatternMap(
        drawn.version, drawn.basis, drawn.plane.explained, found, left_out, sorted(gone),
        coarse, linked.levels(), len(grouped.of),
    )  # fmt: skip
