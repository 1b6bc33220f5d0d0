"""Quality by label and by user, as ``sona.quality_by_label`` has it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from math import log

from sqlalchemy import Connection

from sona_pg.domain.label_quality import LabelQuality, LabelsInPeriod
from sona_pg.domain.space import Space
from sona_pg.store.connect import driver_connection
from sona_pg.store.outcome_samples import MOST_READ

LISTED = 100
# Users who rated everything good: so many ratings, all good by chance in one space of a hundred at most if each user
# rated as all others do (Bonferroni over the users).
FEW = 10
CHANCE = 0.01
NONE_DOWN = 0.001  # of a rating, by rounding alone
LABELS = """
WITH found AS MATERIALIZED (SELECT q.* FROM sona.quality_by_label(%(space)s, %(first)s, %(last)s) q)
SELECT f.sort, f.label, f.rated, f.quality, f.low, f.high, f.downs, f.share_of_rated, f.share_of_downs,
       f.quality_without, (SELECT count(*) FROM found a WHERE a.kind = 'user')
FROM (
    (SELECT 'label' AS sort, l.* FROM found l WHERE l.kind = 'label' ORDER BY l.rated DESC, l.label LIMIT %(most)s)
    UNION ALL
    SELECT 'heavy', u.* FROM found u WHERE u.is_heavy
    UNION ALL
    (
        SELECT 'always good', u.* FROM found u
        WHERE u.kind = 'user' AND u.quality_without IS NOT NULL AND u.rated >= %(few)s AND u.quality >= 0.5
            AND u.rated * ln(greatest(u.quality_without, 1e-9))
                < ln(%(chance)s / (SELECT count(*) FROM found a WHERE a.kind = 'user'))
        ORDER BY u.downs < 0.001 * u.rated DESC, u.rated DESC, u.label LIMIT %(most)s
    )
) f
ORDER BY CASE f.sort WHEN 'heavy' THEN f.downs ELSE f.rated END DESC, f.label
"""
# A user's own ratings are feedback, of the source that rated most of their requests: an agent's corrections are not
# theirs. Qualities that came with requests are theirs only where no feedback rated any: an application that checks its
# own answers gives one to each. Of tables alone: on Citus a function that reads the shards cannot run beside them.
OWN = """
WITH newest AS MATERIALIZED (
    SELECT t.id, t.quality, t.context FROM sona.trajectories t
    WHERE t.space_id = %(space_id)s AND t.id >= sona.first_id(%(first)s) AND t.id <= sona.last_id(%(last)s)
    ORDER BY t.id DESC LIMIT %(read)s
), asked AS MATERIALIZED (
    SELECT n.id, n.quality, l.label FROM newest n CROSS JOIN LATERAL unnest(n.context) AS l (label)
    WHERE l.label = ANY(%(users)s::text[])
), said AS MATERIALIZED (
    SELECT DISTINCT ON (f.trajectory_id, f.source) f.trajectory_id, f.source, f.quality, f.correction
    FROM sona.feedback f
    WHERE f.space_id = %(space_id)s AND f.trajectory_id >= (SELECT a.id FROM asked a ORDER BY a.id LIMIT 1)
        AND f.trajectory_id <= sona.last_id(%(last)s)
        AND (f.quality IS NOT NULL OR f.correction IS NOT NULL OR f.paid IS NULL)
    ORDER BY f.trajectory_id, f.source, f.sequence DESC
), words AS (
    SELECT a.label, false AS came_along, s.source, s.quality::float8 AS quality
    FROM asked a JOIN said s ON s.trajectory_id = a.id
    WHERE s.correction IS NULL AND s.quality IS NOT NULL
    UNION ALL
    SELECT a.label, true, '', a.quality::float8 FROM asked a WHERE a.quality IS NOT NULL
), sums AS (
    SELECT w.label, w.came_along, w.source, count(*) AS rated, min(w.quality) AS worst FROM words w
    GROUP BY w.label, w.came_along, w.source
)
SELECT DISTINCT ON (s.label) s.label, s.rated, s.worst FROM sums s
ORDER BY s.label, s.came_along, s.rated DESC, s.source
"""


def read_labels(connection: Connection, space: Space, first: date, last: date) -> LabelsInPeriod:
    """Return the labels with most ratings from ``first`` to ``last``, and users who rated much down or all good."""
    asked = {"space": space.name, "first": first, "last": last, "most": LISTED, "few": FEW, "chance": CHANCE}
    raw = driver_connection(connection)
    found = raw.execute(LABELS, asked).fetchall()
    rows = [(sort, LabelQuality(*row)) for sort, *row, _ in found]
    users = found[0][-1] if found else 0
    labels, heavy, pleased = (
        [one for sort, one in rows if sort == wanted] for wanted in ("label", "heavy", "always good")
    )
    doubtful = [one.label for one in pleased if one.downs >= NONE_DOWN * one.rated]
    own = asked | {"space_id": space.space_id, "users": doubtful, "read": MOST_READ}
    told = {label: (rated, worst) for label, rated, worst in raw.execute(OWN, own)} if doubtful else {}
    return LabelsInPeriod(first, last, labels, heavy, [one for one in pleased if _gave_good_alone(one, users, told)])


def _gave_good_alone(user: LabelQuality, users: int, told: Mapping[str, tuple[int, float]]) -> bool:
    """Tell whether all that one of ``users`` rated is good; ``told``: number and worst of own ratings, if in doubt."""
    if user.downs < NONE_DOWN * user.rated:
        return True
    rated, worst = told.get(user.label, (0, 0.0))
    by_chance = rated * log(max(user.quality_without or 0.0, 1e-9))
    return rated >= FEW and worst > 1 - NONE_DOWN and by_chance < log(CHANCE / max(users, 1))
