"""Trajectories that are open in the store: any process of their space adds to them and ends them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

BEGIN = text("""
INSERT INTO sona.shared_trajectories (space_id, trajectory_id, part, call, content, recorded_at)
VALUES (:space, :id, 0, 'begin_trajectory', CAST(:content AS jsonb), :at)
ON CONFLICT (space_id, trajectory_id, part) DO UPDATE SET recorded_at = excluded.recorded_at
RETURNING content = CAST(:content AS jsonb)
""")
# The row of the beginning is locked, so that a call and the end of the same trajectory come one after the other.
HOLD = text("""
SELECT FROM sona.shared_trajectories WHERE space_id = :space AND trajectory_id = :id AND part = 0 FOR UPDATE
""")
ADD = text("""
INSERT INTO sona.shared_trajectories (space_id, trajectory_id, part, call, content, recorded_at)
SELECT :space, :id, greatest(:part, max(s.part) + 1), :call, CAST(:content AS jsonb), :at
FROM sona.shared_trajectories s WHERE s.space_id = :space AND s.trajectory_id = :id
RETURNING 1
""")
TOLD = text("""
SELECT FROM sona.shared_trajectories
WHERE space_id = :space AND trajectory_id = :id AND content ->> 'once' = :once
""")
READ = text("""
SELECT part, call, content FROM sona.shared_trajectories WHERE space_id = :space AND trajectory_id = :id ORDER BY part
""")
# An end waits for the writer with the beginning locked: the transaction of a stopped process must end.
END_IF_IDLE = text("SET LOCAL idle_in_transaction_session_timeout = '15s'")
REMOVE = text("DELETE FROM sona.shared_trajectories WHERE space_id = :space AND trajectory_id = :id")


@dataclass(frozen=True, slots=True)
class SharedPart:
    """A call about a shared trajectory."""

    part: int  # microseconds since the trajectory began; 0: its beginning
    call: str  # the engine's method
    content: dict[str, Any]  # its arguments


def begin(connection: Connection, space_id: int, id: UUID, content: dict[str, Any], at: datetime) -> bool:
    """Store the beginning of a trajectory; return False if another one has its id, which stays."""
    row = {"space": space_id, "id": id, "content": json.dumps(content), "at": at}
    return bool(connection.scalar(BEGIN, row))


def add(connection: Connection, space_id: int, id: UUID, part: SharedPart, at: datetime) -> bool:
    """Store a call about a trajectory, once if its content says ``once``; return False if it is not open."""
    known = {"space": space_id, "id": id}
    if connection.execute(HOLD, known).first() is None:
        return False
    once = part.content.get("once")
    if once is not None and connection.execute(TOLD, {**known, "once": once}).first() is not None:
        return True
    values = {"part": part.part, "call": part.call, "content": json.dumps(part.content), "at": at}
    connection.execute(ADD, {**known, **values})
    return True


def take(connection: Connection, space_id: int, id: UUID) -> Sequence[SharedPart]:
    """Remove a trajectory and return its stored calls, its beginning first; nothing if it is not open."""
    known = {"space": space_id, "id": id}
    if connection.execute(HOLD, known).first() is None:
        return []
    parts = [SharedPart(row.part, row.call, row.content) for row in connection.execute(READ, known)]
    connection.execute(REMOVE, known)
    return parts
