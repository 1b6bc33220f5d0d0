"""Answers that take long are found once for all who ask at the same time, in threads that nothing else needs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Generic, TypeVar

from sona_pg.errors import DatabaseUnavailable

Found = TypeVar("Found")

AT_ONCE = 2  # finds; others queue behind them
PATIENCE = 30.0  # seconds that somebody waits: the find goes on, and whoever asks again waits for it or has its answer
CUT_EVERY = 0.25  # seconds, at the end
NOT_YET = "finding this takes longer than {:g} s and goes on: ask again in a minute"


class BeingFound(Exception):
    """Raised instead of waiting in a thread, for whoever awaits ``future`` and then asks again."""

    def __init__(self, future: Future[Any]) -> None:
        super().__init__("it is being found")
        self.future = future


_awaited: ContextVar[dict[Hashable, Future[Any]] | None] = ContextVar("finds awaited", default=None)


@contextmanager
def awaiting_finds() -> Iterator[None]:
    """Raise ``BeingFound`` in this context instead of waiting; asked again, a find that was awaited counts as new."""
    token = _awaited.set({})
    try:
        yield
    finally:
        _awaited.reset(token)


class FindThreads:
    """Threads of one process and database in which answers are found."""

    def __init__(self) -> None:
        """Prepare; a thread starts with the first find."""
        self._threads = ThreadPoolExecutor(AT_ONCE, "sona-pg finds")
        self._lock = threading.Lock()
        self._running: set[Future[Any]] = set()

    def start(self, work: Callable[[], Found]) -> Future[Found]:
        """Begin to find something."""
        future = self._threads.submit(work)
        with self._lock:
            self._running.add(future)
        future.add_done_callback(self._forget)
        return future

    def _forget(self, future: Future[Any]) -> None:
        with self._lock:
            self._running.discard(future)

    def stop(self, cut: Callable[[], object]) -> None:
        """End the threads; ``cut`` ends the calls of the database that they wait for."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            running = set(self._running)
        while running:
            cut()
            running = wait(running, CUT_EVERY).not_done
        self._threads.shutdown()


class SharedFinds(Generic[Found]):
    """Whoever asks for what is being found waits for it, and gets its answer or its error."""

    def __init__(self) -> None:
        """Start with nothing under way."""
        self._lock = threading.Lock()
        self._under_way: dict[Hashable, Future[Found]] = {}

    def find(self, key: Hashable, work: Callable[[], Found], threads: FindThreads) -> Found:
        """Return what ``work`` finds in ``threads``, or what is being found under the same ``key``.

        Raises:
            BeingFound: within ``awaiting_finds``, unless it has been awaited.
            DatabaseUnavailable: it takes longer than ``PATIENCE``, and goes on.
        """
        awaited = _awaited.get()
        known: Future[Found] | None = None if awaited is None else awaited.get((id(self), key))
        if known is not None:
            return known.result()
        future = self._start(key, work, threads)
        if awaited is not None:
            awaited[id(self), key] = future
            raise BeingFound(future)
        try:
            return future.result(PATIENCE)
        except TimeoutError:
            if future.done():  # the find itself has failed so
                raise
            raise DatabaseUnavailable(NOT_YET.format(PATIENCE)) from None

    def _start(self, key: Hashable, work: Callable[[], Found], threads: FindThreads) -> Future[Found]:
        with self._lock:
            known = self._under_way.get(key)
            if known is not None and not known.done():
                return known
            started = self._under_way[key] = threads.start(work)
        started.add_done_callback(lambda ended: self._end(key, ended))  # called at once where it has ended
        return started

    def _end(self, key: Hashable, ended: Future[Found]) -> None:
        with self._lock:
            if self._under_way.get(key) is ended:
                del self._under_way[key]
