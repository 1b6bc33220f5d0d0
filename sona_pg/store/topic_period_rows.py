"""Rated trajectories of two neighbouring periods, by the live pattern nearest to each and by route."""

from __future__ import annotations

from datetime import date
from uuid import UUID

from sqlalchemy import Connection

from sona_pg.domain.topic_period import TopicSums
from sona_pg.store.connect import driver_connection
from sona_pg.store.rated_bad_rows import bad_among

# One call for both periods: of very many trajectories both are of one sample.
JUDGED = """
SELECT j.id, j.quality, j.pattern_id, j.route, sona.day_of(j.id) >= %(first)s, j.sampled
FROM sona.judged_topics(%(space)s, %(earliest)s, %(last)s) j
WHERE j.pattern_id IS NOT NULL
"""


def read_topic_sums(
    connection: Connection, space_id: int, earliest: date, first: date, last: date, bad: float
) -> list[TopicSums]:
    """Return the sums of each pattern and route from ``first`` to ``last``, and from ``earliest`` until ``first``."""
    asked = {"space": space_id, "earliest": earliest, "first": first, "last": last}
    judged = driver_connection(connection).execute(JUDGED, asked).fetchall()
    wrong = bad_among(connection, space_id, ((id_, quality) for id_, quality, *_ in judged), bad)
    sums: dict[tuple[UUID, str | None, bool], TopicSums] = {}
    for id_, quality, pattern, route, is_now, sampled in judged:
        known = sums.get((pattern, route, is_now), TopicSums(pattern, route, is_now, 0, 0.0, 0, sampled))
        sums[pattern, route, is_now] = known._replace(
            rated=known.rated + 1, quality=known.quality + quality, bad=known.bad + (id_ in wrong)
        )
    return list(sums.values())
