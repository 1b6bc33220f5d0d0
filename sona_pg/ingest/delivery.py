"""Delivery of batches, each record once: retries with a new number, in smaller parts, or without a refused row."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import psycopg
from psycopg.errors import LockNotAvailable, UndefinedTable
from sqlalchemy.exc import SQLAlchemyError

from sona_pg.ingest import commit
from sona_pg.ingest.commit import Losses, Origin, Rejected, Written
from sona_pg.ingest.kept_batches import Batch
from sona_pg.ingest.link import Link, Overdue, Turns
from sona_pg.ingest.numbers import BatchNumbers
from sona_pg.ingest.own_worker import Moved, OwnWorkers
from sona_pg.ingest.parts import Part
from sona_pg.ingest.refusals import NOT_SUPPORTED, is_content_error, is_too_long, state_of
from sona_pg.ingest.rejects import Rejects

log = logging.getLogger("sona_pg.ingest")

UNIQUE_VIOLATION = "23505"
MOST = 8192  # records of an encoded batch
GROW_AFTER = 8  # parts of the size that fits, until twice as much is tried
# Seconds: a transaction holds the server's row, for which its polls wait, so that longer ones are halved.
SLOW = 4.0


class Delivery:
    """Commits encoded batches of one space; one thread at a time calls it."""

    def __init__(
        self, link: Link, origin: Origin, numbers: BatchNumbers, rejected: Rejects, own_workers: OwnWorkers
    ) -> None:
        """Write over ``link``, or where there is one to the space's own worker; ``rejected`` keeps refused rows."""
        self._own_workers = own_workers
        self._link = link
        self._origin = origin
        self._numbers = numbers
        self._rejects = rejected
        self._fits: int | None = None  # records a transaction, after a larger one took too long; None: no limit
        self._fitted = 0  # parts of that size since it was found
        self._guarded = False  # whether row-level security was found to apply to this role

    def deliver(
        self, encoded: Batch, losses: Losses, *, careful: bool, meanwhile: Callable[[], None]
    ) -> Turns[Written]:  # fmt: skip
        """Commit the whole batch, in several transactions if need be, and return the counts of added rows.

        Args:
            encoded: the batch, with a number of ``numbers``.
            losses: counted in the same transaction.
            careful: some of it may have been committed by a process that died.
            meanwhile: called while the server works.

        Raises:
            DatabaseUnavailable: the link was abandoned.
            SpaceRemoved: the space is gone.
        """
        total = Written()
        pending = [Part.whole(encoded)]
        while pending:
            part = pending.pop()
            if self._fits is not None and len(part) > self._fits:
                pending += reversed(part.split(self._fits, self._numbers.next()))
                continue
            try:
                written = yield from self._deliver(part, losses, careful, meanwhile)
            except Overdue as exc:
                earlier = yield from self._before(part)
                if earlier is None:
                    self._shrink(part, exc)
                    pending.append(part)
                    continue
                written = earlier
            except psycopg.Error as exc:
                if not is_too_long(exc):
                    raise
                self._shrink(part, exc)
                pending.append(part)
                continue
            if written.taken:
                self._numbers.restart()
                pending.append(part.renumbered(self._numbers.next()))
                continue
            self._fit(part)
            total.add(written)
            total.rejected += written.rejected
            total.conflicting += written.conflicting
            if written.counted:
                losses, total.counted = Losses(), True
            if pending:
                yield 0.0
        return total

    def _deliver(self, part: Part, losses: Losses, careful: bool, meanwhile: Callable[[], None]) -> Turns[Written]:
        now = datetime.now(UTC)
        splits = len(part) > 1
        if not careful:
            try:
                written = self._directly(part, losses, now, meanwhile)
                if written is not None:
                    return written
                return (
                    yield from self._link.deliver(
                        part.number,
                        lambda raw: self._write(raw, part, losses, now, meanwhile),
                        splits=splits,
                    )
                )
            except psycopg.Error as exc:
                if is_too_long(exc):
                    raise
                if state_of(exc) == UNIQUE_VIOLATION:  # recorded again under the caller's own ids
                    log.info("batch %d has rows that are stored already: only the others are added", part.number)
                else:
                    log.warning("batch %d was refused (%s); looking for the rows that are wrong", part.number, exc)

        conflicting: list[UUID] = []
        rejected: list[Rejected] = []  # survive an attempt whose commit only the next one discovers

        def carefully(raw: psycopg.Connection[object]) -> Written:
            written = commit.write_carefully(raw, self._origin, part, losses, now)
            if not written.already:
                conflicting[:] = written.conflicting
            if written.rejected:
                rejected[:] = written.rejected
                self._rejects.keep(part.number, rejected, now)
            return written

        written = yield from self._link.deliver(part.number, carefully, splits=splits)
        return replace(written, rejected=rejected, conflicting=conflicting)

    def _directly(self, part: Part, losses: Losses, now: datetime, meanwhile: Callable[[], None]) -> Written | None:
        """Write a part to the space's own worker of Citus; None if it is to go through the coordinator."""
        if self._guarded or (part.encoded.sequence_given and part.feedback_count):
            return None
        space, way = self._origin.space_id, None
        try:
            way = self._own_workers.way(self._link.attempts, space)
            if way is None or way.attempts.away_for:
                return None
            over = way
            written = self._link.once(
                way.attempts,
                lambda raw: commit.write(raw, self._origin, part, losses, now, meanwhile, way=over),
            )
        except (Moved, UndefinedTable):
            self._own_workers.forget(space)
            return None
        except (psycopg.Error, SQLAlchemyError, OSError) as exc:
            if is_content_error(exc) or (is_too_long(exc) and len(part) > 1):
                raise  # a single record cannot be halved: it waits on the usual way
            if way is not None and not isinstance(exc, LockNotAvailable):
                self._own_workers.avoid(way, exc)
            return None
        if part.encoded.judged and not written.already and not written.taken:
            self._announce(part)
        return written

    def _announce(self, part: Part) -> None:
        """Tell other servers of what was judged in a committed part; one that is not told polls."""
        try:
            self._link.once(self._link.attempts, lambda raw: commit.announce(raw, self._origin, part))
        except (psycopg.Error, SQLAlchemyError, OSError) as exc:
            log.info("batch %d was not announced, other servers learn of it by polling: %s", part.number, exc)

    def _write(
        self,
        raw: psycopg.Connection[object],
        part: Part,
        losses: Losses,
        now: datetime,
        meanwhile: Callable[[], None],
    ) -> Written:
        if not self._guarded:
            try:
                return commit.write(raw, self._origin, part, losses, now, meanwhile)
            except psycopg.Error as exc:
                if state_of(exc) != NOT_SUPPORTED:
                    raise
                log.info("space %s is written through temporary tables: %s", self._origin.space, exc)
                self._guarded = True
                raw.rollback()
        return commit.write(raw, self._origin, part, losses, now, meanwhile, guarded=True)

    def _before(self, part: Part) -> Turns[Written | None]:
        """Return what an overdue attempt has committed after all, or None."""
        now = datetime.now(UTC)
        return (
            yield from self._link.deliver(
                part.number, lambda raw: commit.committed_before(raw, self._origin, part, now)
            )
        )

    def _shrink(self, part: Part, exc: psycopg.Error | Overdue) -> None:
        if self._fits is None:
            log.warning(
                "a transaction of %d records took too long (%s): they are written in smaller parts; a longer "
                "statement_timeout of this role helps where that ended it", len(part), exc
            )  # fmt: skip
        self._fits, self._fitted = len(part) // 2, 0

    def _fit(self, part: Part) -> None:
        """Halve the size after a slow part, and double it after some quick ones: a lock, or load, may have passed."""
        if self._link.took > SLOW and len(part) > 1:
            self._fits, self._fitted = len(part) // 2, 0
        if self._fits is None or 2 * len(part) < self._fits or self._link.took > SLOW / 2:
            return
        self._fitted += 1
        if self._fitted == GROW_AFTER:
            self._fits, self._fitted = 2 * self._fits, 0
            if self._fits > MOST:
                self._fits = None
