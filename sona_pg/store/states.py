"""State versions: publish and load them, with their statistics and Fisher information."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, delete, exists, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert_into

from sona_pg.domain.state import FisherSnapshot, LearnedState, RouteStatistics
from sona_pg.domain.version import VersionOrigin, VersionStatus
from sona_pg.errors import UnknownFormat
from sona_pg.store import version_contents
from sona_pg.store.connect import driver_connection
from sona_pg.store.leases import missing
from sona_pg.store.schema import (
    cycles,
    fisher_snapshots,
    route_statistics,
    spaces,
    state_versions,
    version_gates,
)
from sona_pg.store.stored_arrays import write_stored

# All adapters of a version in one statement; the bytes travel in binary (%b). Without RETURNING, Citus would pass the
# rows on by COPY, which row-level security refuses.
INSERT_ADAPTERS = """
INSERT INTO sona.adapters (space_id, version, kind, layer, rank, dim, scale, norm, a, b)
SELECT %(space)s, %(version)s, *
FROM unnest(%(kind)s::text[], %(layer)s::smallint[], %(rank)s::smallint[], %(dim)s::int[], %(scale)s::real[],
    %(norm)s::double precision[], %(a)b::bytea[], %(b)b::bytea[])
RETURNING 1
"""
UPSERT_ROUTE_STATISTICS = """
INSERT INTO sona.route_statistics
    (space_id, route, size, quality, quality_variance, latency_us, updated_version)
SELECT %(space)s, *
FROM unnest(%(route)s::text[], %(size)s::bigint[], %(quality)s::double precision[], %(variance)s::double precision[],
    %(latency)s::double precision[], %(version)s::bigint[])
ON CONFLICT (space_id, route) DO UPDATE SET
    size = excluded.size, quality = excluded.quality, quality_variance = excluded.quality_variance,
    latency_us = excluded.latency_us, updated_version = excluded.updated_version
