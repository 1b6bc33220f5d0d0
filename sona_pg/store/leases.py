"""Leases: the exclusive right to learn in a space. The epoch is a fencing token, checked on publishing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection, func, select, update
from sqlalchemy.dialects.postgresql import insert as insert_once

from sona_pg.errors import SpaceRemoved
from sona_pg.store.schema import leases, spaces

LEARNER = "learner"
FREE = datetime.fromisoformat("1970-01-01T00:00:00+00:00")  # expiry of a released lease


@dataclass(frozen=True, slots=True)
class Lease:
    """The right of one server to publish in one space, until another learner takes it."""

    space_id: int
    server_id: UUID
    epoch: int


def take(connection: Connection, space_id: int, server_id: UUID, duration: timedelta) -> Lease | None:
    """Take the learner's lease of a space if it is free or has expired; else return None.

    Raises:
        SpaceRemoved: the space does not exist.
    """
    held = _locked(connection, space_id, skip_locked=True)
    if held is None and connection.scalar(select(leases.c.epoch).where(leases.c.space_id == space_id)) is not None:
        return None  # it is being taken, renewed or published under at this moment
    if held is None:
        if connection.scalar(select(spaces.c.space_id).where(spaces.c.space_id == space_id)) is None:
            raise missing(space_id)
        made = insert_once(leases).values(
            space_id=space_id, role=LEARNER, server_id=server_id, epoch=1, expires_at=now(connection) + duration
        )
        if connection.execute(made.on_conflict_do_nothing().returning(leases.c.epoch)).one_or_none():
            return Lease(space_id, server_id, 1)
        held = _locked(connection, space_id)
        assert held is not None
    epoch, _, expires_at, at = held
    if at < expires_at <= at + 2 * duration:  # a later time: the clock was set back since
        return None
    _update(connection, space_id, server_id=server_id, epoch=epoch + 1, expires_at=at + duration)
    return Lease(space_id, server_id, epoch + 1)


def renew(connection: Connection, lease: Lease, duration: timedelta) -> bool:
    """Renew a lease; return False if another learner has taken it."""
    held = _locked(connection, lease.space_id)
    if held is None or held[:2] != (lease.epoch, lease.server_id):
        return False
    _update(connection, lease.space_id, expires_at=held[3] + duration)
    return True


def is_held(connection: Connection, lease: Lease) -> bool:
    """Whether the lease is still held; it cannot be taken until the transaction ends."""
    held = _locked(connection, lease.space_id)
    return held is not None and held[:2] == (lease.epoch, lease.server_id)


def give_back(connection: Connection, lease: Lease) -> None:
    """Free a lease for the next learner, unless it has been taken already."""
    if is_held(connection, lease):
        _update(connection, lease.space_id, expires_at=FREE)


def now(connection: Connection) -> datetime:
    """Return the time by the database's clock."""
    at = connection.scalar(select(func.clock_timestamp()))
    assert isinstance(at, datetime)
    return at


def missing(space_id: int) -> SpaceRemoved:
    """Return the error of a space whose row is gone."""
    return SpaceRemoved(f"number {space_id}")


def _locked(
    connection: Connection, space_id: int, *, skip_locked: bool = False
) -> tuple[int, UUID, datetime, datetime] | None:
    """Return epoch, holder and expiry, and the time by the same clock; lock the row until the transaction ends.

    None: there is no row, or with ``skip_locked`` another session has locked it.
    """
    row = connection.execute(
        select(leases.c.epoch, leases.c.server_id, leases.c.expires_at)
        .where(leases.c.space_id == space_id, leases.c.role == LEARNER)
        .with_for_update(skip_locked=skip_locked)
    ).one_or_none()
    return None if row is None else (row.epoch, row.server_id, row.expires_at, now(connection))


def _update(connection: Connection, space_id: int, **values: object) -> None:
    connection.execute(update(leases).where(leases.c.space_id == space_id, leases.c.role == LEARNER).values(**values))
