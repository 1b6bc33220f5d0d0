"""Quality by label and by user, as ``sona.quality_by_label`` has it."""

from __future__ import annotations

from datetime import date

from sqlalchemy import Connection

from sona_pg.domain.label_quality import LabelQuality, LabelsInPeriod
from sona_pg.domain.space import Space
from sona_pg.store.connect import driver_connection

LISTED = 100
# Users who rated everything good: so many ratings, all good by chance in one space of a hundred at most if each user
# rated as all others do (Bonferroni over the users).
FEW = 10
CHANCE = 0.01
LABELS = """
WITH found AS MATERIALIZED (SELECT q.* FROM sona.quality_by_label(%(space)s, %(first)s, %(last)s) q)
SELECT f.sort, f.label, f.rated, f.quality, f.low, f.high, f.downs, f.share_of_rated, f.share_of_downs,
       f.quality_without
FROM (
    (SELECT 'label' AS sort, l.* FROM found l WHERE l.kind = 'label' ORDER BY l.rated DESC, l.label LIMIT %(most)s)
    UNION ALL
    SELECT 'heavy', u.* FROM found u WHERE u.is_heavy
    UNION ALL
    (
        SELECT 'always good', u.* FROM found u
        WHERE u.kind = 'user' AND u.quality_without IS NOT NULL AND u.rated >= %(few)s AND u.downs < 0.001 * u.rated
            AND u.rated * ln(greatest(u.quality_without, 1e-9))
                < ln(%(chance)s / (SELECT count(*) FROM found a WHERE a.kind = 'user'))
        ORDER BY u.rated DESC, u.label LIMIT %(most)s
    )
) f
ORDER BY CASE f.sort WHEN 'heavy' THEN f.downs ELSE f.rated END DESC, f.label
"""


def read_labels(connection: Connection, space: Space, first: date, last: date) -> LabelsInPeriod:
    """Return the labels with most ratings from ``first`` to ``last``, and users who rated much down or all good."""
    asked = {"space": space.name, "first": first, "last": last, "most": LISTED, "few": FEW, "chance": CHANCE}
    rows = [(sort, LabelQuality(*row)) for sort, *row in driver_connection(connection).execute(LABELS, asked)]
    sorts = ([one for sort, one in rows if sort == wanted] for wanted in ("label", "heavy", "always good"))
    return LabelsInPeriod(first, last, *sorts)
