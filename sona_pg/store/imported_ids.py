"""Ids that rows of imported files have of their own, by the trajectories that were made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection, Engine

from sona_pg.domain.space import Space
from sona_pg.store.connect import driver_connection
from sona_pg.store.transactions import BRIEF, reading, transaction

LONGEST = 256  # bytes: a longer id is not kept
# Ids within their bounds, which prune the partitions; one kept already is told again by every repeated import.
KEEP = """
INSERT INTO sona.imported_ids (space_id, trajectory_id, imported_id, is_timed)
SELECT %(space)s, t.id, told.imported_id, told.is_timed
FROM unnest(%(ids)s::uuid[], %(told)s::text[], %(timed)s::bool[]) AS told (id, imported_id, is_timed)
JOIN sona.trajectories t ON t.space_id = %(space)s AND t.id = told.id AND t.id BETWEEN %(first)s AND %(last)s
ON CONFLICT DO NOTHING
RETURNING 1
"""
KEEP_AHEAD = """
INSERT INTO sona.imported_ids (space_id, trajectory_id, imported_id, is_timed)
SELECT %(space)s, told.id, told.imported_id, told.is_timed
FROM unnest(%(ids)s::uuid[], %(told)s::text[], %(timed)s::bool[]) AS told (id, imported_id, is_timed)
ON CONFLICT DO NOTHING
RETURNING 1
"""
# Rows with times are others, such as those of another source that counts its tickets alike.
OF_UNTIMED = """
SELECT i.imported_id, i.trajectory_id FROM unnest(%(told)s::text[]) AS told (imported_id)
JOIN sona.imported_ids i ON i.space_id = %(space)s AND i.imported_id = told.imported_id
    AND i.is_timed IS NOT TRUE
ORDER BY i.trajectory_id DESC
"""
ALL_OF = """
SELECT trajectory_id FROM sona.imported_ids WHERE space_id = %(space)s AND imported_id = %(told)s
ORDER BY trajectory_id DESC LIMIT %(most)s
"""
BETWEEN = """
SELECT trajectory_id, imported_id FROM sona.imported_ids
WHERE space_id = %(space)s AND trajectory_id BETWEEN %(first)s AND %(last)s
"""


class OwnId(NamedTuple):
    """The id that an imported row has of its own."""

    name: str
    is_timed: bool | None  # the row tells its time; None: not known, as of a row that was exported


class ImportedIdStore:
    """Keeps the ids of imported rows, and finds trajectories by them."""

    def __init__(self, engine: Engine) -> None:
        """Write to the database of ``engine``."""
        self._engine = engine

    def keep(self, space: Space, told: Mapping[UUID, OwnId]) -> None:
        """Keep the ids of imported rows by their trajectories; of trajectories that are not stored none is kept."""
        self._keep(KEEP, space, told)

    def keep_ahead(self, space: Space, told: Mapping[UUID, OwnId]) -> None:
        """Keep the ids of imported rows by the trajectories that are about to be recorded.

        One whose record is refused stays until its time has expired; no view shows it.
        """
        self._keep(KEEP_AHEAD, space, told)

    def _keep(self, statement: str, space: Space, told: Mapping[UUID, OwnId]) -> None:
        kept = {id_: own for id_, own in told.items() if can_be_kept(own.name)}
        if not kept:
            return
        names, timed = [own.name for own in kept.values()], [own.is_timed for own in kept.values()]
        values = {"space": space.space_id, "ids": list(kept), "told": names, "timed": timed}
        with transaction(self._engine, "keeping the ids of imported rows") as connection:
            driver_connection(connection).execute(statement, values | {"first": min(kept), "last": max(kept)})

    def untimed(self, space: Space, told: Sequence[str]) -> dict[str, UUID]:
        """Return the first trajectory of each id that is kept of an imported row without a time."""
        values = {"space": space.space_id, "told": [name for name in told if can_be_kept(name)]}
        if not values["told"]:
            return {}
        with reading(self._engine, "looking for imported rows") as connection:
            return dict(driver_connection(connection).execute(OF_UNTIMED, values).fetchall())

    def all_of(self, space: Space, told: str, most: int) -> list[UUID]:
        """Return the latest ``most`` trajectories that were made of rows with an id."""
        if not can_be_kept(told):
            return []
        values = {"space": space.space_id, "told": told, "most": most}
        with reading(self._engine, "looking for imported rows", BRIEF) as connection:
            return [id_ for (id_,) in driver_connection(connection).execute(ALL_OF, values)]


def read_between(connection: Connection, space: Space, first: UUID, last: UUID) -> dict[UUID, str]:
    """Return the ids of the imported rows among the trajectories from ``first`` to ``last``."""
    values = {"space": space.space_id, "first": first, "last": last}
    return dict(driver_connection(connection).execute(BETWEEN, values).fetchall())


def can_be_kept(name: str) -> bool:
    """Whether the id of a row fits into the table."""
    return name.isprintable() and 1 <= len(name.encode()) <= LONGEST  # surrogates and NUL are not printable
