"""Hearing of new versions: LISTEN on a connection of its own. Polling makes up for every notice that is lost.

Behind a transaction pooler nothing is heard, and LISTEN is not sent: it would stay on a session that others get.
"""

from __future__ import annotations

import time
from typing import Any

import psycopg

from sona_pg.errors import DatabaseUnavailable
from sona_pg.store.connect import driver_arguments
from sona_pg.store.sessions import open_session
from sona_pg.store.states import CHANNEL

CANDIDATES_EVERY = 1.0  # seconds


class VersionListener:
    """Waits for the announcement of a space's new version."""

    def __init__(self, url: str) -> None:
        """Connect when first waited on; a lost connection is opened again by the next wait."""
        self._arguments = driver_arguments(url)
        self._prefix = "no space "
        self._connection: psycopg.Connection[Any] | None = None
        self._candidates_heard = -CANDIDATES_EVERY  # monotonic seconds

    def follow(self, space_id: int) -> None:
        """Hear of a space from now on."""
        self._prefix = f"{space_id} "

    def wait(self, seconds: float) -> bool:
        """Wait at most ``seconds``; return whether a new version of the space was announced, or new candidates.

        Of announcements of candidates one a second is heard: each server that meets new ones makes them.

        Raises:
            DatabaseUnavailable: the connection was lost or could not be made; wait before the next call.
        """
        try:
            connection = self._connected()
            return any(self._concerns(notice.payload) for notice in connection.notifies(timeout=seconds, stop_after=1))
        except psycopg.Error as exc:
            self.close()
            raise DatabaseUnavailable(f"listening for versions: {exc}") from exc

    def _concerns(self, payload: str) -> bool:
        if payload != f"{self._prefix}candidates":
            return payload.startswith(self._prefix)
        now = time.monotonic()
        if now < self._candidates_heard + CANDIDATES_EVERY:
            return False
        self._candidates_heard = now
        return True

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self) -> psycopg.Connection[Any]:
        if self._connection is None:
            self._connection, own = open_session(self._arguments, "sona-pg listener")
            if own:
                self._connection.execute(f"LISTEN {CHANNEL}")
        return self._connection
