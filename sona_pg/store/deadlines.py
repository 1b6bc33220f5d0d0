"""Deadlines of database calls: libpq alone waits for ever on a peer that accepts data and never answers."""

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

LOOK_EVERY = 0.25  # seconds: resolution of the deadlines


@dataclass(eq=False, slots=True)
class _Watched:
    engine: Engine
    link: socket.socket  # a duplicated descriptor: the connection's own number may be reused
    until: float  # monotonic seconds
    thread: int  # id of the waiting thread


class Deadlines:
    """Shuts down the sockets of overdue calls, from one thread that runs while calls are watched."""

    def __init__(self) -> None:
        """Watch no calls; the thread starts with the first one."""
        self._lock = threading.Lock()
        self._watched: set[_Watched] = set()
        self._thread: threading.Thread | None = None

    @contextmanager
    def over(self, connection: Connection, seconds: float = math.inf) -> Iterator[None]:
        """Shut down the connection's socket if the block takes longer; the waiting call then fails."""
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
        """Abort every call on the connections of ``engine``, or those of one thread."""
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
    """Reset in a forked child: thread and watched calls belong to the parent."""
    deadlines.__init__()  # type: ignore[misc]


os.register_at_fork(after_in_child=_forget_parent)
