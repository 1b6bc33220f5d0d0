"""Erasures of a database, as the layers above see them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine

from sona_pg._version import __version__
from sona_pg.domain.erasure import Erasure, ErasurePlan, Subject
from sona_pg.domain.ids import uuid7
from sona_pg.domain.space import Space
from sona_pg.store import acts, erasure_rows, leases, topic_names, version_contents
from sona_pg.store.connect import driver_connection
from sona_pg.store.transactions import BRIEF, reading, snapshot, transaction

# Returns the receipts by erasure, given the versions that were dropped and the time.
Receipts = Callable[[Sequence[int], datetime], Mapping[UUID, dict[str, Any]]]


class ErasureStore:
    """Removes the rows of users, and keeps the receipts."""

    def __init__(self, engine: Engine) -> None:
        """Use the database of ``engine``."""
        self._engine = engine

    def plan(self, space: Space, subject: Subject) -> ErasurePlan:
        """Return what an erasure would remove and drop."""
        with snapshot(self._engine, "counting the rows of an erasure") as connection:
            return erasure_rows.plan(connection, space.space_id, subject)

    def remove(self, space: Space, subject: Subject, *, drop_contents: bool = False) -> UUID:
        """Remove all rows of a subject in one transaction; return the erasure's id. See ``erasure_rows.remove``.

        The learned state holds their influence until the erasure is finished; one that was cut short is gone on with.
        """
        with transaction(self._engine, "removing the rows of an erasure") as connection:
            at = leases.now(connection)
            erasure_id = uuid7()
            until = uuid7(int(at.timestamp() * 1000) + 1)  # of this millisecond too
            erasure_rows.remove(connection, space.space_id, subject, erasure_id, until, at, drop_contents=drop_contents)
            told = {"erasure": str(erasure_id), "kind": subject.kind}  # names nobody
            acts.note(driver_connection(connection), space.space_id, "user erased", told)
        return erasure_id

    def any_between(self, space: Space, served: int, version: int) -> bool:
        """Whether an erasure has published ``version`` or one between it and the ``served`` one."""
        with reading(self._engine, "looking for erasures", BRIEF) as connection:
            return erasure_rows.any_between(connection, space.space_id, served, version)

    def has_expired(self, space: Space) -> int:
        """Return the number of learned trajectories that retention has removed from the ledger."""
        with reading(self._engine, "counting expired trajectories") as connection:
            return erasure_rows.expired(connection, space.space_id)

    def unfinished(self, space: Space) -> list[Erasure]:
        """Return the erasures whose influence is not removed yet, oldest first."""
        with reading(self._engine, "looking for unfinished erasures") as connection:
            return erasure_rows.unfinished(connection, space.space_id)

    def clean_versions(self, space: Space, first_version: int) -> list[int]:
        """Return the versions before ``first_version`` from which a rebuild can go on, ascending; 0 is always one."""
        with reading(self._engine, "looking for a version to begin with") as connection:
            return [0, *erasure_rows.clean_versions(connection, space.space_id, first_version, __version__)]

    @staticmethod
    def finishing(
        space: Space, first_version: int, version: int, receipts: Receipts
    ) -> Callable[[Connection, datetime], None]:
        """Return the end of the transaction that publishes ``version``, which is free of all that was removed.

        It drops the other versions from ``first_version`` on, and keeps the receipts.
        """

        def finish(connection: Connection, at: datetime) -> None:
            gone = erasure_rows.drop_versions(connection, space.space_id, first_version, version)
            version_contents.forget_tasks(connection, space.space_id)
            topic_names.follow_erasure(connection, space.space_id)
            for erasure_id, receipt in receipts(gone, at).items():
                erasure_rows.finish(connection, space.space_id, erasure_id, receipt, at)

        return finish

    @staticmethod
    def noting(space: Space, receipts: Receipts) -> Callable[[Connection, datetime], None]:
        """Return the end of erasures that found no row: they keep their receipts, and no version changes."""

        def note(connection: Connection, at: datetime) -> None:
            for erasure_id, receipt in receipts((), at).items():
                erasure_rows.finish(connection, space.space_id, erasure_id, receipt, at)

        return note

    def listing(self, space: Space, limit: int) -> list[Erasure]:
        """Return the latest erasures, newest first."""
        with reading(self._engine, "listing erasures") as connection:
            return erasure_rows.listing(connection, space.space_id, limit)

    def read(self, space: Space, erasure_id: UUID) -> Erasure | None:
        """Return an erasure; None if the space has none of this id."""
        with reading(self._engine, "reading an erasure") as connection:
            return erasure_rows.read(connection, space.space_id, erasure_id)
