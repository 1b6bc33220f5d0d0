"""Snapshot of a version: everything that a server needs to serve it, read in few statements.

Each server of a fleet reads one as soon as a version is published, so these are what a publication costs.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from sqlalchemy import Connection

from sona_pg.config.space_settings import Settings
from sona_pg.domain.catalog import Catalog
from sona_pg.domain.pattern import LearnedPattern
from sona_pg.domain.state import LearnedState
from sona_pg.store import candidates, settings_log
from sona_pg.store.learned import CHOSEN, KEPT_PATTERNS, STATE, patterns_of, read_live_patterns, state_of
from sona_pg.store.leases import missing
from sona_pg.store.record_copy import RecordCopy, RecordQuery

# Whether there is anything to read of the candidates: mostly there is nothing.
NEWS = (
    RecordQuery("new candidate", ("slot",), "FROM sona.candidates WHERE space_id = {space} AND slot >= {slot} LIMIT 1"),
    RecordQuery(
        "changed candidate",
        ("slot",),
        "FROM sona.candidates WHERE space_id = {space} AND slot < {slot} AND changed_at >= {since} LIMIT 1",
    ),
)
READ = RecordCopy((*STATE, KEPT_PATTERNS, *NEWS), CHOSEN)


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """Everything a server needs to serve one version of a space, read in one transaction."""

    version: int
    state: LearnedState | None  # None before anything was learned
    patterns: list[LearnedPattern]
    catalog: Catalog
    age: float = 0.0  # seconds since it was published, by the database's clock; for version 0, since the space was made
    settings: Settings = field(default_factory=dict)  # for learning in the space; none of a file
    retired: frozenset[str] = frozenset()  # candidates, in a file; otherwise the feed of candidates has them


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
    known = candidates.usable(known, dim)
    asked = {"slot": len(known), "since": candidates.since(known)}
    rows = READ.read(connection, {"space": space_id, "version": wanted, "is_named": False, **asked})
    if not rows["head"]:
        raise missing(space_id)
    head = rows["head"][0]
    settings = settings_log.read_settings(head.settings, head.found)
    age = max(head.age, 0.0)
    if head.live_version == 0 and head.version is None:  # the catalog also lists candidates that have a slot already
        return Snapshot(0, None, [], Catalog.of([], np.zeros((0, dim), np.float16)), age, settings)
    if rows["new candidate"] or rows["changed candidate"]:
        catalog = candidates.read_catalog(connection, space_id, dim, known, head.at)
    else:
        catalog = known.as_of(head.at)
    version = head.live_version if head.version is None else head.version
    state = state_of(connection, space_id, version, rows)
    # An earlier release has kept no contents of versions, but patterns in the live tables.
    patterns = patterns_of(rows) if rows["routes"] else read_live_patterns(connection, space_id)
    return Snapshot(version, state, patterns, catalog, age if version == head.live_version else 0.0, settings)
