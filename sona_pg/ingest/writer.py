"""The writer: a thread that takes what was recorded and commits it, each record once and only once."""

from __future__ import annotations

import functools
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import psycopg
from numpy.typing import ArrayLike
from sqlalchemy import Engine, text

from sona_pg.config import IngestConfig
from sona_pg.errors import DatabaseError, DatabaseUnavailable, SpaceRemoved, StorageError
from sona_pg.ingest import candidate_log, candidate_rows, statements
from sona_pg.ingest.candidate_rows import CandidateSet, Extra
from sona_pg.ingest.commit import Losses, Origin, Written
from sona_pg.ingest.delivery import Delivery
from sona_pg.ingest.extras import Extras, halves
from sona_pg.ingest.kept_batches import Batch, KeptBatch
from sona_pg.ingest.leftovers import Leftovers
from sona_pg.ingest.link import Link
from sona_pg.ingest.numbers import BatchNumbers
from sona_pg.ingest.rejects import Rejects
from sona_pg.ingest.source import RingSource, Source
from sona_pg.ingest.spool import SpoolSource, spill
from sona_pg.ingest.wakeups import Wake, held_here
from sona_pg.recorder import EncodedBatch, HotPath
from sona_pg.store.connect import translated

log = logging.getLogger("sona_pg.ingest")

WARN_EVERY = 10.0  # seconds between two warnings of refused records

STALL_TIMEOUT = 30.0  # seconds without the end of a transaction before its link is taken for dead
CLOSE_TIMEOUT = 10.0  # seconds
CHECK_INTERVAL = 0.5  # seconds between looks whether the writer's thread is still there


@dataclass(frozen=True, slots=True, eq=False)
class _Taken:
    """A batch, and the extras that were put before it was taken: those that its records name are among them."""

    batch: Batch
    extras: int


@dataclass(frozen=True, slots=True)
class IngestStats:
    """What the writer has done since it was opened."""

    trajectories: int  # committed
    steps: int
    feedback: int
    batches: int
    waiting: int  # accepted, not committed yet
    dropped: int  # refused because the buffer was full
    rejected: int  # refused by Postgres for their content, and kept in a file
    rejected_unsaved: int  # of those, in memory now: the folder cannot be written
    rejected_lost: int  # of those, nowhere: there was no room in memory either
    retries: int
    learner_errors: int  # exceptions of on_batch
    last_error: str | None  # None while writing works
    last_commit: datetime | None