"""
FORGET_ROUTES = "DELETE FROM sona.route_statistics WHERE space_id = %(space)s AND route = ANY(%(routes)s)"


class Making(NamedTuple):
    """Provenance of a version."""

    at: datetime
    server_id: UUID | None = None
    origin: VersionOrigin = "cycle"
    status: VersionStatus = "live"
    restores: int | None = None


FORMAT = 1  # format of a version's arrays; incremented by a release that changes their meaning
CHANNEL = "sona_versions"  # NOTIFY payload: "<space_id> <version>"
JUDGED = "sona_judged"  # NOTIFY payload: "<space_id> <batch>", of a batch in which something is judged


def lock_space(connection: Connection, space_id: int) -> int:
    """Lock the space's live version until the transaction ends, and return it.

    Other publishers wait here; recorders and readers do not.
    """
    version = connection.scalar(
        select(spaces.c.live_version).where(spaces.c.space_id == space_id).with_for_update(key_share=True)
    )
    if version is None:
        raise missing(space_id)
    return int(version)


def newest(connection: Connection, space_id: int, live_version: int) -> tuple[int, UUID | None]:
    """Return the number for the next version, and the cycle that made the live one; call it under ``lock_space``.

    The number follows the highest ever given, live or not.
    """
    of_space = state_versions.c.space_id == space_id
    cycle = select(state_versions.c.cycle_id).where(of_space, state_versions.c.version == live_version)
    row = connection.execute(
        select(func.max(state_versions.c.version).label("newest"), cycle.scalar_subquery().label("cycle_id")).where(
            of_space
        )
    ).one()
    return int(row.newest or 0) + 1, row.cycle_id


def cycle_of(connection: Connection, space_id: int, version: int) -> UUID | None:
    """Return the cycle that made a version."""
    of_version = (state_versions.c.space_id == space_id) & (state_versions.c.version == version)
    return connection.scalar(select(state_versions.c.cycle_id).where(of_version))


def publish(connection: Connection, space_id: int, state: LearnedState, made: Making) -> None:
    """Store ``state`` as the live version of its space and tell the servers, all when the transaction commits."""
    insert_version(connection, space_id, state, made)
    make_live(connection, space_id, state.version)
    _write_route_statistics(connection, space_id, state)


def make_live(connection: Connection, space_id: int, version: int) -> None:
    """Make a stored version the live one and tell the servers, when the transaction commits."""
    of_space = state_versions.c.space_id == space_id
    connection.execute(
        update(state_versions)
        .where(of_space, state_versions.c.status == "live", state_versions.c.version != version)
        .values(status="retired")
    )
    connection.execute(
        update(state_versions).where(of_space, state_versions.c.version == version).values(status="live")
    )
    connection.execute(update(spaces).where(spaces.c.space_id == space_id).values(live_version=version))
    connection.execute(select(func.pg_notify(CHANNEL, f"{space_id} {version}")))


def require_format(space_id: int, version: int, known: int) -> None:
    """Raise ``UnknownFormat`` if the version was written by a later release."""
    if known > FORMAT:
        raise UnknownFormat(
            f"version {version} of space {space_id} has format {known}, this release knows up to {FORMAT}: "
            "upgrade sona-pg on this server; until then it goes on with the version it has"
        )


def prune(connection: Connection, space_id: int, keep: int) -> int:
    """Delete versions that are neither live nor among the newest ``keep``; return how many.

    Kept are also versions that an open gate compares, and a version loaded from a file while the live one builds on
    it: ``rebuild`` starts from it.
    """
    newest = (
        select(state_versions.c.version)
        .where(state_versions.c.space_id == space_id)
        .order_by(state_versions.c.version.desc())
        .limit(keep)
    )
    gone = connection.execute(
        delete(state_versions)
        .where(
            state_versions.c.space_id == space_id,
            state_versions.c.status != "live",
            state_versions.c.version.not_in(newest),
            ~exists().where(
                cycles.c.space_id == space_id,
                cycles.c.cycle_id == state_versions.c.cycle_id,
                cycles.c.loop == "load",
                in_force(),
            ),
            ~exists().where(
                version_gates.c.space_id == space_id,
                version_gates.c.closed_at.is_(None),
                (version_gates.c.reference == state_versions.c.version)
                | (version_gates.c.version == state_versions.c.version),
            ),
        )
        .returning(state_versions.c.version)
    )
    count = len(gone.all())
    if count:
        version_contents.forget_tasks(connection, space_id)
    return count


def in_force() -> ColumnElement[bool]:
    """Return the condition on ``cycles``: the live version includes the cycle."""
    return cycles.c.in_force.is_(None) | func.upper_inf(cycles.c.in_force)


def forget(connection: Connection, space_id: int) -> None:
    """Delete the live route statistics and Fisher information of a space."""
    connection.execute(delete(route_statistics).where(route_statistics.c.space_id == space_id))
    connection.execute(delete(fisher_snapshots).where(fisher_snapshots.c.space_id == space_id))


def read_route_statistics(connection: Connection, space_id: int) -> dict[str, RouteStatistics]:
    """Return the statistics of each route of a space."""
    rows = connection.execute(select(route_statistics).where(route_statistics.c.space_id == space_id))
    return {
        row.route: RouteStatistics(row.size, row.quality, row.quality_variance, row.latency_us, row.updated_version)
        for row in rows
    }


def write_fisher(connection: Connection, space_id: int, snapshot: FisherSnapshot, version: int, at: datetime) -> None:
    """Store the Fisher information of a task for one layer."""
    connection.execute(
        upsert_into(fisher_snapshots)
        .values(
            space_id=space_id,
            task=snapshot.task,
            layer=snapshot.layer,
            version=version,
            created_at=at,
            kind=snapshot.kind,
            fisher=snapshot.fisher.astype("<f4").tobytes(),
            optimum=snapshot.optimum.astype("<f4").tobytes(),
        )
        .on_conflict_do_nothing()
    )


def delete_fisher(connection: Connection, space_id: int, snapshots: Sequence[FisherSnapshot]) -> None:
    """Delete the Fisher information of some tasks."""
    for snapshot in snapshots:
        connection.execute(
            delete(fisher_snapshots).where(
                fisher_snapshots.c.space_id == space_id,
                fisher_snapshots.c.task == snapshot.task,
                fisher_snapshots.c.layer == snapshot.layer,
            )
        )


def insert_version(connection: Connection, space_id: int, state: LearnedState, made: Making) -> None:
    """Store the adapters and arrays of a version."""
    connection.execute(
        insert(state_versions).values(
            space_id=space_id,
            version=state.version,
            parent=state.parent,
            cycle_id=state.cycle_id,
            status=made.status,
            format=FORMAT,
            created_at=made.at,
            origin=made.origin,
            restores=made.restores,
            server_id=made.server_id,
            metrics={name: value for name, value in state.metrics.items() if math.isfinite(value)},
        )
    )
    layers = [("micro", 0, state.micro), *(("base", index, lora) for index, lora in enumerate(state.base))]
    driver = driver_connection(connection)
    driver.execute(
        INSERT_ADAPTERS,
        {
            "space": space_id,
            "version": state.version,
            "kind": [kind for kind, _, _ in layers],
            "layer": [layer for _, layer, _ in layers],
            "rank": [lora.rank for _, _, lora in layers],
            "dim": [lora.dim for _, _, lora in layers],
            "scale": [float(lora.scale) for _, _, lora in layers],
            "norm": [lora.norm for _, _, lora in layers],
            "a": [lora.a.astype("<f4").tobytes() for _, _, lora in layers],
            "b": [lora.b.astype("<f4").tobytes() for _, _, lora in layers],
        },
    )
    write_stored(connection, space_id, state.version, state.arrays)


def _write_route_statistics(connection: Connection, space_id: int, state: LearnedState) -> None:
    """Write the statistics changed by this version, and delete those it no longer keeps."""
    there = set(connection.scalars(select(route_statistics.c.route).where(route_statistics.c.space_id == space_id)))
    changed = {
        name: route
        for name, route in state.routes.items()
        if route.updated_version == state.version or name not in there
    }
    if gone := there.difference(state.routes):
        driver_connection(connection).execute(FORGET_ROUTES, {"space": space_id, "routes": sorted(gone)})
    if not changed:
        return
    known = list(changed.values())
    driver_connection(connection).execute(
        UPSERT_ROUTE_STATISTICS,
        {
            "space": space_id,
            "route": list(changed),
            "version": [route.updated_version for route in known],
            "size": [route.size for route in known],
            "quality": [min(max(route.quality, 0.0), 1.0) for route in known],
            "variance": [route.quality_variance for route in known],
            "latency": [route.latency_us for route in known],
        },
    )
