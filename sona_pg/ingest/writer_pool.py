"""Writers of all spaces of a process, and the threads and connections that they share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self
from uuid import UUID

from sqlalchemy import Engine

from sona_pg.config import IngestConfig
from sona_pg.errors import SonaError
from sona_pg.ingest.candidate_rows import Extra
from sona_pg.ingest.service_pool import ServicePool
from sona_pg.ingest.spool import SpoolSource
from sona_pg.ingest.writer import STALL_TIMEOUT, Writer
from sona_pg.recorder import EncodedBatch, HotPath
from sona_pg.store.connect import connect

THREADS = 2


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
        self._writers: set[Writer] = set()  # changed only by atomic calls, so that signal handlers are safe

    @classmethod
    def at(cls, url: str, *, beside: Engine | None = None) -> Self:
        """Return a pool with ``THREADS`` connections to ``url`` of its own, which no other user can exhaust."""
        pool = cls(connect(url, pool_size=THREADS, overflow=0), beside=beside)
        pool._owns_engine = True
        return pool

    def open(
        self,
        hot: HotPath,
        *,
        space_id: int,
        server_id: UUID,
        space_name: str = "",
        config: IngestConfig,
        home: Path,
        on_batch: Callable[[EncodedBatch], None] | None = None,
        pending: Path | None = None,
        source: SpoolSource | None = None,
        extras: Sequence[Extra] = (),
    ) -> Writer:
        """Return a writer for ``hot``, with the arguments of ``Writer``. The caller closes it.

        Raises:
            StorageError: the spool's folder cannot be used.
            DatabaseUnavailable: the pool is closed, or another process's; or Postgres does not answer.
        """
        writer = Writer(
            hot,
            self._engine,
            space_id=space_id,
            server_id=server_id,
            space_name=space_name,
            config=config,
            home=home,
            on_batch=on_batch,
            pending=pending,
            source=source,
            extras=extras,
            stall_timeout=self._stall_timeout,
            services=self._services,
        )
        self._writers.add(writer)
        self._writers.difference_update([known for known in list(self._writers) if known.closed])
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
