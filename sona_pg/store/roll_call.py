"""Looking after many spaces at once, a statement for all of them: live versions, candidates, heartbeats, what waits.

On Citus these are the few statements that ask every node, once a poll of a process and never on a request's path.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection

from sona_pg.store.connect import driver_connection
from sona_pg.store.leases import now

# A join rather than `= ANY`: each space is one look into an index, and the plan does not depend on how many they are.
LIVE_VERSIONS = """
SELECT s.space_id, s.live_version, s.name
FROM unnest(%(spaces)s::integer[]) AS wanted (id) JOIN sona.spaces s ON s.space_id = wanted.id
"""
SIGNALS = """
SELECT wanted.id,
       (SELECT max(c.slot) FROM sona.candidates c WHERE c.space_id = wanted.id),
       (SELECT count(*) FROM sona.candidates c WHERE c.space_id = wanted.id AND c.slot IS NULL)
FROM unnest(%(spaces)s::integer[]) AS wanted (id)
"""
HEARTBEATS = """
UPDATE sona.servers s SET seen_at = %(at)s, serving_version = told.version, skew_ms = told.skew_ms
FROM unnest(%(spaces)s::integer[], %(servers)s::uuid[], %(versions)s::bigint[], %(skews)s::float8[])
    AS told (space_id, server_id, version, skew_ms)
WHERE s.space_id = told.space_id AND s.server_id = told.server_id
RETURNING s.server_id
"""
WAITING = """
SELECT b.space_id, sum(b.trajectories + b.feedback)
FROM unnest(%(spaces)s::integer[]) AS wanted (id)
JOIN sona.batches b ON b.space_id = wanted.id AND b.cycle_id IS NULL AND b.left_out_by IS NULL
GROUP BY b.space_id
"""


class Beat(NamedTuple):
    """One server of one space says that it is there."""

    space_id: int
    server_id: UUID
    version: int  # that it serves
    skew_ms: float | None  # by which its clock is ahead


class RollCall(NamedTuple):
    """The answer of one look at many spaces."""

    live: dict[int, int]  # live version by space; a space that is not there was removed
    signals: dict[int, tuple[int, int]]  # of candidates, by space, where that was asked; see ``candidates.signal``
    unknown: set[UUID]  # of the servers whose heartbeat was sent, those that are not on the list any more
    at: datetime | None  # by the database's clock, if heartbeats were sent
    names: Mapping[int, str] = MappingProxyType({})  # of the spaces that are there


def call_roll(
    connection: Connection, spaces: Sequence[int], with_signals: Sequence[int], beats: Sequence[Beat]
) -> RollCall:
    """Look at ``spaces``, at the candidates of ``with_signals``, and send ``beats``; each is one statement."""
    raw = driver_connection(connection)
    at = now(connection) if beats else None
    unknown = {beat.server_id for beat in beats}
    if beats:
        told = {
            "spaces": [beat.space_id for beat in beats],
            "servers": [beat.server_id for beat in beats],
            "versions": [beat.version for beat in beats],
            "skews": [beat.skew_ms for beat in beats],
        }
        unknown -= {row[0] for row in raw.execute(HEARTBEATS, {"at": at, **told})}
    there = raw.execute(LIVE_VERSIONS, {"spaces": list(spaces)}).fetchall()
    live = {space: version for space, version, _ in there}
    names = {space: name for space, _, name in there}
    signals = {}
    if with_signals:
        rows = raw.execute(SIGNALS, {"spaces": list(with_signals)})
        signals = {space: (0 if slot is None else slot + 1, new) for space, slot, new in rows}
    return RollCall(live, signals, unknown, at, names)


def waiting_facts(connection: Connection, spaces: Sequence[int]) -> dict[int, int]:
    """Return how many trajectories and facts wait to be learned, by space; a space without any is left out."""
    return {
        space: int(facts) for space, facts in driver_connection(connection).execute(WAITING, {"spaces": list(spaces)})
    }