class Writer:
    """Writes what ``hot`` records into one space, in the background.

    Args:
        hot: the recording side; one writer each.
        engine: connections to the database, whose schema is up to date.
        space_id, server_id: the space written to, and this server's row in ``sona.servers``.
        space_name: what errors call the space; its number if none is given.
        config: durability and pace.
        home: the folder for spool and rejected rows.
        on_batch: called on the writer's thread with each batch as soon as it is encoded, committed or not.
        pending: the folder below ``home`` of what was recorded before the space could be known, if there may be some.
        source, extras: what was recorded since the engine was opened without its database: the spool, and candidates
            that wait.
        stall_timeout: seconds after which a transaction's link is taken for dead.

    Raises:
        StorageError: the spool's folder cannot be used.
    """

    def __init__(
        self,
        hot: HotPath,
        engine: Engine,
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
        stall_timeout: float = STALL_TIMEOUT,
    ) -> None:
        self._hot = hot
        self._config = config
        self._origin = Origin(space_id, server_id, space_name)
        self._home = home
        self._on_batch = on_batch
        self._rejects = Rejects(home / "rejected" / str(space_id))
        self._wake = Wake()
        self._guard = threading.RLock()
        self._changed = threading.Condition(self._guard)  # guards what follows
        self._waiters = 0
        self._total = Written()
        self._batches = self._rejected = self._learner_errors = 0
        self._counted = Losses()  # of all losses, what the fleet's counters know
        self._warn_again = 0.0  # monotonic seconds
        self._refused: dict[bytes, str] = {}  # durability 'sync': why a record that somebody waits for is not in
        self._last_commit: datetime | None = None
        self._closing = self._ended = False
        self._removed = False  # the space: nothing can be written any more
        self._writing: _Taken | None = None  # until it is committed
        self._next: _Taken | None = None  # encoded ahead
        self._pid = os.getpid()
        self._stall_timeout = stall_timeout
        sync = config.durability == "sync"
        self._root, self._source = self._open_source(engine, pending, source)
        self._done = self._source.done
        self._numbers = BatchNumbers()
        self._link = Link(engine, stall_timeout)
        self._delivery = Delivery(self._link, self._origin, self._numbers, self._rejects)
        self._extras = Extras(
            self._changed, config.buffer_bytes, self._source, self._link, self._origin, self._numbers
        )  # fmt: skip
        self._extras.add(extras, kept=True)
        hot.attach(
            wake=self._wake.set,
            confirm=self._confirm if sync else None,
            room=self._make_room if config.when_full == "wait" else None,
            spool=self._source.file,
        )
        self._thread = threading.Thread(target=self._run, name="sona-pg-writer", daemon=True)
        self._thread.start()

    def _open_source(
        self, engine: Engine, pending: Path | None, begun: SpoolSource | None
    ) -> tuple[Path, Source]:  # fmt: skip
        """Return where processes leave what they could not commit of this space, and what feeds the writer."""
        with translated("opening the spool", engine.url), engine.connect() as connection:
            made = connection.scalar(text(statements.SPACE_MADE), {"space": self._origin.space_id})
        if made is None:
            raise DatabaseError(f"there is no space {self._origin.space_id}: open it first")
        # A home may serve several databases: what was recorded for one must not be written into another.
        name = f"{self._origin.space_id}-{made:%Y%m%dT%H%M%S%f}"
        root = self._home.absolute() / "spool" / name
        roots = [root] if pending is None else [root, pending]
        left = Leftovers(roots, self._hot.dim, self._origin.space_id, self._replay_candidates)
        if self._config.durability != "spool":
            return root, RingSource(self._hot, self._origin.space_id, left, learn=self._on_batch is not None)
        source = begun or SpoolSource(self._hot, root)
        source.begin(self._origin.space_id, left)
        return root, source

    # -- for the application --------------------------------------------------------------------------------

    def flush(self, timeout: float | None = None) -> None:
        """Return when everything recorded before this call is committed.

        Raises:
            DatabaseUnavailable: that took longer than ``timeout`` seconds; nothing is lost by it.
            SpaceRemoved: the space is gone.
        """
        if not self._wait_for(self._source.recorded, self._extras.put, timeout, backlog=True):
            raise DatabaseUnavailable(
                f"flush: {self.waiting} records are not committed after {timeout} s "
                f"({self._link.last_error or 'still writing'}); they wait and are tried again"
            )

    @property
    def waiting(self) -> int:
        """Records accepted and not committed yet."""
        return self._source.recorded - self._done

    @property
    def candidates_settled(self) -> bool:
        """Whether no candidates or sets wait: those of before are stored, or were refused."""
        return not self._extras

    def enqueue_candidates(self, ids: Sequence[str], embeddings: ArrayLike, *, wait: bool = False) -> bool:
        """Store candidates in the background; one whose id is known gets the new embedding.

        Args:
            ids: their ids.
            embeddings: (n, dim), within what half precision holds.
            wait: for room, where as many bytes of candidates wait as the buffer may take.

        Returns:
            Whether they will be stored: without ``wait`` not where there is no room.

        Raises:
            DatabaseUnavailable: (wait) Postgres takes nothing.
        """
        return self.enqueue(candidate_rows.checked(ids, embeddings, self._hot.dim), wait=wait)

    def enqueue_candidate_set(self, set_id: int, ids: Sequence[str]) -> bool:
        """Store which candidates were shown together, in the background; return False where there is no room."""
        candidate_rows.check_ids(ids)
        return self.enqueue([CandidateSet(set_id, tuple(ids))])

    def stats(self) -> IngestStats:
        """Return what was done so far."""
        with self._changed:
            return IngestStats(
                trajectories=self._total.trajectories,
                steps=self._total.steps,
                feedback=self._total.feedback,
                batches=self._batches,
                waiting=self.waiting,
                dropped=self._hot.dropped_count,
                rejected=self._rejected + self._extras.refused,
                rejected_unsaved=self._rejects.unsaved,
                rejected_lost=self._rejects.lost,
                retries=self._link.retries,
                learner_errors=self._learner_errors,
                last_error=self._link.last_error,
                last_commit=self._last_commit,
            )

    @property
    def held_here(self) -> bool:
        """Whether this very thread holds what the writer needs: a signal handler has interrupted it inside."""
        return held_here(self._guard)

    def close(self, timeout: float = CLOSE_TIMEOUT) -> None:
        """Refuse new records, write what waits, and end the thread.

        What was accepted before this call is written; what is recorded from now on raises ``TrajectoryError``. A record
        that is in progress in another thread is one or the other. Not for a signal handler: ``Session.close`` is.

        Raises:
            DatabaseUnavailable: some records could not be written within ``timeout`` seconds. They are in files that
                the next process on this machine writes, unless the message says that this was not possible either.
            SpaceRemoved: the space is gone, and records that wait with it.
        """
        if self._ended or os.getpid() != self._pid:
            return
        self._hot.refuse_records()
        with self._changed:
            self._closing = True
        self._wake.set()
        self._thread.join(timeout)
        if self._thread.is_alive():
            self._link.abandon()
            self._thread.join()
        self._ended = True
        self._link.close()
        left, extras, backlog = self.waiting, self._extras.rest(), self._source.backlog
        fate = "" if self._removed or not (left or extras or backlog) else self._keep_what_is_left(extras)
        self._source.close()
        self._rejects.close()
        if self._removed and left:
            raise SpaceRemoved(self._origin.space, f", and {left} records that waited are not stored")
        if self._removed:
            return
        if left or extras or backlog:
            raise DatabaseUnavailable(
                f"{left} records and {len(extras)} lists of candidates could not be written within {timeout} s "
                f"({self._link.last_error}): {fate}"
            )

    def _keep_what_is_left(self, extras: Sequence[Extra]) -> str:
        """Write to files what waits in memory; return what becomes of it. The thread has ended."""
        where = f"they are in {self._root}, and the next process that opens this space on this machine writes them"
        source = self._source
        if not isinstance(source, RingSource) or not (self.waiting or extras):
            return where
        taken = [found.batch for found in (self._writing, self._next) if found is not None]
        try:
            spill(self._hot, self._root, [batch for batch in taken if not source.is_of_others(batch)], extras)
        except StorageError as exc:
            return f"they are lost: {exc}"
        return where

    # -- waiting --------------------------------------------------------------------------------------------

    def _wait_for(self, records: int, extras: int, timeout: float | None, *, backlog: bool = False) -> bool:
        if os.getpid() != self._pid:
            raise DatabaseUnavailable("the engine was opened before this process was forked: open one here")
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            if self._removed:
                raise SpaceRemoved(self._origin.space)
            self._waiters += 1
            try:
                while self._done < records or self._extras.done < extras or (backlog and self._source.backlog):
                    if self._removed:
                        raise SpaceRemoved(self._origin.space)
                    if not self._thread.is_alive():
                        raise DatabaseUnavailable(f"the writer has ended: {self._link.last_error or 'it was closed'}")
                    left = CHECK_INTERVAL if deadline is None else min(CHECK_INTERVAL, deadline - time.monotonic())
                    if left <= 0:
                        return False
                    self._wake.set()
                    self._changed.wait(left)
            finally:
                self._waiters -= 1
        return True

    def _make_room(self) -> None:
        """``when_full="wait"``: called by the hot path when the buffer is full."""
        if not self._wait_for(self._done + 1, 0, self._stall_timeout):
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
        if self._refused:
            with self._changed:
                reason = self._refused.pop(trajectory_id, None)
            if reason is not None:
                raise DatabaseError(f"Postgres refused the record ({reason}); it is kept in {self._rejects.folder}")

    def enqueue(self, extras: Sequence[Extra], *, wait: bool = False) -> bool:
        """Store what was checked; see ``enqueue_candidates``."""
        while True:
            with self._changed:
                if self._removed:
                    raise SpaceRemoved(self._origin.space)
                if self._closing:
                    raise DatabaseUnavailable("the engine is closed: open another one")
                done = self._extras.done
                try:
                    if self._extras.add(extras):
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

    # -- the writer's thread --------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._link.abandoned and (
                not self._closing or self.waiting or self._extras or self._source.backlog
            ):
                if not (self._closing or self._hurried()):
                    self._wake.wait(self._config.flush_interval)
                self._wake.clear()
                self._rejects.retry()
                self._write_next()
        except DatabaseUnavailable as exc:
            log.info("the writer ends: %s", exc)
        except SpaceRemoved as exc:
            log.error("the writer ends: %s", exc)
            self._hot.refuse_records(str(exc))
            with self._changed:
                self._removed = True
        except BaseException:
            log.exception("the writer ends by a mistake of its own; nothing more is written")
            self._hot.refuse_records()
            raise
        finally:
            with self._changed:
                self._changed.notify_all()

    def _say_dropped(self, dropped: int) -> None:
        """Warn of refused records, once in a while: they are all counted in ``dropped_count``."""
        now = time.monotonic()
        if now >= self._warn_again:
            self._warn_again = now + WARN_EVERY
            log.warning(
                "the buffer of %d records was full: %d were refused; record more slowly, raise IngestConfig.capacity, "
                "use when_full='wait', or durability 'sync' or 'spool'", self._hot.capacity, dropped
            )  # fmt: skip

    def _hurried(self) -> bool:
        return self._source.urgent or (self._waiters > 0 and (self.waiting > 0 or bool(self._extras)))

    def _write_next(self) -> None:
        # Noted at once: what has left the buffer must be found if storing what it names is given up.
        self._writing, self._next = self._next or self._take(), None
        taken = self._writing
        self._extras.store(self._extras.put if taken is None else taken.extras)
        if taken is None:
            with self._changed:  # a backlog may have ended, or what waited was damaged and is set aside
                self._done = self._source.done
                self._changed.notify_all()
            return
        batch, losses = taken.batch, self._losses()
        if losses.dropped:
            self._say_dropped(losses.dropped)
        # By a caller who gives sequences a feedback may come twice: those are looked for without a replay.
        written = self._delivery.deliver(
            batch, losses, careful=self._source.may_repeat, meanwhile=self._take_ahead
        )  # fmt: skip
        with self._changed:
            if written.counted:
                before = self._counted
                self._counted = Losses(before.dropped + losses.dropped, before.abandoned + losses.abandoned)
            self._total.add(written)
            self._batches += 1
            self._rejected += len(written.rejected)
            if self._config.durability == "sync":
                self._refused.update({row.trajectory_id.bytes: row.reason for row in written.rejected})
            self._last_commit = datetime.now(UTC)
            self._source.committed(batch)
            self._writing = None
            self._done = self._source.done
            self._changed.notify_all()

    def _losses(self) -> Losses:
        """Return what was lost since it was last counted."""
        known = self._counted
        return Losses(
            self._hot.dropped_count - known.dropped, self._hot.abandoned_count - known.abandoned
        )  # fmt: skip

    def _take(self) -> _Taken | None:
        try:
            batch = self._source.take(self._numbers.next())
        except (OSError, MemoryError):
            log.exception("records cannot be read now; they stay where they are and are tried again")
            time.sleep(CHECK_INTERVAL)
            return None
        if batch is None:
            return None
        extras = self._extras.put  # after the records were taken, or one of them could name what is not among these
        if self._on_batch is not None and not isinstance(batch, KeptBatch):
            try:
                self._on_batch(batch)
            except Exception:
                self._learner_errors += 1
                log.exception("learning from batch %d failed; it is written all the same", batch.batch)
        return _Taken(batch, extras)

    def _take_ahead(self) -> None:
        """Encode the next batch while Postgres works on this one."""
        if self._next is None and self._source.ahead:
            self._next = self._take()

    def _replay_candidates(self, rows: Sequence[Extra]) -> None:
        """Store what a process that died kept beside its records; the spool calls it on this thread."""
        for part in candidate_rows.in_parts(rows):
            self._replay_part(part)

    def _replay_part(self, part: Sequence[Extra]) -> None:
        number, smaller = self._numbers.next(), halves(part)
        write = functools.partial(candidate_log.store, origin=self._origin, number=number, rows=part)
        try:
            self._link.deliver(number, write, splits=len(smaller) > 1)
        except psycopg.Error as exc:  # refused, or too many at once
            if len(smaller) > 1:
                for half in smaller:
                    self._replay_part(half)
                return
            log.error("candidates of a process that died were refused and are left out: %s", exc)
