"""Best routes of the topics as ``sona.best_routes`` tells them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlalchemy import Connection

from sona_pg.domain.level_change import RouteChange
from sona_pg.domain.route_choice import BestRoutes, RatingsSince
from sona_pg.store.connect import driver_connection

# The space may have been renamed.
BEST = """
SELECT b.pattern_id, b.best_route, b.former_best_route, b.succeeded_route
FROM sona.best_routes((SELECT name FROM sona.spaces WHERE space_id = %(space)s), %(days)s) b
"""
BEST_OF = """
SELECT b.pattern_id, b.best_route, b.former_best_route, b.succeeded_route
FROM sona.best_routes_of((SELECT name FROM sona.spaces WHERE space_id = %(space)s), %(worse)s::text[], %(days)s::date[],
    %(patterns)s::uuid[], %(routes)s::text[], %(rated)s::float8[], %(quality)s::float8[]) b
"""

BEST_OF_TOPICS = """
SELECT b.pattern_id, b.best_route, b.former_best_route, b.succeeded_route
FROM sona.best_routes_of_topics((SELECT name FROM sona.spaces WHERE space_id = %(space)s), %(members)s::uuid[],
    %(topics)s::uuid[], %(worse)s::text[], %(days)s::date[], %(patterns)s::uuid[], %(routes)s::text[],
    %(rated)s::float8[], %(quality)s::float8[]) b
"""


def read_best_routes(connection: Connection, space_id: int, days: int) -> Mapping[UUID, BestRoutes]:
    """Return the best routes of each live pattern with routes, where some got worse in the last ``days``."""
    found = driver_connection(connection).execute(BEST, {"space": space_id, "days": days})
    return {pattern: BestRoutes(*routes) for pattern, *routes in found}


def read_best_routes_of(
    connection: Connection,
    space_id: int,
    worse: Sequence[RouteChange],
    since: Mapping[UUID, Mapping[str, RatingsSince]],
    topics: Mapping[UUID, UUID] | None = None,
) -> Mapping[UUID, BestRoutes]:
    """Return what ``read_best_routes`` does, of the routes that got ``worse``, rated so often and so well ``since``.

    With ``topics``, by pattern, those of patterns put together.
    """
    rated = [(pattern, route, one) for pattern, routes in since.items() for route, one in routes.items() if one.rated]
    asked = {
        "space": space_id, "worse": [one.route for one in worse], "days": [one.changed_on for one in worse],
        "patterns": [pattern for pattern, _, _ in rated], "routes": [route for _, route, _ in rated],
        "rated": [float(one.rated) for _, _, one in rated], "quality": [one.quality for _, _, one in rated],
    }  # fmt: skip
    if topics is not None:
        asked |= {"members": list(topics), "topics": list(topics.values())}
    found = driver_connection(connection).execute(BEST_OF if topics is None else BEST_OF_TOPICS, asked)
    return {pattern: BestRoutes(*routes) for pattern, *routes in found}
