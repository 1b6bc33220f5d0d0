"""Polling of many spaces with one statement each: live versions, candidates, heartbeats, unlearned facts.

On Citus only these statements ask every node: once a poll of a process, never on a request's path.
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

# A join rather than `= ANY`: one index look-up a space, and a plan independent of their number.
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
    """Heartbeat of one server of one space."""

    space_id: int
    server_id: UUID
    version: int  # served version
    skew_ms: float | None  # seconds by which its clock is ahead


class RollCall(NamedTuple):
    """Result of one poll of many spaces."""

    live: dict[int, int]  # live version by space; a missing space was removed
    signals: dict[int, tuple[int, int]]  # candidate signal by space, if asked for; see ``candidates.signal``
    unknown: set[UUID]  # servers whose heartbeat was sent and whose row was deleted
    at: datetime | None  # by the database's clock, if heartbeats were sent
    names: Mapping[int, str] = MappingProxyType({})  # names of the existing spaces


def call_roll(
    connection: Connection, spaces: Sequence[int], with_signals: Sequence[int], beats: Sequence[Beat]
) -> RollCall:
    """Read live versions of ``spaces`` and signals of ``with_signals``, and send ``beats``; one statement each."""
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
    """Return the number of unlearned trajectories and facts by space; spaces without any are left out."""
    return {
        space: int(facts) for space, facts in driver_connection(connection).execute(WAITING, {"spaces": list(spaces)})
    }
