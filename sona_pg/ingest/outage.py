"""Stand-in for the writer of an engine opened while the database is away: keeps the records."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from numpy.typing import ArrayLike

from sona_pg.config import IngestConfig
from sona_pg.domain.memory import GroupOrder
from sona_pg.errors import DatabaseUnavailable, StorageError, TrajectoryError
from sona_pg.ingest import candidate_rows
from sona_pg.ingest.candidate_rows import CandidateSet, Extra
from sona_pg.ingest.progress import IngestStats
from sona_pg.ingest.spool import SpoolSource, spill
from sona_pg.ingest.wakeups import Happening, held_here
from sona_pg.ingest.writer import Writer
from sona_pg.recorder import HotPath

log = logging.getLogger("sona_pg.ingest")


class Outage:
    """Records wait in the buffer, or with durability ``spool`` in files, until a writer takes them over.

    Raises:
        StorageError: (spool) the folder cannot be used.
    """

    def __init__(self, hot: HotPath, config: IngestConfig, root: Path, reason: str) -> None:
        """Hold the records of ``hot``; with durability ``spool`` in files below ``root``."""
        self._hot = hot
        self._config = config
        self._root = root
        self.reason = reason  # why there is no writer yet
        self._guard = threading.RLock()
        self._extras: list[Extra] = []
        self._bytes = 0
        self._opened = time.monotonic()
        self._closed = False
        self._successor: Writer | None = None
        self._succeeded = Happening()
        self.source = SpoolSource(hot, root) if config.durability == "spool" else None
        hot.attach(
            confirm=self._refuse_to_confirm if config.durability == "sync" else None,
            room=self._refuse_to_wait if config.when_full == "wait" else None,
            spool=None if self.source is None else self.source.file,
        )

    @contextmanager
    def taken_over(self) -> Iterator[list[Extra]]:
        """Yield the waiting candidates for the writer made in the block; ``succeeded_by`` names that writer."""
        with self._guard:
            if self._closed:
                raise TrajectoryError("the engine is closed: open another one")
            yield self._extras

    def succeeded_by(self, writer: Writer) -> None:
        """Forward all later calls to ``writer``; call it inside ``taken_over``."""
        self._successor = writer
        self._extras = []
        self._succeeded.set()

    def flush(self, timeout: float | None = None, *, backlog: bool = True) -> None:
        """Return when everything recorded before this call is committed, by the future writer; see its ``flush``.

        Raises:
            DatabaseUnavailable: that took longer than ``timeout`` seconds; nothing is lost by it.
        """
        began = time.monotonic()
        if not self._succeeded.wait(threading.TIMEOUT_MAX if timeout is None else timeout):
            self._fail(f"flush: {self.waiting} records are not committed after {timeout} s, and wait")
        assert self._successor is not None
        left = None if timeout is None else max(timeout - (time.monotonic() - began), 0.0)
        self._successor.flush(left, backlog=backlog)

    @property
    def waiting(self) -> int:
        """Records accepted and not committed."""
        return self._hot.recorded_count

    @property
    def candidates_settled(self) -> bool:
        """Whether no candidates wait."""
        return not self._extras

    def enqueue_candidates(
        self, ids: Sequence[str], embeddings: ArrayLike, *, wait: bool = False, order: GroupOrder | None = None
    ) -> bool:
        """Keep candidates; return False where there is no room for them."""
        return self._enqueue(candidate_rows.checked(ids, embeddings, self._hot.dim, order), wait)

    def enqueue_candidate_set(self, set_id: int, ids: Sequence[str]) -> bool:
        """Keep which candidates were shown together; return False where there is no room."""
        candidate_rows.check_ids(ids)
        return self._enqueue([CandidateSet(set_id, tuple(ids))], False)

    def _enqueue(self, rows: Sequence[Extra], wait: bool) -> bool:
        with self._guard:
            if self._successor is not None:
                return self._successor.enqueue(rows, wait=wait)
            if self._closed:
                raise DatabaseUnavailable("the engine is closed: open another one")
            size = sum(row.bytes for row in rows)
            if self._bytes + size > self._config.buffer_bytes:
                if wait:
                    self._fail(f"{self._bytes} bytes of candidates wait, and there is no room for more")
                return False
            if self.source is not None:
                self.source.keep(rows)
            self._extras += rows
            self._bytes += size
            return True

    def stats(self) -> IngestStats:
        """Return the counters: nothing is committed yet."""
        return IngestStats(
            trajectories=0,
            steps=0,
            feedback=0,
            batches=0,
            waiting=self.waiting,
            waiting_seconds=time.monotonic() - self._opened if self.waiting else 0.0,
            dropped=self._hot.dropped_count,
            rejected=0,
            rejected_unsaved=0,
            rejected_lost=0,
            conflicting=0,
            retries=0,
            learner_errors=0,
            last_error=self.reason,
            last_commit=None,
        )

    @property
    def held_here(self) -> bool:
        """Whether this thread, interrupted by a signal handler, holds the lock that closing needs."""
        return held_here(self._guard)

    def close(self) -> None:
        """Refuse new records, and write those in memory to files, for the next process to commit.

        Raises:
            DatabaseUnavailable: records wait; the message says where, or that they are lost.
        """
        self._hot.refuse_records()
        with self._guard:
            if self._successor is not None:
                self._successor.close()
                return
            self._closed = True
            waiting, extras = self.waiting, self._extras
            if self.source is not None:
                self.source.close()
        if not waiting and not extras:
            return
        if self.source is not None:
            self._fail(
                f"{waiting} records wait in {self._root}, and the next process that opens this space writes them"
            )
        try:
            spill(self._hot, self._root, (), extras)
        except StorageError as exc:
            raise DatabaseUnavailable(
                f"{waiting} records are lost: the database is away ({self.reason}), and {exc}"
            ) from exc
        self._fail(
            f"{waiting} records are kept in {self._root}, and the next process that opens this space writes them"
        )

    def _refuse_to_confirm(self, recorded: int, trajectory_id: bytes) -> NoReturn:
        self._fail("not committed: the record waits and is written once the database answers")

    def _refuse_to_wait(self) -> NoReturn:
        self._fail("the buffer is full: this record is not taken")

    def _fail(self, what: str) -> NoReturn:
        raise DatabaseUnavailable(f"{what}; the database has not answered since the engine was opened: {self.reason}")
