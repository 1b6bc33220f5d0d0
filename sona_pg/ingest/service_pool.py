"""Threads that serve the spaces of a process, and their connections."""

from __future__ import annotations

import os
import threading
import time
from collections import deque

from sqlalchemy import Engine

from sona_pg.errors import DatabaseUnavailable
from sona_pg.ingest.attempts import Attempts
from sona_pg.ingest.own_worker import OwnWorkers
from sona_pg.ingest.rotation import Rotation
from sona_pg.ingest.space_writing import Service
from sona_pg.ingest.wakeups import Wake
from sona_pg.recorder import with_records

LONGEST_SLEEP = 10.0  # seconds of a thread that nobody wakes


class ServicePool:
    """Serves any number of spaces with a fixed number of threads, each with one connection while it writes.

    All threads are alike: a free one takes the next turn. Two suffice for one blocked by a lock or a learner not to
    block all spaces. Application threads and signal handlers take no lock here: they put a space in a queue and wake a
    thread.
    """

    def __init__(self, engine: Engine, stall_timeout: float, threads: int, beside: Engine | None = None) -> None:
        """Start ``threads`` threads, and one that ends transactions of more than ``stall_timeout`` seconds."""
        self.attempts = Attempts(engine, stall_timeout, beside)
        self.own_workers = OwnWorkers(engine, stall_timeout)
        self._lock = threading.Lock()  # guards the rotation
        self._rotation = Rotation(with_records)
        self._asked: deque[Service] = deque()
        self._noted: deque[Service] = deque()
        self._wake = Wake()
        self._watched = False  # whether a sleeping thread keeps the time of the rotation; guarded by the lock
        self._closed = False
        self._pid = os.getpid()
        self._threads = [
            threading.Thread(target=self._run, name=f"sona-pg-writer-{number}", daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether there are threads that serve."""
        return os.getpid() == self._pid and any(thread.is_alive() for thread in self._threads)

    def add(self, service: Service) -> None:
        """Serve a space from now on, until its service has ended.

        Raises:
            DatabaseUnavailable: the pool is closed, or another process's.
        """
        if self._closed or os.getpid() != self._pid:
            raise DatabaseUnavailable("the writer's threads have ended: make another pool, in each process its own")
        self.ask(service)

    def ask(self, service: Service) -> None:
        """Queue a space for service now."""
        if not service.in_turn:  # else it is checked when the turn is over
            self._asked.append(service)
            self._wake.set()

    def note(self, service: Service) -> None:
        """Queue a space for the end of its interval; not needed after recording."""
        self._noted.append(service)

    def close(self) -> None:
        """End the threads; services that have not ended are not ended."""
        if os.getpid() != self._pid or self._closed:
            return
        self._closed = True
        self._wake.set()
        for thread in self._threads:
            thread.join()
        self.own_workers.close()
        self.attempts.close()

    def _run(self) -> None:
        served, pause = None, None
        while (service := self._next(served, pause)) is not None:
            served, pause = service, service.turn()

    def _next(self, served: Service | None, pause: float | None) -> Service | None:
        """Return the served space to the rotation and wait for the next one; None: the pool is closed."""
        watching = False
        with self._lock:
            if served is not None:
                self._rotation.served(served, pause, time.monotonic())
        while True:
            with self._lock:
                if watching:
                    watching = self._watched = False
                now = time.monotonic()
                while self._asked:
                    self._rotation.ask(self._asked.popleft(), now)
                while self._noted:
                    self._rotation.note(self._noted.popleft())
                self._rotation.look(now)
                service = self._rotation.next()
                if self._closed or self._rotation.has_next or (service is not None and not self._watched):
                    self._wake.set()  # another thread
                if self._closed:
                    return None
                if service is not None:
                    assert isinstance(service, Service)
                    return service
                sleep = LONGEST_SLEEP
                if not self._watched:  # one thread suffices to notice the end of a pause
                    watching = self._watched = True
                    sleep = self._rotation.until(now)
            self._wake.wait(sleep)
