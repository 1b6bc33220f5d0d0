"""Best routes of the topics as ``sona.best_routes`` tells them."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from sqlalchemy import Connection

from sona_pg.domain.route_choice import BestRoutes
from sona_pg.store.connect import driver_connection

# The space may have been renamed.
BEST = """
SELECT b.pattern_id, b.best_route, b.former_best_route, b.succeeded_route
FROM sona.best_routes((SELECT name FROM sona.spaces WHERE space_id = %(space)s), %(days)s) b
"""


def read_best_routes(connection: Connection, space_id: int, days: int) -> Mapping[UUID, BestRoutes]:
    """Return the best routes of each live pattern with routes, where some got worse in the last ``days``."""
    found = driver_connection(connection).execute(BEST, {"space": space_id, "days": days})
    return {pattern: BestRoutes(*routes) for pattern, *routes in found}
