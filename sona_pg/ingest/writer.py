"""Writer of one space: the application's calls; the threads of a pool do the writing."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from numpy.typing import ArrayLike
from sqlalchemy import Engine, text

from sona_pg.domain.memory import GroupOrder
from sona_pg.errors import DatabaseError, DatabaseUnavailable, SpaceRemoved, StorageError
from sona_pg.ingest import candidate_rows, statements
from sona_pg.ingest.backlog_age import BacklogAge
from sona_pg.ingest.candidate_rows import CandidateSet, Extra
from sona_pg.ingest.commit import Origin
from sona_pg.ingest.delivery import Delivery
from sona_pg.ingest.extras import Extras
from sona_pg.ingest.leftovers import Leftovers
from sona_pg.ingest.link import Link
from sona_pg.ingest.numbers import BatchNumbers
from sona_pg.ingest.progress import IngestStats, Progress
from sona_pg.ingest.rejects import Rejects
from sona_pg.ingest.service_pool import ServicePool
from sona_pg.ingest.source import RingSource, Source
from sona_pg.ingest.space_writing import Parts, Service
from sona_pg.ingest.spool import SpoolSource, spill
from sona_pg.ingest.wakeups import held_here
from sona_pg.ingest.writer_request import WriterRequest
from sona_pg.recorder import HotPath
from sona_pg.store.connect import translated

log = logging.getLogger("sona_pg.ingest")

STALL_TIMEOUT = 30.0  # seconds until a transaction's connection counts as dead
CLOSE_TIMEOUT = 10.0  # seconds
CHECK_INTERVAL = 0.5  # seconds between checks that a thread still writes


class Writer:
    """Writes the records of ``hot`` to one space, in the background.

    Args:
        hot: the recording side; one writer each.
        engine: connections to the database, whose schema is up to date.
        request: the space, the server, and where records come from.
        stall_timeout: seconds until a transaction's connection counts as dead.
        services: pool of writing threads, shared with other spaces; by default one with a single thread.

    Raises:
        StorageError: the spool's folder cannot be used.
    """

    def __init__(
        self,
        hot: HotPath,
        engine: Engine,
        request: WriterRequest,
        *,
        stall_timeout: float = STALL_TIMEOUT,
        services: ServicePool | None = None,
    ) -> None:
        self._hot = hot
        self._config = config = request.config
        made_at = request.made_at or _made_at(engine, request.space_id)
        self._origin = Origin(request.space_id, request.server_id, request.space_name, made_at)
        self._pid = os.getpid()
        self._stall_timeout = stall_timeout
        self.closed = False
        self._rejects = Rejects(request.home / "rejected" / str(request.space_id))
        self._root, self._source = self._open_source(request, made_at)
        self._progress = Progress(self._source.done, BacklogAge(time.monotonic(), config.flush_interval))
        self._services = services or ServicePool(engine, stall_timeout, 1)
        self._shares_threads = services is not None
        numbers = BatchNumbers()
        self._link = Link(self._services.attempts)
        self._delivery = Delivery(self._link, self._origin, numbers, self._rejects, self._services.own_workers)
        self._extras = Extras(
            self._progress.changed, config.buffer_bytes, self._source, self._link, self._origin, numbers, self._rejects
        )
        self._extras.add(request.extras, kept=True)
        parts = Parts(
            hot, self._source, self._extras, self._delivery, self._link, numbers, self._rejects, self._progress
        )
        self._service = Service(parts, config, self._origin.space, request.on_batch)
        hot.attach(
            wake=self._ask,
            confirm=self._confirm if config.durability == "sync" else None,
            room=self._make_room if config.when_full == "wait" else None,
            spool=self._source.file,
        )
        self._services.add(self._service)

    def _open_source(self, request: WriterRequest, made_at: datetime) -> tuple[Path, Source]:
        """Return the folder of this space's unwritten records, and the source of the writer."""
        # A home may serve several databases: records for one must not be written into another.
        name = f"{request.space_id}-{made_at.astimezone(UTC):%Y%m%dT%H%M%S%f}"
        root = request.home.absolute() / "spool" / name
        roots = [root] if request.pending is None else [root, request.pending]
        left = Leftovers(roots, self._hot, request.space_id)
        if request.config.durability != "spool":
            return root, RingSource(self._hot, request.space_id, left, learn=request.on_batch is not None)
        source = request.source or SpoolSource(self._hot, root)
        source.begin(request.space_id, left)
        return root, source

    # -- for the application --------------------------------------------------------------------------------

    def flush(self, timeout: float | None = None, *, backlog: bool = True) -> None:
        """Return when everything recorded before this call is committed; with ``backlog`` what others left as well.

        Raises:
            DatabaseUnavailable: it took longer than ``timeout`` seconds; nothing is lost.
            SpaceRemoved: the space is gone.
        """
        if not self._wait_for(self._source.recorded, self._extras.put, timeout, backlog=backlog):
            raise DatabaseUnavailable(
                f"flush: {self.waiting} records are not committed after {timeout} s "
                f"({self._link.last_error or 'still writing'}); they wait and are tried again"
            )

    @property
    def waiting(self) -> int:
        """Records accepted and not committed yet."""
        return self._source.recorded - self._progress.done

    @property
    def candidates_settled(self) -> bool:
        """Whether no candidates or sets wait: all earlier ones are stored or refused."""
        return not self._extras

    def enqueue_candidates(
        self, ids: Sequence[str], embeddings: ArrayLike, *, wait: bool = False, order: GroupOrder | None = None
    ) -> bool:
        """Store candidates in the background; one whose id is known gets the new embedding.

        Args:
            ids: their ids.
            embeddings: (n, dim), within the range of half precision.
            wait: whether to wait for room if the queue of candidates is full.
            order: the group that they belong to, in this order.

        Returns:
            Whether they will be stored; False only without ``wait``, if there is no room.

        Raises:
            DatabaseUnavailable: with ``wait``: no room was made in time.
        """
        return self.enqueue(candidate_rows.checked(ids, embeddings, self._hot.dim, order), wait=wait)

    def enqueue_candidate_set(self, set_id: int, ids: Sequence[str]) -> bool:
        """Store a candidate set in the background; return False if there is no room."""
        candidate_rows.check_ids(ids)
        return self.enqueue([CandidateSet(set_id, tuple(ids))])

    def stats(self) -> IngestStats:
        """Return the counters so far."""
        done = self._progress
        with done.changed:
            return IngestStats(
                trajectories=done.total.trajectories,
                steps=done.total.steps,
                feedback=done.total.feedback,
                batches=done.batches,
                waiting=self.waiting,
                waiting_seconds=done.age.note(self._source.recorded, done.done, time.monotonic()),
                dropped=self._hot.dropped_count,
                rejected=done.rejected + self._extras.refused,
                rejected_unsaved=self._rejects.unsaved,
                rejected_lost=self._rejects.lost,
                conflicting=done.conflicting,
                retries=self._link.retries,
                learner_errors=done.learner_errors,
                last_error=self._link.last_error,
                last_commit=done.last_commit,
            )

    @property
    def held_here(self) -> bool:
        """Whether this thread, interrupted by a signal handler, holds the lock that the writer needs."""
        return held_here(self._progress.guard)

    def close(self, timeout: float = CLOSE_TIMEOUT) -> None:
        """Refuse new records, write the unwritten ones, and end; other spaces continue.

        Records accepted before this call are written; recording from now on raises ``TrajectoryError``. A record in
        progress in another thread does one or the other. Not safe in a signal handler; ``Session.close`` is.

        Raises:
            DatabaseUnavailable: some records could not be written within ``timeout`` seconds. They are kept in files
                for the next process on this machine, unless the message says otherwise.
            SpaceRemoved: the space is gone, and unwritten records with it; after a restore they are kept in files.
        """
        if self.closed or os.getpid() != self._pid:
            return
        self._hot.refuse_records()
        with self._progress.changed:
            self._progress.closing = True
        self._ask()
        if not self._service.finished.wait(timeout):
            self._link.abandon()
        self._service.end()
        self.closed = True
        self._ask()  # removes it from the rotation
        self._services.own_workers.forget(self._origin.space_id)
        if not self._shares_threads:
            self._services.close()
        left, extras, backlog = self.waiting, self._extras.rest(), bool(self._source.left)
        removed = self._progress.removed
        lost = removed is not None and not removed.replaced  # the rows of the space are deleted, and so are these
        fate = "" if lost or not (left or extras or backlog) else self._keep_what_is_left(extras)
        self._source.close()
        self._rejects.close()
        if removed and left:
            told = "are not stored" if lost else f"are kept: {fate}"
            raise self._gone(removed, f", and {left} records that waited {told}")
        if removed:
            return
        if left or extras or backlog:
            raise DatabaseUnavailable(
                f"{left} records and {len(extras)} lists of candidates could not be written within {timeout} s "
                f"({self._link.last_error}): {fate}"
            )

    def _keep_what_is_left(self, extras: Sequence[Extra]) -> str:
        """Write the records in memory to files; return the sentence that says where they are. The service has ended."""
        where = f"they are in {self._root}, and the next process that opens this space on this machine writes them"
        source, service = self._source, self._service
        if not isinstance(source, RingSource) or not (self.waiting or extras):
            return where
        taken = [found.batch for found in (service.writing, service.taken_ahead) if found is not None]
        try:
            spill(self._hot, self._root, [batch for batch in taken if not source.is_of_others(batch)], extras)
        except StorageError as exc:
            return f"they are lost: {exc}"
        return where

    def _gone(self, found: SpaceRemoved, given_up: str = "") -> SpaceRemoved:
        return SpaceRemoved(self._origin.space, given_up, replaced=found.replaced)

    # -- waiting --------------------------------------------------------------------------------------------

    def _ask(self) -> None:
        """Have the space served now; the hot path calls it when half of its buffer is full."""
        self._services.ask(self._service)

    def _wait_for(self, records: int, extras: int, timeout: float | None, *, backlog: bool = False) -> bool:
        if os.getpid() != self._pid:
            raise DatabaseUnavailable("the engine was opened before this process was forked: open one here")
        deadline = None if timeout is None else time.monotonic() + timeout
        progress = self._progress
        with progress.changed:
            if progress.removed:
                raise self._gone(progress.removed)
            progress.waiters += 1
            try:
                while progress.done < records or self._extras.done < extras or (backlog and self._source.left):
                    if progress.removed:
                        raise self._gone(progress.removed)
                    if progress.ended or not self._services.is_alive:
                        raise DatabaseUnavailable(f"the writer has ended: {self._link.last_error or 'it was closed'}")
                    left = CHECK_INTERVAL if deadline is None else min(CHECK_INTERVAL, deadline - time.monotonic())
                    if left <= 0:
                        return False
                    self._ask()
                    progress.changed.wait(left)
            finally:
                progress.waiters -= 1
        return True

    def _make_room(self) -> None:
        """``when_full="wait"``: called by the hot path when the buffer is full."""
        if not self._wait_for(self._progress.done + 1, 0, self._stall_timeout):
            raise DatabaseUnavailable(
                f"the buffer is full, and nothing of it was committed for {self._stall_timeout} s "
                f"({self._link.last_error or 'still writing'}): this record is not taken"
            )

    def _confirm(self, recorded: int, trajectory_id: bytes) -> None:
        """Durability ``sync``: called by the hot path after each record."""
        if not self._wait_for(recorded, 0, self._stall_timeout):
            raise DatabaseUnavailable(
                f"not committed after {self._stall_timeout} s ({self._link.last_error or 'still writing'}): "
                "the record waits and is tried again, whether it arrives is not known now"
            )
        progress = self._progress
        if progress.refused:
            with progress.changed:
                reason = progress.refused.pop(trajectory_id, None)
            if reason is not None:
                raise DatabaseError(f"Postgres refused the record ({reason}); it is kept in {self._rejects.folder}")

    def enqueue(self, extras: Sequence[Extra], *, wait: bool = False) -> bool:
        """Queue checked candidates; see ``enqueue_candidates``."""
        while True:
            with self._progress.changed:
                if self._progress.removed:
                    raise self._gone(self._progress.removed)
                if self._progress.closing:
                    raise DatabaseUnavailable("the engine is closed: open another one")
                done = self._extras.done
                try:
                    if self._extras.add(extras):
                        self._services.note(self._service)
                        return True
                except StorageError:
                    if wait:
                        raise
                    log.exception("candidates are stored when they are used again")
                    return False
            if not wait:
                self._extras.say_no_room()
                return False
            if not self._wait_for(0, done + 1, self._stall_timeout):
                raise DatabaseUnavailable(
                    f"{self._extras.bytes} bytes of candidates wait, and none were stored for {self._stall_timeout} s "
                    f"({self._link.last_error or 'still writing'}): these are not stored"
                )


def _made_at(engine: Engine, space_id: int) -> datetime:
    with translated("opening the spool", engine.url), engine.connect() as connection:
        made = connection.scalar(text(statements.SPACE_MADE), {"space": space_id})
    if made is None:
        raise DatabaseError(f"there is no space {space_id}: open it first")
    assert isinstance(made, datetime)
    return made
