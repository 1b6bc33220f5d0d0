"""Snapshot of a version: everything that a server needs to serve it, read in few statements.

Each server of a fleet reads one as soon as a version is published, so their number is what a publication costs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Connection, Row, case, func, select

from sona_pg.config.space_settings import Settings
from sona_pg.domain.catalog import Catalog
from sona_pg.domain.pattern import LearnedPattern
from sona_pg.domain.state import LearnedState
from sona_pg.store import candidates, pattern_rows, settings_log, states
from sona_pg.store.learned import read_version
from sona_pg.store.leases import missing
from sona_pg.store.schema import spaces, state_versions


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """Everything a server needs to serve one version of a space, read in one transaction."""

    version: int
    state: LearnedState | None  # None before anything was learned
    patterns: list[LearnedPattern]
    catalog: Catalog
    age: float = 0.0  # seconds since it was published, by the database's clock; for version 0, since the space was made
    settings: Settings = field(default_factory=dict)  # for learning in the space; none of a file


def read_snapshot(
    connection: Connection, space_id: int, dim: int, known: Catalog | None, wanted: int | None
) -> Snapshot:
    """Return the live version, or ``wanted`` if that is a candidate that some servers serve.

    Call it in a REPEATABLE READ transaction. Candidates in ``known`` are not read again.

    Raises:
        SpaceRemoved: there is no such space.
        UnknownFormat: the version was written by a later release.
        DamagedVersion: one of its arrays cannot be read.
    """
    head = _head(connection, space_id, wanted)
    settings = settings_log.read_settings(head.settings, head.found)
    if head.live_version == 0 and head.version is None:  # the catalog also lists candidates that have a slot already
        nothing = Catalog.of([], np.zeros((0, dim), np.float16))
        return Snapshot(0, None, [], nothing, max(float(head.age), 0.0), settings)
    catalog = candidates.read_catalog(connection, space_id, dim, known, head.at)
    if head.version is not None and head.version != head.live_version:
        held = read_version(connection, space_id, head.version)
        return Snapshot(head.version, held.state, list(held.patterns), catalog, settings=settings)
    return Snapshot(
        head.live_version,
        states.state_of(connection, space_id, head.live_version, head),
        pattern_rows.read_patterns(connection, space_id),
        catalog,
        max(float(head.age), 0.0),
        settings,
    )


def _head(connection: Connection, space_id: int, wanted: int | None) -> Row[Any]:
    """Return the row of the version to serve with that of its space; without a version its columns are None."""
    chosen: ColumnElement[Any] = spaces.c.live_version
    if wanted is not None:
        chosen = case((spaces.c.canary_version == wanted, wanted), else_=chosen)
    of_version = (state_versions.c.space_id == space_id) & (state_versions.c.version == chosen)
    at = func.clock_timestamp()
    made = func.coalesce(state_versions.c.created_at, spaces.c.created_at)
    row = connection.execute(
        select(
            spaces.c.live_version, spaces.c.settings, settings_log.found_in(space_id), at.label("at"),
            func.extract("epoch", at - made).label("age"), *states.HEAD,
        )
        .select_from(spaces.outerjoin(state_versions, of_version))
        .where(spaces.c.space_id == space_id)
    ).one_or_none()  # fmt: skip
    if row is None:
        raise missing(space_id)
    return row
