"""Limits on how long a call may wait for Postgres: libpq waits for ever on a peer that is there and says nothing."""

from __future__ import annotations

import math
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from sqlalchemy import Connection, Engine

from sona_pg.store.connect import driver_connection

LOOK_EVERY = 0.25  # seconds: by so much a limit may be overrun


@dataclass(eq=False, slots=True)
class _Watched:
    engine: Engine
    link: socket.socket  # a descriptor of its own: the connection's number may be given to another file meanwhile
    until: float  # monotonic seconds
    thread: int  # that waits for the answer


class Deadlines:
    """Shuts the sockets of calls that take too long, from one thread that runs while anything is watched."""

    def __init__(self) -> None:
        """Start without a thread."""
        self._lock = threading.Lock()
        self._watched: set[_Watched] = set()
        self._thread: threading.Thread | None = None

    @contextmanager
    def over(self, connection: Connection, seconds: float = math.inf) -> Iterator[None]:
        """Shut the connection's socket if the block takes longer; whoever waits on it then gets an error."""
        link = socket.socket(fileno=os.dup(driver_connection(connection).fileno()))
        watched = _Watched(connection.engine, link, time.monotonic() + seconds, threading.get_ident())
        with self._lock:
            self._watched.add(watched)
            if seconds < math.inf and self._thread is None:
                self._thread = threading.Thread(target=self._run, name="sona-pg deadlines", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                self._watched.discard(watched)
            link.close()

    def cut(self, engine: Engine, thread: int | None = None) -> None:
        """End every call on the connections of ``engine`` now, or those of one thread."""
        with self._lock:
            for watched in self._watched:
                if watched.engine is engine and thread in (None, watched.thread):
                    _shut(watched)

    def _run(self) -> None:
        while True:
            time.sleep(LOOK_EVERY)
            now = time.monotonic()
            with self._lock:
                for watched in self._watched:
                    if now > watched.until:
                        _shut(watched)
                if all(watched.until == math.inf for watched in self._watched):
                    self._thread = None
                    return


def _shut(watched: _Watched) -> None:
    with suppress(OSError):  # the peer may have been faster
        watched.link.shutdown(socket.SHUT_RDWR)
    watched.until = math.inf


deadlines = Deadlines()


def _forget_parent() -> None:
    """Start anew in a forked child: the thread is its parent's, and so is what it watched."""
    deadlines.__init__()  # type: ignore[misc]


os.register_at_fork(after_in_child=_forget_parent)
