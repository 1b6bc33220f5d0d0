"""Sources of the ratings of a route: one that gave nearly all of them is named."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

MOST = 2 / 3  # of the ratings, from which on a source is named


class SourceRatings(NamedTuple):
    """Ratings of one source."""

    source: str  # "": what came with the request
    of_route: int  # requests of the route since the change
    rated: int  # requests of all routes


def source_sentence(sources: Sequence[SourceRatings], rated: int) -> str:
    """Return in words which source gave most of the ``rated`` requests of a route since it changed.

    Nothing where it gave most ratings of other requests as well, or where the facts are of more than the figures.
    """
    most = max(sources, key=lambda one: (one.of_route, one.source), default=None)
    if most is None or not most.source or not MOST * rated <= most.of_route <= rated:
        return ""
    elsewhere = sum(one.rated - one.of_route for one in sources)
    if most.rated - most.of_route >= MOST * elsewhere:
        return ""
    return f" {most.of_route:,} of these {rated:,} are by “{most.source}”: look whether they can be trusted."
