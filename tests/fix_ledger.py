"""A ledger filled by hand: spaces, and trajectories of a chosen time, by COPY."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import numpy as np
import psycopg
import pytest
from numpy.typing import NDArray

from sona_pg.config import MaintenanceConfig
from sona_pg.domain.ids import uuid7
from sona_pg.domain.space import Space
from sona_pg.domain.upkeep import MaintenanceAction
from sona_pg.store.admin.maintenance import Maintenance
from sona_pg.store.database import Database

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)  # a Friday
MONDAY = datetime(2026, 11, 16, tzinfo=UTC)
POLICY = MaintenanceConfig(memory_mb=64)
COPY_IN = "COPY sona.trajectories (space_id, id, batch, step_count, quality, route, query, embedding) FROM STDIN"


def weeks_ago(n: int) -> datetime:
    """The middle of a week before this one."""
    return MONDAY - timedelta(days=7 * n) + timedelta(days=3)


class Ledger:
    """Direct access of a test to the ledger's tables."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.database = Database.open(url)

    def space(self, name: str, dim: int, at: datetime = NOW) -> Space:
        return self.database.open_space(name, dim, at)

    def ensure(self, at: datetime) -> None:
        """Make the partitions of one week."""
        for parent in ("trajectories", "steps", "feedback"):
            self.execute("SELECT sona.ensure_partitions(%s, 1, ARRAY[%s])", at, parent)

    def fill(
        self,
        space: Space,
        vectors: NDArray[np.float32],
        at: datetime,
        *,
        route: str | None = None,
        batch: int = 1,
        qualities: Sequence[float] | None = None,
    ) -> list[UUID]:
        """Store one trajectory a vector, a second apart."""
        start = int(at.timestamp() * 1000)
        ids = [uuid7(start + 1000 * row) for row in range(len(vectors))]
        with psycopg.connect(self.url) as connection, connection.cursor().copy(COPY_IN) as copy:
            for row, (id_, vector) in enumerate(zip(ids, vectors, strict=True)):
                quality = None if qualities is None else qualities[row]
                copy.write_row(
                    (space.space_id, id_, batch, 0, quality, route, f"query {row}", str(vector.astype(float).tolist()))
                )
        return ids

    def rows(self, query: str, *values: object) -> list[tuple]:
        with psycopg.connect(self.url) as connection:
            return connection.execute(query, values).fetchall()  # type: ignore[call-overload]

    def execute(self, query: str, *values: object) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(query, values)  # type: ignore[call-overload]

    def partitions(self, parent: str = "trajectories") -> list[str]:
        found = self.rows(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = %s::regclass ORDER BY 1",
            f"sona.{parent}",
        )
        return [name.removeprefix("sona.") for (name,) in found]

    def indexes(self) -> dict[str, bool]:
        """HNSW indexes of the ledger, and whether each is valid."""
        return dict(
            self.rows(
                """
                SELECT c.relname, i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
                JOIN pg_am a ON a.oid = c.relam AND a.amname = 'hnsw' WHERE c.relname LIKE 'trajectories%%'
                """
            )
        )


@pytest.fixture
def ledger(database_url: str) -> Iterator[Ledger]:
    ledger = Ledger(database_url)
    yield ledger
    ledger.database.close()


def maintain(ledger: Ledger, policy: MaintenanceConfig = POLICY) -> list[MaintenanceAction]:
    return list(Maintenance(ledger.database.engine, policy, lambda: NOW).run())


def of(done: list[MaintenanceAction], action: str) -> list[str]:
    return [thing.subject for thing in done if thing.action == action]
