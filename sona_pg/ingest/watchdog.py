"""Ends a database link that has gone deaf: libpq waits for ever on a peer that is there and says nothing."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg


class Watchdog:
    """Shuts the socket of a transaction that takes longer than ``limit`` seconds; the waiting thread gets an error.

    One transaction at a time is watched.
    """

    def __init__(self, limit: float, name: str) -> None:
        self.limit = limit
        self._condition = threading.Condition()
        self._socket: socket.socket | None = None
        self._deadline = 0.0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @contextmanager
    def over(self, raw: psycopg.Connection[Any]) -> Iterator[None]:
        """Watch what is done inside."""
        # A descriptor of its own: the connection's may be closed, and its number given to another file, meanwhile.
        watched = socket.socket(fileno=os.dup(raw.fileno()))
        with self._condition:
            self._socket, self._deadline = watched, time.monotonic() + self.limit
        try:
            yield
        finally:
            with self._condition:
                self._socket = None
            watched.close()

    def cut(self) -> None:
        """End the link now, if there is one."""
        with self._condition:
            self._shut()

    def close(self) -> None:
        """Stop watching."""
        with self._condition:
            self._closed = True
            self._condition.notify()
        self._thread.join()

    def _run(self) -> None:
        with self._condition:
            while not self._closed:
                self._condition.wait(self.limit / 4)
                if self._socket is not None and time.monotonic() > self._deadline:
                    self._shut()

    def _shut(self) -> None:
        if self._socket is not None:
            with suppress(OSError):  # the peer may have been faster
                self._socket.shutdown(socket.SHUT_RDWR)
            self._socket = None
