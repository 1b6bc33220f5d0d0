"""Facts of feedback as they came, with the trajectories that they are about."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Connection

from sona_pg.domain.overview_figures import ToldFact, WantedFacts
from sona_pg.store.admin.weeks import id_floor
from sona_pg.store.connect import driver_connection

ABOUT = 500  # newest trajectories among which the latest facts are looked for
CHOSEN_ABOUT = 10_000  # if only some facts are wanted: those asked before the end of the time
FIRST, LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)
# Facts are found by their trajectories: their own time has no index.
FACTS = """
SELECT t.id, f.recorded_at, f.source, f.quality, f.correction, f.paid, t.query, t.route, t.in_chat, f.stands
FROM (
    SELECT t.id, t.query, t.route, coalesce(t.context @> ARRAY['chat'], false) AS in_chat FROM sona.trajectories t
    WHERE t.space_id = %(space)s AND t.id >= %(from)s AND t.id < %(beyond)s ORDER BY t.id DESC LIMIT %(trajectories)s
) t
JOIN LATERAL (
    SELECT f.recorded_at, f.source, f.quality, f.correction, f.paid,
           f.sequence = max(f.sequence) OVER (PARTITION BY f.source)
               AND num_nonnulls(f.quality, f.correction, f.paid) > 0 AS stands
    FROM sona.feedback f WHERE f.space_id = %(space)s AND f.trajectory_id = t.id
) f ON true
WHERE f.recorded_at >= %(since)s AND f.recorded_at < %(until)s
    AND (%(source)s::text IS NULL OR f.source = %(source)s::text)
    AND (NOT %(standing)s OR f.stands AND num_nonnulls(f.quality, f.correction) > 0)
    AND (NOT %(bad)s OR CASE WHEN f.correction IS NULL THEN f.quality <= %(worst)s
                             ELSE f.correction IS DISTINCT FROM t.route END)
ORDER BY f.recorded_at DESC LIMIT %(most)s
"""


def read_told_facts(
    connection: Connection, space_id: int, wanted: WantedFacts, worst: float, most: int
) -> list[ToldFact]:
    """Return the latest ``most`` of the wanted facts, latest first; a quality of at most ``worst`` is bad."""
    until, about = wanted.until or LAST, ABOUT if wanted == WantedFacts() else CHOSEN_ABOUT
    beyond = min(until, wanted.asked_until or LAST)
    asked = {
        "space": space_id, "from": id_floor(wanted.asked_since or FIRST), "beyond": id_floor(beyond),
        "since": wanted.since or FIRST, "until": until,
        "trajectories": about, "bad": wanted.bad, "worst": worst, "most": most,
        "source": wanted.source, "standing": wanted.standing,
    }  # fmt: skip
    return [ToldFact(*row) for row in driver_connection(connection).execute(FACTS, asked)]
