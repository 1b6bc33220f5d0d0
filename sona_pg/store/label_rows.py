"""Quality by label and by user, as ``sona.quality_by_label`` has it."""

from __future__ import annotations

from datetime import date

from sqlalchemy import Connection

from sona_pg.domain.label_quality import LabelQuality, LabelsInPeriod
from sona_pg.domain.space import Space
from sona_pg.store.connect import driver_connection

LISTED = 100
LABELS = """
WITH found AS MATERIALIZED (SELECT q.* FROM sona.quality_by_label(%(space)s, %(first)s, %(last)s) q)
SELECT f.kind, f.label, f.rated, f.quality, f.low, f.high, f.downs, f.share_of_rated, f.share_of_downs,
       f.quality_without
FROM (
    (SELECT l.* FROM found l WHERE l.kind = 'label' ORDER BY l.rated DESC, l.label LIMIT %(most)s)
    UNION ALL
    SELECT u.* FROM found u WHERE u.is_heavy
) f
ORDER BY CASE f.kind WHEN 'label' THEN f.rated ELSE f.downs END DESC, f.label
"""


def read_labels(connection: Connection, space: Space, first: date, last: date) -> LabelsInPeriod:
    """Return the labels with the most ratings from ``first`` to ``last``, and the users who rated much down."""
    asked = {"space": space.name, "first": first, "last": last, "most": LISTED}
    rows = [(kind, LabelQuality(*row)) for kind, *row in driver_connection(connection).execute(LABELS, asked)]
    labels, users = ([one for kind, one in rows if kind == wanted] for wanted in ("label", "user"))
    return LabelsInPeriod(first, last, labels, users)
