"""Quality by the version that decided, from the daily figures: the numbers of ``sona.learning_curve``."""

from __future__ import annotations

from sqlalchemy import Connection

from sona_pg.domain.overview_figures import MeanQuality, SpanSums, VersionCurve, VersionQuality
from sona_pg.domain.space import Space
from sona_pg.store.connect import driver_connection

CURVE = """
SELECT c.version, coalesce(c.origin, CASE c.version WHEN 0 THEN 'start' END), c.created_at,
       coalesce(c.learned_trajectories, 0) + coalesce(c.learned_feedback, 0), c.first_day, c.last_day,
       coalesce(c.trajectories, 0), coalesce(c.rated, 0), c.quality, c.low, c.high
FROM sona.learning_curve c
WHERE c.space = %(space)s AND (c.trajectories > 0 OR c.status IN ('live', 'retired'))
ORDER BY c.version DESC LIMIT %(most)s
"""
# Of records that tell no version: imported ones, and those that were begun with neither a ranking nor a decision.
UNDECIDED = """
SELECT coalesce(sum(f.trajectories), 0)::bigint, coalesce(sum(f.rated), 0)::bigint,
       coalesce(sum(f.quality_sum), 0)::float8
FROM sona.figures f WHERE f.space = %(space)s AND f.kind = 'version' AND f.name = ''
"""
MISSING = "SELECT count(*) FROM sona.days_of(%(id)s) d WHERE NOT d.is_live AND d.summed_at IS NULL"


def read_version_curve(connection: Connection, space: Space, most: int) -> VersionCurve:
    """Return the latest ``most`` versions with what they decided, and those that are live or were so without any."""
    raw, asked = driver_connection(connection), {"space": space.name, "id": space.space_id, "most": most}
    points = [
        VersionQuality(version, origin, at, learned, first, last, MeanQuality(*mean))
        for version, origin, at, learned, first, last, *mean in raw.execute(CURVE, asked)
    ]
    undecided = raw.execute(UNDECIDED, asked).fetchone() or (0, 0, 0.0)
    missing = raw.execute(MISSING, asked).fetchone() or (0,)
    return VersionCurve(points[::-1], MeanQuality.of([SpanSums(*undecided)]), missing[0])
