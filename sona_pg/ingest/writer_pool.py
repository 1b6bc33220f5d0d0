"""Writers of all spaces of a process, and the threads and connections that they share."""

from __future__ import annotations

from typing import Self

from sqlalchemy import Engine

from sona_pg.errors import SonaError
from sona_pg.ingest.service_pool import ServicePool
from sona_pg.ingest.writer import STALL_TIMEOUT, Writer
from sona_pg.ingest.writer_request import WriterRequest
from sona_pg.recorder import HotPath
from sona_pg.store.connect import connect

THREADS = 2
FEW = 16  # writers that are not worth a look whether some are closed


class WriterPool:
    """Writes the records of any number of spaces, with at most two threads and two connections."""

    def __init__(
        self, engine: Engine, stall_timeout: float = STALL_TIMEOUT, *, beside: Engine | None = None
    ) -> None:  # fmt: skip
        """Write over connections of ``engine``; see ``Writer`` for ``stall_timeout``, ``Attempts`` for ``beside``."""
        self._engine = engine
        self._owns_engine = False
        self._stall_timeout = stall_timeout
        self._services = ServicePool(engine, stall_timeout, THREADS, beside)
        self._most = FEW  # writers, above which closed ones are forgotten
        self._writers: set[Writer] = set()  # changed only by atomic calls, so that signal handlers are safe

    @classmethod
    def at(cls, url: str, *, beside: Engine | None = None) -> Self:
        """Return a pool with ``THREADS`` connections to ``url`` of its own, which no other user can exhaust."""
        pool = cls(connect(url, pool_size=THREADS, overflow=0), beside=beside)
        pool._owns_engine = True
        return pool

    def open(self, hot: HotPath, request: WriterRequest) -> Writer:
        """Return a writer of the records of ``hot``; close it when it is done.

        Raises:
            StorageError: the spool's folder cannot be used.
            DatabaseUnavailable: the pool is closed, or another process's; or Postgres does not answer.
        """
        writer = Writer(hot, self._engine, request, stall_timeout=self._stall_timeout, services=self._services)
        self._writers.add(writer)
        if len(self._writers) > self._most:  # now and then: a look at all for each new one would be quadratic
            self._writers.difference_update([known for known in list(self._writers) if known.closed])
            self._most = max(FEW, 2 * len(self._writers))
        return writer

    def close(self) -> None:
        """Close the open writers, and end the threads.

        Raises:
            SonaError: the first error of closing a writer; all are closed.
        """
        problem: SonaError | None = None
        for writer in list(self._writers):
            try:
                writer.close()
            except SonaError as exc:
                problem = problem or exc
        self._services.close()
        if self._owns_engine:
            self._engine.dispose()
        if problem is not None:
            raise problem
