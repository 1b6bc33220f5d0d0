"""Ends database links that have gone deaf: libpq waits for ever on a peer that is there and says nothing."""

from __future__ import annotations

import math
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psycopg


@dataclass(eq=False, slots=True)
class Watched:
    """The link of a transaction that is being watched."""

    link: socket.socket  # a descriptor of its own: the connection's number may be given to another file meanwhile
    until: float  # monotonic seconds


class Watchdog:
    """Shuts the sockets of transactions that take longer than ``limit`` seconds; the waiting thread gets an error."""

    def __init__(self, limit: float, name: str) -> None:
        self.limit = limit
        self._condition = threading.Condition()
        self._watched: set[Watched] = set()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @contextmanager
    def over(self, raw: psycopg.Connection[Any]) -> Iterator[Watched]:
        """Watch what is done inside."""
        watched = Watched(socket.socket(fileno=os.dup(raw.fileno())), time.monotonic() + self.limit)
        with self._condition:
            self._watched.add(watched)
        try:
            yield watched
        finally:
            with self._condition:
                self._watched.discard(watched)
            watched.link.close()

    def cut(self, watched: Watched) -> None:
        """End a link now, if it is still watched."""
        with self._condition:
            if watched in self._watched:
                _shut(watched)

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
                now = time.monotonic()
                for watched in self._watched:
                    if now > watched.until:
                        _shut(watched)


def _shut(watched: Watched) -> None:
    with suppress(OSError):  # the peer may have been faster
        watched.link.shutdown(socket.SHUT_RDWR)
    watched.until = math.inf
