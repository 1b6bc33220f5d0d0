"""Rated trajectories of two neighbouring periods, by the live pattern nearest to each."""

from __future__ import annotations

from datetime import date

from sqlalchemy import Connection

from sona_pg.domain.topic_period import TopicSums
from sona_pg.store.connect import driver_connection

# One call for both periods: of very many trajectories both are of one sample.
SUMS = """
SELECT j.pattern_id, sona.day_of(j.id) >= %(first)s, count(*), sum(j.quality),
       count(*) FILTER (WHERE j.quality <= %(bad)s), bool_or(j.sampled)
FROM sona.judged_topics(%(space)s, %(earliest)s, %(last)s) j
WHERE j.pattern_id IS NOT NULL
GROUP BY 1, 2
"""


def read_topic_sums(
    connection: Connection, space_id: int, earliest: date, first: date, last: date, bad: float
) -> list[TopicSums]:
    """Return the sums of each pattern from ``first`` to ``last``, and from ``earliest`` until ``first``."""
    asked = {"space": space_id, "earliest": earliest, "first": first, "last": last, "bad": bad}
    return [TopicSums(*row) for row in driver_connection(connection).execute(SUMS, asked)]
