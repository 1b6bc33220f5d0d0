"""Probes of embedders: the vector that a space's embedder gives a fixed text, kept by the first engine with one."""

from __future__ import annotations

from sqlalchemy import Connection

from sona_pg.domain.space import Space
from sona_pg.errors import SpaceRemoved
from sona_pg.store.connect import driver_connection

KEEP = """
UPDATE sona.spaces SET embedder_probe = %(probe)s WHERE space_id = %(space)s AND embedder_probe IS NULL
"""
KEPT = "SELECT embedder_probe FROM sona.spaces WHERE space_id = %(space)s"


def keep(connection: Connection, space: Space, probe: bytes) -> bytes:
    """Keep a probe unless the space has one; return the one that it has now. ``SpaceRemoved`` if it is gone."""
    raw = driver_connection(connection)
    told = {"space": space.space_id, "probe": probe}
    raw.execute(KEEP, told)
    found = raw.execute(KEPT, told).fetchone()
    if found is None:
        raise SpaceRemoved(space.name)
    kept: bytes = found[0]
    return kept
