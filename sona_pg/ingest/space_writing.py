"""Writing of one space by a thread of the pool: takes records and commits them, in turns."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from sona_pg.config import IngestConfig
from sona_pg.errors import DatabaseUnavailable, SpaceRemoved
from sona_pg.ingest.commit import Losses
from sona_pg.ingest.delivery import Delivery
from sona_pg.ingest.extras import Extras
from sona_pg.ingest.kept_batches import Batch, KeptBatch
from sona_pg.ingest.leftovers import LOOK_EVERY
from sona_pg.ingest.link import Link, Turns
from sona_pg.ingest.numbers import BatchNumbers
from sona_pg.ingest.progress import Progress
from sona_pg.ingest.rejects import Rejects
from sona_pg.ingest.source import Source
from sona_pg.ingest.wakeups import Happening
from sona_pg.recorder import EncodedBatch, HotPath

log = logging.getLogger("sona_pg.ingest")

WARN_EVERY = 10.0  # seconds between two warnings of refused records
READ_AGAIN = 0.5  # seconds until records that could not be read are tried again


@dataclass(frozen=True, slots=True, eq=False)
class Taken:
    """A batch, and the mark up to which extras must be stored before it: its records name some of them."""

    batch: Batch
    extras: int


@dataclass(frozen=True, slots=True)
class Parts:
    """Parts of a service, all of one space."""

    hot: HotPath
    source: Source
    extras: Extras
    delivery: Delivery
    link: Link
    numbers: BatchNumbers
    rejects: Rejects
    progress: Progress


class Service:
    """Serves one space in turns of about one transaction; between two of them no transaction is open.

    Any thread may take the next turn, one at a time. A failure affects this space alone: it pauses, or ends.
    """

    __slots__ = (
        "_config", "_look_at", "_on_batch", "_parts", "_recorded", "_serving", "_steps", "_warn_again",
        "_warn_of_conflicts", "finished", "in_turn", "interval", "recorder", "space", "taken_ahead", "writing",
    )  # fmt: skip

    def __init__(
        self, parts: Parts, config: IngestConfig, space: str, on_batch: Callable[[EncodedBatch], None] | None
    ) -> None:
        """Serve the space named ``space`` in errors; ``on_batch`` is called with each batch once it is encoded."""
        self.space = space
        self.interval = config.flush_interval
        self.recorder = parts.hot
        self.in_turn = False
        self.finished = Happening()  # nothing is written any more
        self.writing: Taken | None = None  # until it is committed
        self.taken_ahead: Taken | None = None  # encoded while the one before is written
        self._parts = parts
        self._config = config
        self._on_batch = on_batch
        self._serving = threading.Lock()  # held during a turn, and for ever once the service has ended
        self._steps: Turns[None] | None = None  # continued in the next turn
        self._look_at = time.monotonic() + LOOK_EVERY  # the source looked for leftovers when it was made
        self._warn_again = self._warn_of_conflicts = 0.0
        self._recorded = 0  # at the last look
        parts.hot.settle(parts.progress.done)

    # -- for the rotation -----------------------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        """Whether there will be no other turn."""
        return self._parts.progress.ended

    def has_chores(self, now: float) -> bool:
        """Whether leftovers and memory are due for a check."""
        return now >= self._look_at

    @property
    def urgent(self) -> bool:
        """Whether the space is served before others: a caller waits, or its buffer fills up."""
        parts = self._parts
        if parts.progress.closing or parts.source.urgent:
            return True
        return parts.progress.waiters > 0 and self._has_unwritten

    @property
    def goes_on(self) -> bool:
        """Whether the next turn must come before the interval is over."""
        return bool(self._parts.source.left) or self.urgent

    @property
    def waiting(self) -> int:
        """Records accepted and not committed yet."""
        return self._parts.source.recorded - self._parts.progress.done

    def turn(self) -> float | None:
        """Do about one transaction; return the pause in seconds until the next, or None if nothing is left to do.

        Does nothing while another thread has a turn, and after the service has ended.
        """
        if not self._serving.acquire(blocking=False):
            return None
        self.in_turn = True
        try:
            return None if self.ended else self._advance()
        finally:
            self.in_turn = False
            self._serving.release()

    def end(self) -> None:
        """End the service permanently, after the running transaction."""
        self._serving.acquire()
        if self._steps is not None:
            self._steps.close()
        self._set_ended()

    # -- turns ----------------------------------------------------------------------------------------------

    def _advance(self) -> float | None:
        parts = self._parts
        self._note_age()
        try:
            self._steps = self._steps or self._write_all()
            return next(self._steps)
        except StopIteration:
            self._steps = None
            if not parts.progress.closing or self._has_unwritten:
                return None
        except DatabaseUnavailable as exc:
            log.info("the writer of space %s ends: %s", self.space, exc)
        except SpaceRemoved as exc:
            log.error("the writer of space %s ends: %s", self.space, exc)
            parts.hot.refuse_records(str(exc))
            parts.progress.removed = exc
        except Exception:  # other spaces are served by this thread
            log.exception("the writer of space %s ends by a mistake of its own; nothing more is written", self.space)
            parts.hot.refuse_records()
        self._set_ended()
        return None

    def _set_ended(self) -> None:
        progress = self._parts.progress
        with progress.changed:
            progress.ended = True
            progress.changed.notify_all()
        self.finished.set()

    def _write_all(self) -> Turns[None]:
        """Write until the remaining records may wait for the interval."""
        while True:
            self._parts.rejects.retry()
            yield from self._write_next()
            if not (self._has_unwritten if self._parts.progress.closing else self.goes_on):
                return
            yield 0.0

    def _look(self) -> None:
        """Look for leftovers of other processes; release the memory of a past burst."""
        self._look_at = time.monotonic() + LOOK_EVERY
        recorded = self._parts.source.recorded
        if recorded == self._recorded:
            self._parts.hot.trim()
        self._recorded = recorded
        self._parts.source.look()

    @property
    def _has_unwritten(self) -> bool:
        parts = self._parts
        return self.waiting > 0 or bool(parts.extras) or bool(parts.source.left)

    def _write_next(self) -> Turns[None]:
        parts, progress = self._parts, self._parts.progress
        # Set at once: records out of the buffer must be found if storing their candidates is abandoned.
        if self.taken_ahead is not None:
            self.writing, self.taken_ahead = self.taken_ahead, None
        else:
            yield from self._take_next()
        taken = self.writing
        yield from parts.extras.store(parts.extras.put if taken is None else taken.extras)
        if taken is None:
            self._settle()  # a backlog may have ended, or damaged records were set aside
            return
        batch, losses = taken.batch, self._losses()
        if losses.dropped:
            self._say_dropped(losses.dropped)
        # Feedback with sequences given by the caller may arrive twice: it is checked even without a replay.
        written = yield from parts.delivery.deliver(
            batch, losses, careful=parts.source.may_repeat, meanwhile=self._take_ahead
        )
        if written.conflicting:
            self._say_conflicting(written.conflicting)
        with progress.changed:
            if written.counted:
                before = progress.counted
                progress.counted = Losses(before.dropped + losses.dropped, before.abandoned + losses.abandoned)
            progress.total.add(written)
            progress.batches += 1
            progress.rejected += len(written.rejected)
            progress.conflicting += len(written.conflicting)
            if self._config.durability == "sync":
                progress.refused.update(
                    {row.name.bytes: row.reason for row in written.rejected if isinstance(row.name, UUID)}
                )
            progress.last_commit = datetime.now(UTC)
            parts.source.committed(batch)
            self.writing = None
            self._settle()

    def _settle(self) -> None:
        progress = self._parts.progress
        with progress.changed:
            progress.done = self._parts.source.done
            self._parts.hot.settle(progress.done)
            self._note_age()
            progress.changed.notify_all()

    def _note_age(self) -> None:
        progress = self._parts.progress
        with progress.changed:
            progress.age.note(self._parts.source.recorded, progress.done, time.monotonic())

    def _take_next(self) -> Turns[None]:
        """Take the oldest records, leftovers first, after storing the candidates that leftovers name."""
        left = self._parts.source.left
        try:
            if time.monotonic() >= self._look_at:
                self._look()
            while (rows := left.candidates()) is not None:
                yield from self._parts.extras.replay(rows)
                left.candidates_committed()
            self.writing = self._take(self._parts.source.take_left) or self._take(self._parts.source.take)
        except (OSError, MemoryError):
            log.exception("records cannot be read now; they stay where they are and are tried again")
            left.give_up()
            yield READ_AGAIN

    def _take(self, take: Callable[[int], Batch | None]) -> Taken | None:
        batch = take(self._parts.numbers.next())
        if batch is None:
            return None
        # Read after the batch was taken: else a record could name an extra beyond the mark.
        extras = self._parts.extras.put
        if self._on_batch is not None and not isinstance(batch, KeptBatch):
            try:
                self._on_batch(batch)
            except Exception:
                self._parts.progress.learner_errors += 1
                log.exception("learning from batch %d failed; it is written all the same", batch.batch)
        return Taken(batch, extras)

    def _take_ahead(self) -> None:
        """Encode the next batch while Postgres works on this one."""
        if self.taken_ahead is None and self._parts.source.ahead:
            try:
                self.taken_ahead = self._take(self._parts.source.take)
            except MemoryError:
                log.warning("not enough memory to encode the next batch ahead: it is encoded after this one is written")

    def _losses(self) -> Losses:
        """Return the number of records lost since the last count."""
        known, hot = self._parts.progress.counted, self._parts.hot
        return Losses(hot.dropped_count - known.dropped, hot.abandoned_count - known.abandoned)

    def _say_dropped(self, dropped: int) -> None:
        """Warn, rate-limited, of dropped records; ``dropped_count`` counts them all."""
        now = time.monotonic()
        if now >= self._warn_again:
            self._warn_again = now + WARN_EVERY
            log.warning(
                "the buffer of %d records was full: %d were refused; record more slowly, raise IngestConfig.capacity, "
                "use when_full='wait', or durability 'sync' or 'spool'", self._parts.hot.capacity, dropped
            )  # fmt: skip

    def _say_conflicting(self, ids: Sequence[UUID]) -> None:
        """Warn, rate-limited, of trajectories whose ids are stored with other contents; the counter has them all."""
        now = time.monotonic()
        if now >= self._warn_of_conflicts:
            self._warn_of_conflicts = now + WARN_EVERY
            log.warning(
                "trajectories recorded again with other contents, which are not stored: %d, such as %s; give each "
                "interaction an id of its own, and record what is learned of it later as feedback", len(ids), ids[0]
            )  # fmt: skip
