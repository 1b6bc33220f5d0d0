"""Learning settings of a space by their first version: a rebuild uses those of each cycle's time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Label, Select, case, delete, func, literal, select, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import insert as upsert_into

from sona_pg.config.space_settings import Settings, changed, completed
from sona_pg.domain.space import Space
from sona_pg.store.leases import missing
from sona_pg.store.schema import adapters, cycles, space_settings, spaces
from sona_pg.store.states import lock_space, newest


def found_in(space_id: ColumnElement[int] | int) -> Label[Any]:
    """Return the column of the settings of a space without its own, from its live version: rank and number of layers.

    A number rather than a column lets Citus ask the node of the space alone.
    """
    return case(
        (
            spaces.c.settings == literal({}, JSONB),
            select(
                func.jsonb_build_object(
                    "micro.rank", func.max(adapters.c.rank).filter(adapters.c.kind == "micro"),
                    "base.rank", func.max(adapters.c.rank).filter(adapters.c.kind == "base"),
                    "base.layers", func.nullif(func.count().filter(adapters.c.kind == "base"), 0),
                )
            )
            .where(adapters.c.space_id == space_id, adapters.c.version == spaces.c.live_version)
            .scalar_subquery(),
        )
    ).label("found")  # fmt: skip


FOUND = found_in(spaces.c.space_id)


def read_settings(stored: Mapping[str, Any], found: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the settings of a space from the columns ``settings`` and ``FOUND``."""
    return completed(stored, {name: value for name, value in (found or {}).items() if value is not None})


def current(connection: Connection, space_id: int) -> dict[str, Any]:
    """Return the current settings of a space; ``SpaceRemoved`` if it does not exist."""
    row = connection.execute(
        select(spaces.c.settings, found_in(space_id)).where(spaces.c.space_id == space_id)
    ).one_or_none()  # fmt: skip
    if row is None:
        raise missing(space_id)
    return read_settings(row.settings, row.found)


def begin(connection: Connection, space: Space) -> dict[str, Any]:
    """Return the settings for a learner of ``space``, in its first transaction.

    A space of an earlier release has no settings: those that its learner was opened with are stored.
    """
    own = current(connection, space.space_id)
    wished = {name: space.settings.get(name, value) for name, value in own.items()}
    if space.has_own_settings or wished == own:
        return own
    connection.execute(
        update(spaces)
        .where(spaces.c.space_id == space.space_id, spaces.c.settings == literal({}, JSONB))
        .values(settings=wished)
    )
    return current(connection, space.space_id)


def change(connection: Connection, space_id: int, changes: Mapping[str, Any], at: datetime) -> dict[str, Any]:
    """Set some of a space's settings from its next version on; return all of them.

    A running cycle is repeated: it publishes only under the settings with which it began.

    Raises:
        ConfigError: a setting is unknown, has an invalid value, or would cut learned state.
    """
    live = lock_space(connection, space_id)
    before = current(connection, space_id)
    version, _ = newest(connection, space_id, live)
    after = changed(before, changes, learned=version > 1)
    if after == before:
        return after
    known = select(space_settings.c.from_version).where(space_settings.c.space_id == space_id)
    if connection.execute(known.limit(1)).one_or_none() is None:
        _write(connection, space_id, 0, before, at)
    _write(connection, space_id, version, after, at)
    connection.execute(update(spaces).where(spaces.c.space_id == space_id).values(settings=after))
    _forget(connection, space_id)
    return after


def at_version(connection: Connection, space_id: int, version: int) -> dict[str, Any]:
    """Return the settings with which a version was made, or the next one would be."""
    row = connection.execute(
        _history(space_id)
        .where(space_settings.c.from_version <= version)
        .order_by(space_settings.c.from_version.desc())
        .limit(1)
    ).one_or_none()
    return current(connection, space_id) if row is None else completed(row.settings, {})


def history(connection: Connection, space_id: int) -> list[tuple[int, datetime, dict[str, Any]]]:
    """Return the history of a space's settings: first version, time of the change, and all settings."""
    rows = connection.execute(_history(space_id).order_by(space_settings.c.from_version))
    return [(row.from_version, row.recorded_at, completed(row.settings, {})) for row in rows]


def _history(space_id: int) -> Select[Any]:
    return select(space_settings.c.from_version, space_settings.c.recorded_at, space_settings.c.settings).where(
        space_settings.c.space_id == space_id
    )


def _write(connection: Connection, space_id: int, version: int, settings: Settings, at: datetime) -> None:
    """Store settings from ``version`` on; of several changes before the next cycle the last one counts."""
    row = upsert_into(space_settings).values(
        space_id=space_id, from_version=version, settings=dict(settings), recorded_at=at
    )
    connection.execute(
        row.on_conflict_do_update(
            index_elements=["space_id", "from_version"],
            set_={"settings": row.excluded.settings, "recorded_at": row.excluded.recorded_at},
        )
    )


def _forget(connection: Connection, space_id: int) -> None:
    """Delete settings from before the oldest cycle that a rebuild can still run."""
    of_space = space_settings.c.space_id == space_id
    oldest = connection.scalar(
        select(func.min(cycles.c.version)).where(
            cycles.c.space_id == space_id, cycles.c.version > cycles.c.base_version
        )
    )
    if oldest is None:
        return
    holding = select(func.max(space_settings.c.from_version)).where(of_space, space_settings.c.from_version <= oldest)
    connection.execute(
        delete(space_settings).where(of_space, space_settings.c.from_version < holding.scalar_subquery())
    )
