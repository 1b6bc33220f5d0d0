"""Routes of the live patterns as people are told them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from sona_pg.domain.level_change import RouteChange
from sona_pg.domain.route_choice import BestRoutes, RatingsSince


class RoutesNow(NamedTuple):
    """Routes of the patterns of a version as people are told them."""

    version: int
    gone: frozenset[str]  # not offered
    read_at: float
    since: Mapping[UUID, Mapping[str, RatingsSince]]  # ratings of routes that got worse
    best: Mapping[UUID, BestRoutes]
    worse: Sequence[RouteChange]  # routes that got worse
