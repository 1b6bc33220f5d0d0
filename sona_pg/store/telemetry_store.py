"""Ids of trajectories by the spans and responses of OpenTelemetry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlalchemy import Connection, Engine, text

from sona_pg.domain.telemetry_keys import TelemetryKeys, owner_key
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
    """Gives a span and its evaluations one trajectory, on whichever server they are first heard of.

    Spans of one trace that share a response are one trajectory (two instrumentations tell of one call); those of
    different traces are several. ``owner_key`` holds the trace whose span has the response: a row of the same table,
    with a UUID of that trace in place of a trajectory.
    """

    def __init__(self, engine: Engine) -> None:
        """Ask the database of ``engine``."""
        self._engine = engine

    def claim(self, space_id: int, wanted: Sequence[tuple[TelemetryKeys, UUID]]) -> list[UUID]:
        """Return a trajectory's id for each item: the one that its keys are known by, else the one offered."""
        with transaction(self._engine, "finding trajectories of telemetry", BRIEF) as connection:
            if connection.execute(HOLD, {"space": space_id}).first() is None:
                raise leases.missing(space_id)
            owners = {owner_key(keys.response) for keys, _ in wanted if keys.response is not None}
            named = sorted(owners.union(*(keys.named for keys, _ in wanted)))
            rows = connection.execute(KNOWN, {"space": space_id, "keys": named})
            known = {bytes(row.key): row.trajectory_id for row in rows}
            # Owners first, in a statement of their own: two servers that take one response agree on its trace.
            known |= _claimed(connection, space_id, _owners(wanted, known))
            new: dict[bytes, UUID] = {}
            deciding = []
            for keys, offered in wanted:
                names = _claims(keys, known, new)
                found = next((ids[key] for key in names for ids in (known, new) if key in ids), offered)
                for key in names:
                    new.setdefault(key, found)
                deciding.append(next((key for key in names if key in known), names[0]))
            known |= _claimed(connection, space_id, {key: id_ for key, id_ in new.items() if key not in known})
        return [known[key] for key in deciding]


def _owners(wanted: Sequence[tuple[TelemetryKeys, UUID]], known: Mapping[bytes, UUID]) -> dict[bytes, UUID]:
    """Return the traces of responses that no span has had yet."""
    new: dict[bytes, UUID] = {}
    for keys, _ in wanted:
        if keys.trace is not None and keys.response is not None and owner_key(keys.response) not in known:
            new.setdefault(owner_key(keys.response), keys.trace)
    return new


def _claims(keys: TelemetryKeys, known: Mapping[bytes, UUID], new: Mapping[bytes, UUID]) -> tuple[bytes, ...]:
    """Return the keys to look an item up by, which it claims too; the first that is known decides."""
    if keys.trace is not None:  # a span
        taken = keys.response is not None and known.get(owner_key(keys.response), keys.trace) != keys.trace
        response = keys.response_in_trace if taken else keys.response
        return tuple(key for key in (keys.span, response) if key is not None)
    if keys.response is None:
        return keys.named
    if keys.response_in_trace in known or keys.response_in_trace in new:
        return keys.named[:1]
    if owner_key(keys.response) in known:
        return (keys.response,)
    return tuple(key for key in (keys.response, keys.span) if key is not None)  # it came before the span


def _claimed(connection: Connection, space_id: int, new: Mapping[bytes, UUID]) -> dict[bytes, UUID]:
    """Store keys; return what each stands for, where another server was faster."""
    if not new:
        return {}
    told = {"space": space_id, "at": leases.now(connection), "keys": list(new), "ids": [*new.values()]}
    return {bytes(row.key): row.trajectory_id for row in connection.execute(CLAIM, told)}
