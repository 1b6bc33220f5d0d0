"""Contents of candidates in the store, by id and by the beginning of the id."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Engine, text

from sona_pg.domain.content import StoredContent
from sona_pg.domain.space import Space
from sona_pg.errors import InvalidValue, SpaceRemoved
from sona_pg.limits import MOST_CANDIDATES
from sona_pg.store import leases
from sona_pg.store.transactions import BRIEF, reading, transaction

# In one order, so that two writers cannot wait for each other.
KEEP = text("""
INSERT INTO sona.candidate_contents (space_id, candidate_id, content, created_at, updated_at)
SELECT :space, told.id, told.content::jsonb, :at, :at
FROM unnest(CAST(:ids AS text[]), CAST(:contents AS text[])) AS told (id, content)
ORDER BY told.id COLLATE "C"
ON CONFLICT (space_id, candidate_id) DO UPDATE SET content = excluded.content, updated_at = excluded.updated_at
""")
HOLD = text("SELECT space_id FROM sona.spaces WHERE space_id = :space FOR KEY SHARE")  # against its removal
COUNT = text("SELECT count(*) FROM sona.candidate_contents WHERE space_id = :space")
READ = text("""
SELECT candidate_id, content, created_at, updated_at FROM sona.candidate_contents
WHERE space_id = :space AND candidate_id = ANY (CAST(:ids AS text[]))
""")
FIND = text("""
SELECT candidate_id, content, created_at, updated_at FROM sona.candidate_contents
WHERE space_id = :space AND starts_with(candidate_id, :prefix) AND content @> CAST(:containing AS jsonb)
ORDER BY updated_at DESC, candidate_id LIMIT :limit OFFSET :offset
""")
IDS = text("""
SELECT candidate_id FROM sona.candidate_contents
WHERE space_id = :space AND starts_with(candidate_id, :prefix) ORDER BY candidate_id
""")
DROP = text("""
DELETE FROM sona.candidate_contents WHERE space_id = :space AND candidate_id = ANY (CAST(:ids AS text[]))
""")
UNCOUNTED = 1000  # contents that a process keeps in a space before it counts them again


class ContentStore:
    """Keeps the texts and documents behind the ids of candidates."""

    def __init__(self, engine: Engine) -> None:
        """Ask the database of ``engine``."""
        self._engine = engine
        self._room: dict[int, int] = {}  # contents that a space takes until it is counted again

    def keep(self, space: Space, contents: Mapping[str, Mapping[str, Any]]) -> None:
        """Store contents by id; a known id gets its new one.

        Raises:
            InvalidValue: the space has as many as it may have.
            SpaceRemoved: the space is gone.
        """
        with transaction(self._engine, "keeping contents of candidates", BRIEF) as connection:
            if connection.execute(HOLD, {"space": space.space_id}).first() is None:
                raise SpaceRemoved(space.name)
            self._require_room(connection, space, len(contents))
            told = {"ids": list(contents), "contents": [json.dumps(one) for one in contents.values()]}
            connection.execute(KEEP, {**told, "space": space.space_id, "at": leases.now(connection)})
        self._room[space.space_id] -= len(contents)

    def read(self, space: Space, ids: Sequence[str]) -> list[StoredContent]:
        """Return the contents of ``ids`` that there are, in their order."""
        with reading(self._engine, "reading contents of candidates", BRIEF) as connection:
            rows = connection.execute(READ, {"space": space.space_id, "ids": list(ids)})
            found = {row.candidate_id: StoredContent(*row) for row in rows}
        return [found[id_] for id_ in dict.fromkeys(ids) if id_ in found]

    def find(
        self, space: Space, prefix: str, containing: Mapping[str, Any], limit: int, offset: int
    ) -> list[StoredContent]:
        """Return contents whose id begins with ``prefix`` and which contain ``containing``, the latest first."""
        told = {"space": space.space_id, "prefix": prefix, "containing": json.dumps(containing)}
        with reading(self._engine, "finding contents of candidates", BRIEF) as connection:
            rows = connection.execute(FIND, {**told, "limit": limit, "offset": offset})
            return [StoredContent(*row) for row in rows]

    def ids(self, space: Space, prefix: str) -> list[str]:
        """Return the ids that begin with ``prefix``, sorted."""
        with reading(self._engine, "finding contents of candidates", BRIEF) as connection:
            return list(connection.scalars(IDS, {"space": space.space_id, "prefix": prefix}))

    def drop(self, space: Space, ids: Sequence[str]) -> int:
        """Delete contents; return how many there were."""
        with transaction(self._engine, "dropping contents of candidates", BRIEF) as connection:
            return connection.execute(DROP, {"space": space.space_id, "ids": list(ids)}).rowcount

    def _require_room(self, connection: Connection, space: Space, count: int) -> None:
        if self._room.get(space.space_id, 0) < count:
            left = MOST_CANDIDATES - int(connection.scalar(COUNT, {"space": space.space_id}) or 0)
            if left < count:
                raise InvalidValue(
                    f"contents: space {space.name!r} would have more than {MOST_CANDIDATES:,}: drop some first"
                )
            self._room[space.space_id] = min(left, max(count, UNCOUNTED))
