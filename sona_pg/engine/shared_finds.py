"""Answers that take long are found once for all who ask at the same time, in threads that nothing else needs."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Generic, TypeVar

from sona_pg.errors import DatabaseUnavailable

Found = TypeVar("Found")

AT_ONCE = 2  # finds, of different spaces; others queue behind them
PATIENCE = 30.0  # seconds that somebody waits: the find goes on, and whoever asks again waits for it or has its answer
CUT_EVERY = 0.25  # seconds, at the end
NOT_YET = "finding this takes longer than {:g} s and goes on: ask again in a minute"
ENDED = "finding this has ended, as the engine is closed"


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
    """Threads of one process and database in which answers are found, of a space one at a time.

    However much is asked of one space, it occupies one thread. A find must not wait for another of its space.
    """

    def __init__(self) -> None:
        """Prepare; a thread starts with the first find."""
        self._threads = ThreadPoolExecutor(AT_ONCE, "sona-pg finds")
        self._lock = threading.Lock()
        self._queues: dict[Hashable, deque[Callable[[], None]]] = {}  # by space with a find under way: those behind it
        self._unfinished: set[Future[Any]] = set()
        self._is_stopped = False

    def start(self, space: Hashable, work: Callable[[], Found]) -> Future[Found]:
        """Begin to find something of ``space``, or queue behind what is being found of it.

        Raises:
            DatabaseUnavailable: the threads have been stopped.
        """
        future: Future[Found] = Future()

        def find() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(work())
                except BaseException as exc:  # noqa: BLE001 - who waits raises it
                    future.set_exception(exc)
            self._begin_next(space)

        with self._lock:
            if self._is_stopped:
                raise DatabaseUnavailable(ENDED)
            self._unfinished.add(future)
            queue = self._queues.get(space)
            if queue is None:
                self._queues[space] = deque()
                self._threads.submit(find)
            else:
                queue.append(find)
        future.add_done_callback(self._forget)
        return future

    def _begin_next(self, space: Hashable) -> None:
        """Send the next find of a space to the threads, behind those of other spaces."""
        with self._lock:
            queue = self._queues[space]
            if queue and not self._is_stopped:
                self._threads.submit(queue.popleft())
            else:
                del self._queues[space]

    def _forget(self, future: Future[Any]) -> None:
        with self._lock:
            self._unfinished.discard(future)

    def stop(self, cut: Callable[[], object]) -> None:
        """End the threads; ``cut`` ends the calls of the database that they wait for."""
        with self._lock:
            self._is_stopped = True
            unfinished = set(self._unfinished)
        running = {future for future in unfinished if not future.cancel()}
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

    def find(self, space: Hashable, key: Hashable, work: Callable[[], Found], threads: FindThreads) -> Found:
        """Return what ``work`` finds of ``space`` in ``threads``, or what is being found under the same ``key``.

        Raises:
            BeingFound: within ``awaiting_finds``, unless it has been awaited.
            DatabaseUnavailable: it takes longer than ``PATIENCE``, and goes on; or the threads were stopped.
        """
        awaited = _awaited.get()
        known: Future[Found] | None = None if awaited is None else awaited.get((id(self), key))
        if known is not None:
            return _result(known)
        future = self._start(space, key, work, threads)
        if awaited is not None:
            awaited[id(self), key] = future
            raise BeingFound(future)
        try:
            return _result(future, PATIENCE)
        except TimeoutError:
            if future.done():  # the find itself has failed so
                raise
            raise DatabaseUnavailable(NOT_YET.format(PATIENCE)) from None

    def _start(self, space: Hashable, key: Hashable, work: Callable[[], Found], threads: FindThreads) -> Future[Found]:
        with self._lock:
            known = self._under_way.get(key)
            if known is not None and not known.done():
                return known
            started = self._under_way[key] = threads.start(space, work)
        started.add_done_callback(lambda ended: self._end(key, ended))  # called at once where it has ended
        return started

    def _end(self, key: Hashable, ended: Future[Found]) -> None:
        with self._lock:
            if self._under_way.get(key) is ended:
                del self._under_way[key]


def _result(future: Future[Found], seconds: float | None = None) -> Found:
    try:
        return future.result(seconds)
    except CancelledError as exc:
        raise DatabaseUnavailable(ENDED) from exc
