"""Ids of trajectories by the spans and responses of OpenTelemetry."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Engine, text

from sona_pg.store import leases
from sona_pg.store.transactions import BRIEF, transaction

HOLD = text("SELECT space_id FROM sona.spaces WHERE space_id = :space FOR KEY SHARE")  # against its removal
KNOWN = text("""
SELECT key, trajectory_id FROM sona.telemetry_ids WHERE space_id = :space AND key = ANY (CAST(:keys AS bytea[]))
""")
# In one order, so that two servers cannot wait for each other; the update has the row of a faster one returned.
CLAIM = text("""
INSERT INTO sona.telemetry_ids (space_id, key, trajectory_id, recorded_at)
SELECT :space, told.key, told.id, :at
FROM unnest(CAST(:keys AS bytea[]), CAST(:ids AS uuid[])) AS told (key, id) ORDER BY told.key
ON CONFLICT (space_id, key) DO UPDATE SET recorded_at = excluded.recorded_at
RETURNING key, trajectory_id
""")


class TelemetryStore:
    """Gives the span or response of a key one trajectory, on whichever server it is first heard of."""

    def __init__(self, engine: Engine) -> None:
        """Ask the database of ``engine``."""
        self._engine = engine

    def claim(self, space_id: int, wanted: Sequence[tuple[Sequence[bytes], UUID]]) -> list[UUID]:
        """Return a trajectory's id for each item: that of the first of its keys that is known, else the one offered."""
        with transaction(self._engine, "finding trajectories of telemetry", BRIEF) as connection:
            if connection.execute(HOLD, {"space": space_id}).first() is None:
                raise leases.missing(space_id)
            keys = sorted({key for names, _ in wanted for key in names})
            rows = connection.execute(KNOWN, {"space": space_id, "keys": keys})
            known = {bytes(row.key): row.trajectory_id for row in rows}
            new: dict[bytes, UUID] = {}
            for names, offered in wanted:
                found = next((known.get(key) or new.get(key) for key in names if key in known or key in new), None)
                for key in names:
                    if key not in known:
                        new.setdefault(key, found or offered)
            if new:
                told = {"space": space_id, "at": leases.now(connection), "keys": list(new), "ids": [*new.values()]}
                known |= {bytes(row.key): row.trajectory_id for row in connection.execute(CLAIM, told)}
        return [known[names[0]] for names, _ in wanted]
