"""Shared trajectories of a database, as the layers above see them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from sqlalchemy import Engine

from sona_pg.domain.space import Space
from sona_pg.errors import DatabaseUnavailable
from sona_pg.store import leases, shared_rows
from sona_pg.store.shared_rows import SharedPart
from sona_pg.store.transactions import BRIEF, transaction

END_LIMIT = 15.0  # seconds, for the end of a trajectory, which waits for the commit of its record


class SharedStore:
    """Keeps trajectories that any process of their space goes on with."""

    def __init__(self, engine: Engine) -> None:
        """Ask the database of ``engine``."""
        self._engine = engine
        self._one_end = threading.Lock()  # an end keeps a connection: all together would leave the writer none

    def begin(self, space: Space, id: UUID, content: dict[str, Any]) -> bool:
        """Store the beginning of a trajectory; return False if another one has its id, which stays."""
        with transaction(self._engine, "sharing a trajectory", BRIEF) as connection:
            return shared_rows.begin(connection, space.space_id, id, content, leases.now(connection))

    def add(self, space: Space, id: UUID, part: SharedPart) -> bool:
        """Store a call about a trajectory; return False if it is not open."""
        with transaction(self._engine, "adding to a shared trajectory", BRIEF) as connection:
            return shared_rows.add(connection, space.space_id, id, part, leases.now(connection))

    @contextmanager
    def taking(self, space: Space, id: UUID) -> Iterator[Sequence[SharedPart]]:
        """Yield the stored calls of a trajectory, none if it is not open; removed unless the block raises.

        The block may wait for the writer, while other calls about the trajectory wait for the block.
        """
        doing = "ending a shared trajectory"
        if not self._one_end.acquire(timeout=BRIEF):
            raise DatabaseUnavailable(f"{doing}: other ends of this process are still waiting for their commits")
        try:
            with transaction(self._engine, doing, END_LIMIT) as connection:
                connection.execute(shared_rows.END_IF_IDLE)
                yield shared_rows.take(connection, space.space_id, id)
        finally:
            self._one_end.release()
