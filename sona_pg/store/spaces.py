"""Spaces: open one by name, and create it on first use."""

from __future__ import annotations

import dataclasses
import unicodedata
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from psycopg.errors import DeadlockDetected, LockNotAvailable
from sqlalchemy import ColumnElement, Connection, Engine, delete, func, insert, literal_column, select, text, update
from sqlalchemy.exc import OperationalError

from sona_pg.config import SonaConfig
from sona_pg.config.space_settings import GROWING, require_agreement, settings_of, wishes_of
from sona_pg.domain.space import Space
from sona_pg.errors import InvalidValue, SettingsConflict, SpaceExists, SpaceRemoved, UnknownSpace
from sona_pg.limits import LONGEST_SPACE_NAME
from sona_pg.store import acts
from sona_pg.store.connect import driver_connection
from sona_pg.store.schema import metadata, space_names, spaces
from sona_pg.store.settings_log import FOUND, read_settings

COLUMNS = (spaces.c.space_id, spaces.c.name, spaces.c.dim, spaces.c.settings, spaces.c.kinds_from, FOUND)  # of a Space
WEEKS_AHEAD = 4
# By the index spaces_by_name: a role that sees one space may not read sona.space_names.
NAMES = """
SELECT space_id, name, created_at FROM sona.spaces WHERE name || '' = %(name)s
UNION SELECT space_id, name, created_at FROM sona.spaces WHERE space_id = %(space)s
"""
MAY_MAKE = "SELECT has_table_privilege('sona.space_names', 'INSERT')"
LOCK = 0x736F6E62  # the advisory lock under which spaces and partitions are made


class NamedSpace(NamedTuple):
    """Name of a space, and what tells it from another one of its number in another store."""

    name: str
    made_at: datetime


def open_space(
    connection: Connection, name: str, dim: int, at: datetime, *, create: bool = True, config: SonaConfig | None = None
) -> Space:
    """Return the space called ``name``, created with ``dim`` dimensions if it is missing and ``create`` allows it.

    A new space gets the settings of ``config``; those of an existing one must agree with the settings that ``config``
    names. A space of an earlier release has no settings: those named apply until a learner stores them.

    Raises:
        InvalidValue: the name cannot be used.
        SettingsConflict: the space has another dimension, or other settings than those named.
        UnknownSpace: it is missing, and ``create`` forbids creating it.
    """
    require_name(name)
    space = find_space(connection, name)
    if space is None and not create:
        raise unknown(connection, name)
    if space is None:
        if not connection.scalar(text(MAY_MAKE)):
            raise UnknownSpace(
                f"this login sees no space {name!r}, and may not make one: the schema's owner does (sona-pg space "
                "create), and grants a login its space (sona-pg roles grant)"
            )
        require_new_name(name)
        connection.execute(select(func.pg_advisory_xact_lock(LOCK)))
        space = find_space(connection, name) or _make_space(connection, name, dim, at, config or SonaConfig())
    return agreed(space, dim, config)


def agreed(space: Space, dim: int, config: SonaConfig | None) -> Space:
    """Return an existing space with the settings that it is opened with; see ``open_space`` for the rules.

    Raises:
        SettingsConflict: the space has another dimension, or learns with other settings than those of ``config``.
    """
    wished = wishes_of(config) if config is not None else {}
    if space.dim != dim:
        raise SettingsConflict(
            f"space {space.name!r} has {space.dim} dimensions, not {dim}: open it with {space.dim} dimensions, "
            "or choose another space name"
        )
    if space.has_own_settings:
        require_agreement(space.name, space.settings, wished)
        return space
    require_agreement(space.name, space.settings, {known: wished[known] for known in GROWING if known in wished})
    return dataclasses.replace(space, settings={**space.settings, **wished})


def require_name(name: object) -> None:
    """Raise ``InvalidValue`` for an invalid name of a space."""
    if not isinstance(name, str) or not name or len(name) > LONGEST_SPACE_NAME or "\0" in name:
        raise InvalidValue(
            f"space name {name!r} cannot be used: expected 1 to {LONGEST_SPACE_NAME} characters without NUL"
        )


def require_new_name(name: str) -> None:
    """Raise ``InvalidValue`` for a name that no new space may have: it would garble terminals, logs and addresses."""
    require_name(name)
    if any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in name):
        raise InvalidValue(
            f"space name {name!r} cannot be used: it has a control character or a line break, expected printable text"
        )


def find_space(connection: Connection, name: str) -> Space | None:
    """Return the space called ``name``, or None."""
    row = connection.execute(select(*COLUMNS).where(_is_named(name))).one_or_none()
    return None if row is None else _space(row)


