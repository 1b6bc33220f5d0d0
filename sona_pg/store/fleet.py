"""Servers of a space: who is there, what each serves, what each has recorded."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, func, select, update
from sqlalchemy.dialects.postgresql import insert

from sona_pg.store.schema import servers, spaces


def register(
    connection: Connection,
    space_id: int,
    server_id: UUID,
    *,
    host: str,
    pid: int,
    release: str,
    version: int,
    at: datetime,
) -> None:
    """Add a server to the space; registering twice is the same as once."""
    connection.execute(
        insert(servers)
        .values(
            space_id=space_id, server_id=server_id, host=host, pid=pid, release=release,
            started_at=at, seen_at=at, serving_version=version,
        )
        .on_conflict_do_nothing()
    )  # fmt: skip


def heartbeat(connection: Connection, space_id: int, server_id: UUID, version: int, at: datetime) -> int:
    """Say that the server is there and which version it serves; return the version that it should serve."""
    seen = (
        update(servers)
        .where(servers.c.space_id == space_id, servers.c.server_id == server_id)
        .values(seen_at=at, serving_version=version)
        .returning(servers.c.space_id)
        .cte("seen")
    )
    live = connection.scalar(select(spaces.c.live_version).where(spaces.c.space_id == space_id).add_cte(seen))
    return int(live or 0)


def live_version(connection: Connection, space_id: int) -> int:
    """Return the version that servers should serve."""
    version = connection.scalar(select(spaces.c.live_version).where(spaces.c.space_id == space_id))
    return int(version or 0)


def totals(connection: Connection, space_id: int) -> dict[str, int]:
    """Return what all servers of the space have recorded since it was made."""
    row = connection.execute(
        select(
            func.count().label("servers"),
            func.coalesce(func.sum(servers.c.trajectories), 0).label("trajectories"),
            func.coalesce(func.sum(servers.c.feedback), 0).label("feedback"),
            func.coalesce(func.sum(servers.c.dropped), 0).label("dropped"),
        ).where(servers.c.space_id == space_id)
    ).one()
    return {name: int(value) for name, value in row._mapping.items()}
