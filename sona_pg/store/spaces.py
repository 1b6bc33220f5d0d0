"""Spaces: opening one by name, making it on first use."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta
from typing import Any

from psycopg.errors import DeadlockDetected, LockNotAvailable
from sqlalchemy import Connection, Engine, delete, func, insert, or_, select, text, update
from sqlalchemy.exc import OperationalError

from sona_pg.config import SonaConfig
from sona_pg.config.space_settings import GROWING, require_agreement, settings_of, wishes_of
from sona_pg.domain.space import Space
from sona_pg.errors import InvalidValue, SettingsConflict, SpaceExists, UnknownSpace
from sona_pg.limits import LONGEST_SPACE_NAME
from sona_pg.store.schema import metadata, space_names, spaces
from sona_pg.store.settings_log import FOUND, read_settings

COLUMNS = (spaces.c.space_id, spaces.c.name, spaces.c.dim, spaces.c.settings, FOUND)  # of a Space
WEEKS_AHEAD = 4
LOCK = 0x736F6E62  # the advisory lock under which spaces and partitions are made


def open_space(
    connection: Connection, name: str, dim: int, at: datetime, *, create: bool = True, config: SonaConfig | None = None
) -> Space:
    """Return the space called ``name``, made with ``dim`` dimensions if there is none and ``create`` allows it.

    A space that is made learns with the settings of ``config`` from then on; one that is there must learn with those
    that ``config`` names. A space of an earlier release has none of its own: it has those named until a learner stores
    them.

    Raises:
        InvalidValue: the name cannot be used.
        SettingsConflict: the space has another dimension, or learns with other settings than those named.
        UnknownSpace: there is none, and none is to be made.
    """
    require_name(name)
    wished = wishes_of(config) if config is not None else {}
    space = find_space(connection, name)
    if space is None and not create:
        raise unknown(connection, name)
    if space is None:
        connection.execute(select(func.pg_advisory_xact_lock(LOCK)))
        space = find_space(connection, name) or _make_space(connection, name, dim, at, config or SonaConfig())
    if space.dim != dim:
        raise SettingsConflict(
            f"space {name!r} has {space.dim} dimensions, not {dim}: open it with hidden_dim={space.dim}, "
            "or choose another space name"
        )
    if space.has_own_settings:
        require_agreement(name, space.settings, wished)
        return space
    require_agreement(name, space.settings, {known: wished[known] for known in GROWING if known in wished})
    return dataclasses.replace(space, settings={**space.settings, **wished})


def require_name(name: object) -> None:
    """Raise ``InvalidValue`` for an invalid name of a space."""
    if not isinstance(name, str) or not name or len(name) > LONGEST_SPACE_NAME or "\0" in name:
        raise InvalidValue(
            f"space name {name!r} cannot be used: expected 1 to {LONGEST_SPACE_NAME} characters without NUL"
        )


def find_space(connection: Connection, name: str) -> Space | None:
    """Return the space called ``name``, or None."""
    row = connection.execute(
        select(*COLUMNS)
        .join(space_names, space_names.c.space_id == spaces.c.space_id)
        .where(space_names.c.name == name)
    ).one_or_none()
    return None if row is None else _space(row)


def names_of(connection: Connection, name: str, space_id: int | None) -> dict[int, str]:
    """Return the names, by number, of the space called ``name`` and of the one of number ``space_id``, if there are."""
    asked = or_(space_names.c.name == name, space_names.c.space_id == space_id)
    rows = connection.execute(select(space_names.c.space_id, space_names.c.name).where(asked))
    return {row.space_id: row.name for row in rows}


def unknown(connection: Connection, name: str) -> UnknownSpace:
    """Return the error for a space that is not there; it names those that are."""
    known = ", ".join(repr(other.name) for other in list_spaces(connection)) or "none yet"
    return UnknownSpace(f"there is no space {name!r}; there are: {known}")


def remove_space(connection: Connection, space_id: int) -> dict[str, int]:
    """Delete a space with everything that was recorded and learned in it; return how many rows of each table.

    Writers and learners that are in a transaction are waited for, and find it gone in the next.
    """
    connection.execute(select(spaces.c.space_id).where(spaces.c.space_id == space_id).with_for_update())
    removed = {}
    for table in reversed(metadata.sorted_tables):  # referencing tables first
        if table not in (spaces, space_names):
            removed[table.name] = connection.execute(delete(table).where(table.c.space_id == space_id)).rowcount
    connection.execute(delete(spaces).where(spaces.c.space_id == space_id))
    connection.execute(delete(space_names).where(space_names.c.space_id == space_id))
    return removed


def list_spaces(connection: Connection) -> list[Space]:
    """Return all spaces by name."""
    return [_space(row) for row in connection.execute(select(*COLUMNS).order_by(spaces.c.name))]


def rename_space(connection: Connection, name: str, new_name: str) -> Space:
    """Give a space another name; whoever has it open goes on, for an engine holds its number.

    Raises:
        InvalidValue: the new name cannot be used.
        UnknownSpace: there is no space of the old name.
        SpaceExists: there is one of the new name.
    """
    require_name(new_name)
    connection.execute(select(func.pg_advisory_xact_lock(LOCK)))
    space = find_space(connection, name)
    if space is None:
        raise unknown(connection, name)
    if new_name == name:
        return space
    if find_space(connection, new_name) is not None:
        raise SpaceExists(f"space {name!r} cannot be renamed: there is a space {new_name!r} already; remove it first")
    of_space = space_names.c.space_id == space.space_id
    connection.execute(update(space_names).where(of_space).values(name=new_name))
    connection.execute(update(spaces).where(spaces.c.space_id == space.space_id).values(name=new_name))
    return dataclasses.replace(space, name=new_name)


def ensure_partitions(engine: Engine, at: datetime, weeks: int = WEEKS_AHEAD) -> list[str]:
    """Make the ledger's weekly partitions from last week on, as far as they are missing; return their names.

    Where a long reader keeps it from its locks, nothing is made: the default partitions take the rows meanwhile, and
    maintenance moves them. A transaction for each table, so that it waits for no reader of two in a circle.
    """
    wanted = text("SELECT sona.ensure_partitions(:first, :weeks, ARRAY[:parent])")
    made: list[str] = []
    for parent in ("trajectories", "steps", "feedback"):
        try:
            with engine.begin() as connection:
                connection.execute(text("SET LOCAL lock_timeout = '900ms'"))  # gives up before a deadlock is looked for
                connection.execute(select(func.pg_advisory_xact_lock(LOCK)))
                made += connection.scalars(
                    wanted, {"first": at - timedelta(days=7), "weeks": weeks + 1, "parent": parent}
                )
        except OperationalError as exc:
            if not isinstance(exc.orig, LockNotAvailable | DeadlockDetected):
                raise
    return made


def has_partition(connection: Connection, at: datetime) -> bool:
    """Whether the week of ``at`` has a partition of its own, so that nobody needs the lock to make one."""
    wanted = text(
        "SELECT to_regclass('sona.trajectories_w' ||"
        " to_char(date_trunc('week', CAST(:at AS timestamptz) AT TIME ZONE 'UTC'), 'YYYYMMDD')) IS NOT NULL"
    )
    return bool(connection.scalar(wanted, {"at": at}))


def _space(row: Any) -> Space:
    return Space(row.space_id, row.name, row.dim, read_settings(row.settings, row.found), bool(row.settings))


def _make_space(connection: Connection, name: str, dim: int, at: datetime, config: SonaConfig) -> Space:
    settings = settings_of(config)
    space_id = connection.scalar(insert(space_names).values(name=name).returning(space_names.c.space_id))
    assert space_id is not None
    connection.execute(insert(spaces).values(space_id=space_id, name=name, dim=dim, created_at=at, settings=settings))
    connection.execute(text("SELECT sona.ensure_dimension(:dim)"), {"dim": dim})
    return Space(space_id, name, dim, settings)
