"""The last dreams of a space, as its deep cycles have counted them."""

from __future__ import annotations

from sqlalchemy import Connection

from sona_pg.domain.overview_figures import LastDreams
from sona_pg.store.connect import driver_connection

# A cycle that went on with a round after its dreams has none of its own.
LAST = """
SELECT c.started_at, (c.detail #>> '{dreams,count}')::int, (c.detail #>> '{dreams,good}')::int,
       (c.detail #>> '{dreams,joined}')::int
FROM sona.cycles c
WHERE c.space_id = %(space)s AND c.loop = 'deep' AND c.error IS NULL AND (c.detail #>> '{dreams,count}')::int > 0
ORDER BY c.started_at DESC LIMIT 1
"""


def read_last_dreams(connection: Connection, space_id: int) -> LastDreams | None:
    """Return the dreams of the latest cycle that had any; None without one."""
    row = driver_connection(connection).execute(LAST, {"space": space_id}).fetchone()
    return None if row is None else LastDreams(*row)
