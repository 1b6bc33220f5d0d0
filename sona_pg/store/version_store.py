"""Interface to the versions of a database's spaces."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Engine

from sona_pg.domain.catalog import Catalog
from sona_pg.domain.pattern import LearnedPattern
from sona_pg.domain.space import Space
from sona_pg.domain.state import LearnedState
from sona_pg.domain.version import Difference, RollbackResult, StoredVersion
from sona_pg.store import acts, candidates, fleet, leases, versions
from sona_pg.store.connect import driver_connection
from sona_pg.store.learned import StoredKnowledge, read_learned
from sona_pg.store.transactions import BRIEF, reading, snapshot, transaction

Relocate = Callable[[LearnedState, NDArray[np.int32]], LearnedState]  # candidate i of a file has slot places[i] here


class VersionStore:
    """Lists, compares, exports and changes the versions of spaces; see ``versions`` for each change."""

    def __init__(self, engine: Engine) -> None:
        """Use the database of ``engine``."""
        self._engine = engine

    def listing(self, space: Space, limit: int) -> list[StoredVersion]:
        """Return the newest versions of a space, newest first."""
        with reading(self._engine, "listing the versions", BRIEF) as connection:
            return versions.listing(connection, space, limit)

    def diff(self, space: Space, a: int, b: int) -> list[Difference]:
        """Return the differences of two versions of a space; ``UnknownVersion`` if one is missing."""
        with snapshot(self._engine, f"comparing versions {a} and {b}") as connection:
            return versions.diff(connection, space, a, b)

    def patterns_at(self, space: Space, version: int) -> list[LearnedPattern]:
        """Return the patterns of a version of a space; ``UnknownVersion`` if they are missing."""
        with snapshot(self._engine, f"reading version {version}") as connection:
            return versions.patterns_at(connection, space, version)

    def knowledge(self, space: Space, version: int) -> StoredKnowledge:
        """Return the knowledge of a version whose content is kept; ``UnknownVersion`` if it is missing."""
        with snapshot(self._engine, f"reading version {version}") as connection:
            return versions.knowledge(connection, space, version)

    def exported(self, space: Space, version: int | None) -> tuple[int, StoredKnowledge | None, Catalog]:
        """Return a version, its knowledge (None: nothing learned), and the candidates of the space.

        ``version`` None is the live one. ``UnknownVersion`` if it is missing.
        """
        with snapshot(self._engine, "exporting a version") as connection:
            live = fleet.live_version(connection, space.space_id)
            wanted = live if version is None else version
            catalog = candidates.read_catalog(connection, space.space_id, space.dim)
            if wanted == 0:
                return 0, None, catalog
            if wanted == live:
                return wanted, read_learned(connection, space.space_id), catalog
            return wanted, versions.knowledge(connection, space, wanted), catalog

    def promote(self, space: Space, server_id: UUID, version: int) -> None:
        """Make a staged version live; see ``versions.promote``."""
        with transaction(self._engine, f"promoting version {version} of space {space.name!r}") as connection:
            versions.promote(connection, versions.Order(space, server_id, leases.now(connection)), version)
            acts.note(driver_connection(connection), space.space_id, "version promoted", {"version": version})

    def rollback(
        self, space: Space, server_id: UUID, version: int, nothing: LearnedState, *, keep_facts: bool
    ) -> RollbackResult:
        """Make the content of an earlier version live again; see ``versions.rollback``."""
        with transaction(self._engine, f"rolling space {space.name!r} back to version {version}") as connection:
            order = versions.Order(space, server_id, leases.now(connection))
            done = versions.rollback(connection, order, version, nothing, keep_facts=keep_facts)
            told = {"to": version, "version": done.version, "keep_facts": keep_facts}
            acts.note(driver_connection(connection), space.space_id, "version rolled back", told)
            return done

    def put_in(
        self,
        space: Space,
        server_id: UUID,
        loaded: versions.Loaded,
        relocate: Relocate,
        *,
        keep_facts: bool,
    ) -> int:
        """Make a version loaded from a file the live one; return its number; see ``versions.put_in``."""
        with transaction(self._engine, f"publishing {loaded.source} in space {space.name!r}") as connection:
            order = versions.Order(space, server_id, leases.now(connection))
            version = versions.put_in(connection, order, loaded, relocate, keep_facts=keep_facts)
            told = {"version": version, "source": loaded.source}
            acts.note(driver_connection(connection), space.space_id, "version loaded", told)
            return version