def made_at(connection: Connection, space: Space) -> datetime:
    """Return when a space was made; SpaceRemoved if it is gone."""
    at: datetime | None = connection.scalar(select(spaces.c.created_at).where(spaces.c.space_id == space.space_id))
    if at is None:
        raise SpaceRemoved(space.name)
    return at


def names_of(connection: Connection, name: str, space_id: int | None) -> dict[int, NamedSpace]:
    """Return the names and ages, by number, of the spaces with this ``name`` or this ``space_id``."""
    found = driver_connection(connection).execute(NAMES, {"name": name, "space": space_id})
    return {number: NamedSpace(called, at) for number, called, at in found}


def all_named(connection: Connection) -> dict[int, NamedSpace]:
    """Return the names and ages of all spaces by number."""
    found = connection.execute(select(spaces.c.space_id, spaces.c.name, spaces.c.created_at))
    return {row.space_id: NamedSpace(row.name, row.created_at) for row in found}


def unknown(connection: Connection, name: str) -> UnknownSpace:
    """Return the error for a missing space; it lists the existing ones."""
    known = ", ".join(repr(other.name) for other in list_spaces(connection))
    told = known or "none yet (sona-pg space create NAME makes one)"
    return UnknownSpace(f"there is no space {name!r}; there are: {told}")


def remove_space(connection: Connection, space_id: int) -> dict[str, int]:
    """Delete a space with all its rows; return their number by table.

    Waits for open transactions of writers and learners; their next ones find the space gone.
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
    """Rename a space; engines that have it open continue, because they hold its number.

    Raises:
        InvalidValue: the new name cannot be used.
        UnknownSpace: there is no space of the old name.
        SpaceExists: the new name is taken.
    """
    require_new_name(new_name)
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
    acts.note(driver_connection(connection), space.space_id, "space renamed", {"from": name, "to": new_name})
    return dataclasses.replace(space, name=new_name)


def retention(connection: Connection, space_id: int) -> int | None:
    """Return the weeks for which learned facts of a space are kept; None: as long as the store keeps them."""
    weeks: int | None = connection.scalar(select(spaces.c.keep_weeks).where(spaces.c.space_id == space_id))
    return weeks


def set_retention(connection: Connection, space_id: int, weeks: int | None) -> None:
    """Set the weeks for which learned facts of a space are kept."""
    connection.execute(update(spaces).where(spaces.c.space_id == space_id).values(keep_weeks=weeks))


def ensure_partitions(engine: Engine, at: datetime, weeks: int = WEEKS_AHEAD) -> list[str]:
    """Create missing weekly partitions of the ledger from last week on; return their names.

    If a long reader blocks the locks, none are created: the default partitions take the rows until maintenance moves
    them. One transaction for each table, to avoid deadlocks with readers of two tables.
    """
    wanted = text("SELECT sona.ensure_partitions(:first, :weeks, ARRAY[:parent])")
    made: list[str] = []
    for parent in ("trajectories", "steps", "feedback"):
        try:
            with engine.begin() as connection:
                connection.execute(text("SET LOCAL lock_timeout = '900ms'"))  # gives up before the deadlock check
                connection.execute(select(func.pg_advisory_xact_lock(LOCK)))
                made += connection.scalars(
                    wanted, {"first": at - timedelta(days=7), "weeks": weeks + 1, "parent": parent}
                )
        except OperationalError as exc:
            if not isinstance(exc.orig, LockNotAvailable | DeadlockDetected):
                raise
    return made


def has_partition(connection: Connection, at: datetime) -> bool:
    """Whether the week of ``at`` has a partition of its own, so that no lock is needed to create one."""
    wanted = text(
        "SELECT to_regclass('sona.trajectories_w' ||"
        " to_char(date_trunc('week', CAST(:at AS timestamptz) AT TIME ZONE 'UTC'), 'YYYYMMDD')) IS NOT NULL"
    )
    return bool(connection.scalar(wanted, {"at": at}))


def _is_named(name: str) -> ColumnElement[bool]:
    """Return the condition of the name, by the expression of the index spaces_by_name."""
    return spaces.c.name.concat(literal_column("''")) == name


def _space(row: Any) -> Space:
    settings = read_settings(row.settings, row.found)
    return Space(row.space_id, row.name, row.dim, settings, bool(row.settings), row.kinds_from is not None)


def _make_space(connection: Connection, name: str, dim: int, at: datetime, config: SonaConfig) -> Space:
    settings = settings_of(config)
    space_id = connection.scalar(insert(space_names).values(name=name).returning(space_names.c.space_id))
    assert space_id is not None
    connection.execute(insert(spaces).values(space_id=space_id, name=name, dim=dim, created_at=at, settings=settings))
    connection.execute(text("SELECT sona.ensure_dimension(:dim)"), {"dim": dim})
    acts.note(driver_connection(connection), space_id, "space created", {"name": name, "dim": dim})
    return Space(space_id, name, dim, settings)
