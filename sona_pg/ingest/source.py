"""Sources of records for the writer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sona_pg.ingest.candidate_rows import Extra
from sona_pg.ingest.kept_batches import Batch
from sona_pg.ingest.leftovers import Leftovers
from sona_pg.recorder import HotPath, SpoolFile

WORTH_IT = 1000  # records: a smaller rest is written with the next ones


class Source(Protocol):
    """Store of unwritten records: the ring in memory or the spool on disk."""

    left: Leftovers  # files of dead processes: written first

    @property
    def file(self) -> SpoolFile | None:
        """File that the hot path appends to; None: it queues in memory."""

    @property
    def may_repeat(self) -> bool:
        """Whether the batch taken last may have been committed by a process that died."""

    @property
    def recorded(self) -> int:
        """Records accepted since the beginning."""

    @property
    def urgent(self) -> bool:
        """Whether the backlog is too large to wait for the interval."""

    def look(self) -> None:
        """Look for leftovers, rate-limited."""

    def take_left(self, batch: int) -> Batch | None:
        """Return the next records of processes that died, or None if the current folder has none."""

    def take(self, batch: int) -> Batch | None:
        """Encode the oldest records of this process, or return None if there are none."""

    @property
    def ahead(self) -> bool:
        """Whether the backlog justifies taking a batch before the previous one is committed."""

    @property
    def done(self) -> int:
        """Number of accepted records that are committed, or were set aside as damaged."""

    def committed(self, batch: Batch) -> None:
        """Forget a batch, the oldest one taken."""

    def keep(self, extras: Sequence[Extra]) -> None:
        """Store candidates as durably as records, before they are queued. Raise StorageError if that fails."""

    def kept(self, n: int) -> None:
        """Forget the oldest ``n`` of them: they are committed, or were refused."""

    def close(self) -> None:
        """Give back files."""


class RingSource:
    """Source of the writer: leftovers on disk, then the ring."""

    def __init__(self, hot: HotPath, space_id: int, left: Leftovers, *, learn: bool) -> None:
        self.left = left
        self._of_others: Batch | None = None  # the batch of another process that was taken last
        self.file: SpoolFile | None = None
        self.may_repeat = False
        self._hot = hot
        self._space_id = space_id
        self._learn = learn
        self.done = hot.recorded_count - hot.waiting
        left.look()

    @property
    def recorded(self) -> int:
        return self._hot.recorded_count

    @property
    def urgent(self) -> bool:
        return 2 * self._hot.waiting >= self._hot.capacity

    @property
    def ahead(self) -> bool:
        return self._of_others is None and self._hot.waiting >= WORTH_IT

    def look(self) -> None:
        self.left.look()

    def take_left(self, batch: int) -> Batch | None:
        if (taken := self.left.take(batch)) is None:
            return None
        self._of_others, self.may_repeat = taken
        return self._of_others

    def take(self, batch: int) -> Batch | None:
        self.may_repeat = False
        return self._hot.drain(batch, self._space_id, learn=self._learn)

    def committed(self, batch: Batch) -> None:
        if batch is self._of_others:
            self._of_others = None
            self.left.committed()
        else:
            self.done += len(batch)

    def is_of_others(self, batch: Batch) -> bool:
        """Return whether the batch is from leftovers, which still have it."""
        return batch is self._of_others

    def keep(self, extras: Sequence[Extra]) -> None:
        pass

    def kept(self, n: int) -> None:
        pass

    def close(self) -> None:
        self.left.close()
