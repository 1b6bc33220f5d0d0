"""Notices: LISTEN on a dedicated connection. Polling makes up for every lost notice.

Behind a transaction pooler no notice arrives, and LISTEN is not sent: it would stay on a session of other clients.
"""

from __future__ import annotations

import select
import socket
from contextlib import suppress
from typing import Any, NamedTuple

import psycopg

from sona_pg.errors import DatabaseUnavailable
from sona_pg.store.connect import driver_arguments
from sona_pg.store.sessions import open_session
from sona_pg.store.states import CHANNEL, JUDGED


class Notice(NamedTuple):
    """Announcement of a change in a space."""

    space_id: int
    of_candidates: bool  # else a new version, or a batch
    batch: int | None = None  # in which something is judged


class NoticeListener:
    """Receives the notices of all spaces of a database over one connection."""

    def __init__(self, url: str) -> None:
        """Connect when first waited on; a lost connection is opened again by the next wait."""
        self._arguments = driver_arguments(url)
        self._connection: psycopg.Connection[Any] | None = None
        self.connections = 0  # connections made so far: notices may be lost before each new one
        self._woken, self._waking = socket.socketpair()
        for end in (self._woken, self._waking):
            end.setblocking(False)
        self.hears = False  # whether the connection has a session of its own, on which LISTEN was sent

    def wait(self, seconds: float) -> list[Notice]:
        """Wait at most ``seconds`` for notices, and return those that arrived together.

        Raises:
            DatabaseUnavailable: the connection was lost or could not be made; wait before the next call.
        """
        try:
            connection = self._connected()
            if not self._is_readable(connection.fileno(), seconds):
                return []
            heard = [(notice.channel, notice.payload) for notice in connection.notifies(timeout=0.0, stop_after=1)]
        except psycopg.Error as exc:
            self._disconnect()
            raise DatabaseUnavailable(f"listening for versions: {exc}") from exc
        return [notice for told in heard if (notice := _read(*told)) is not None]

    def wake(self) -> None:
        """End the wait that runs, or the next one; any thread and any signal handler may call it."""
        with suppress(OSError):  # woken often enough, or closed
            self._waking.send(b"\0")

    def close(self) -> None:
        """Close the connection; there is no wait afterwards."""
        self._disconnect()
        for end in (self._woken, self._waking):
            end.close()

    def _is_readable(self, connection: int, seconds: float) -> bool:
        """Wait until the connection has something to read, ``wake`` was called, or ``seconds`` are over."""
        waiting = select.poll()
        waiting.register(connection, select.POLLIN)
        waiting.register(self._woken.fileno(), select.POLLIN)
        ready = {descriptor for descriptor, _ in waiting.poll(1000 * seconds)}
        if self._woken.fileno() in ready:
            self._woken.recv(4096)
        return connection in ready

    def _disconnect(self) -> None:
        self.hears = False
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self) -> psycopg.Connection[Any]:
        if self._connection is None:
            self._connection, own = open_session(self._arguments, "sona-pg listener")
            if own:
                self._connection.execute(f"LISTEN {CHANNEL}")
                self._connection.execute(f"LISTEN {JUDGED}")
            self.hears = own
            self.connections += 1
        return self._connection


def _read(channel: str, payload: str) -> Notice | None:
    """Parse a payload; None if it has another format."""
    space, _, what = payload.partition(" ")
    if not space.isdecimal() or (channel == JUDGED and not what.isdecimal()):
        return None
    return Notice(int(space), what == "candidates", int(what) if channel == JUDGED else None)
