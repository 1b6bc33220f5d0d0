"""Deadlines of database calls: libpq alone waits for ever on a peer that accepts data and never answers.

One thread watches the calls of the whole process.
"""

from __future__ import annotations

import math
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psycopg
from sqlalchemy import Connection, Engine

from sona_pg.store.connect import driver_connection

LOOK_EVERY = 0.25  # seconds: resolution of the deadlines
CANCEL_WITHIN = 2.0  # seconds that a server may take to cancel statements
LINGER = 5.0  # seconds without a call before the thread ends, so that not every call starts a thread


@dataclass(eq=False, slots=True)
class Watched:
    """A call that is being watched."""

    owner: object  # an engine, or another holder of connections
    link: socket.socket  # a duplicated descriptor: the connection's own number may be reused
    until: float  # monotonic seconds
    thread: int  # id of the waiting thread
    raw: psycopg.Connection[Any]
    overdue: bool = False  # it was ended because it took longer
    cancelled: bool = False  # the server was asked to end its statement


@dataclass(eq=False, slots=True)
class Reminder:
    """An action for a block of code that takes long."""

    action: Callable[[], object]  # brief
    until: float  # monotonic seconds


class Deadlines:
    """Shuts down the sockets of overdue calls, from one thread that runs while calls are watched."""

    def __init__(self) -> None:
        """Watch no calls; the thread starts with the first one."""
        self._lock = threading.Lock()
        self._watched: set[Watched] = set()
        self._reminders: set[Reminder] = set()
        self._thread: threading.Thread | None = None

    @contextmanager
    def over(self, connection: Connection, seconds: float = math.inf) -> Iterator[Watched]:
        """Shut down the connection's socket if the block takes longer; the waiting call then fails."""
        with self.over_driver(driver_connection(connection), connection.engine, seconds) as watched:
            yield watched

    @contextmanager
    def over_driver(self, raw: psycopg.Connection[Any], owner: object, seconds: float) -> Iterator[Watched]:
        """Do the same for a driver's connection that ``owner`` holds; the call can be ended by ``cut_call``."""
        link = socket.socket(fileno=os.dup(raw.fileno()))
        watched = Watched(owner, link, time.monotonic() + seconds, threading.get_ident(), raw)
        with self._lock:
            self._watched.add(watched)
            if seconds < math.inf:
                self._require_thread()
        try:
            yield watched
        finally:
            with self._lock:
                self._watched.discard(watched)
            link.close()

    @contextmanager
    def after(self, seconds: float, action: Callable[[], object]) -> Iterator[None]:
        """Call ``action`` once, on the thread, if the block takes longer than ``seconds``; not after its end."""
        reminder = Reminder(action, time.monotonic() + seconds)
        with self._lock:
            self._reminders.add(reminder)
            self._require_thread()
        try:
            yield
        finally:
            with self._lock:
                self._reminders.discard(reminder)

    def _require_thread(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="sona-pg deadlines", daemon=True)
            self._thread.start()

    def cut(self, engine: Engine, thread: int | None = None) -> None:
        """Abort every call on the connections of ``engine``, or those of one thread."""
        with self._lock:
            for watched in self._watched:
                if watched.owner is engine and thread in (None, watched.thread):
                    _shut(watched)

    def cancel(self, engine: Engine) -> None:
        """Have the server cancel every statement on the connections of ``engine``, then abort the calls.

        A server does not notice a closed socket until it has something to send: without this the statement runs on.
        """
        until = time.monotonic() + CANCEL_WITHIN
        with self._lock:
            running = [watched for watched in self._watched if watched.owner is engine and not watched.cancelled]
        for watched in running:
            watched.cancelled = True
            with suppress(psycopg.Error):  # the server is away, or the connection has been closed
                watched.raw.cancel_safe(timeout=max(0.1, until - time.monotonic()))
        self.cut(engine)

    def cut_call(self, watched: Watched) -> None:
        """Abort one call, if it is still watched."""
        with self._lock:
            if watched in self._watched:
                _shut(watched)

    def _run(self) -> None:
        needed_at = time.monotonic()
        while True:
            time.sleep(LOOK_EVERY)
            now = time.monotonic()
            with self._lock:
                for watched in self._watched:
                    if now > watched.until:
                        watched.overdue = True
                        _shut(watched)
                for reminder in [reminder for reminder in self._reminders if now > reminder.until]:
                    self._reminders.discard(reminder)
                    reminder.action()
                if self._reminders or any(watched.until < math.inf for watched in self._watched):
                    needed_at = now
                elif now > needed_at + LINGER:
                    self._thread = None
                    return


def _shut(watched: Watched) -> None:
    with suppress(OSError):  # the peer may have been faster
        watched.link.shutdown(socket.SHUT_RDWR)
    watched.until = math.inf


deadlines = Deadlines()


def _forget_parent() -> None:
    """Reset in a forked child: thread and watched calls belong to the parent."""
    deadlines.__init__()  # type: ignore[misc]


os.register_at_fork(after_in_child=_forget_parent)
