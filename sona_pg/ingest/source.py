"""Where the writer takes records from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sona_pg.ingest.candidate_rows import Extra
from sona_pg.ingest.kept_batches import Batch
from sona_pg.ingest.leftovers import Leftovers
from sona_pg.recorder import HotPath, SpoolFile

WORTH_IT = 1000  # records: fewer are written with those that come next


class Source(Protocol):
    """Where records wait: the ring in memory or the spool on disk."""

    left: Leftovers  # of processes that died: it goes first

    @property
    def file(self) -> SpoolFile | None:
        """Where the hot path appends; None: it queues."""

    @property
    def may_repeat(self) -> bool:
        """Whether the batch taken last may have been committed by a process that died."""

    @property
    def recorded(self) -> int:
        """Records accepted since the beginning."""

    @property
    def urgent(self) -> bool:
        """Whether so much waits that the interval should not be waited for."""

    def look(self) -> None:
        """Look for leftovers, unless that was done a moment ago."""

    def take_left(self, batch: int) -> Batch | None:
        """Return the next records of processes that died, or None if the folder at hand has none."""

    def take(self, batch: int) -> Batch | None:
        """Encode the oldest records of this process, or return None if there are none."""

    @property
    def ahead(self) -> bool:
        """Whether so much waits that a batch may be taken while the one before is not committed."""

    @property
    def done(self) -> int:
        """Of the records accepted, how many wait no longer: they are committed, or were set aside as damaged."""

    def committed(self, batch: Batch) -> None:
        """Forget a batch, the oldest one taken."""

    def keep(self, extras: Sequence[Extra]) -> None:
        """Keep candidates, before they are queued, as safely as records; StorageError if that cannot be done."""

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
        """Return whether a batch was taken from leftovers, where it still is."""
        return batch is self._of_others

    def keep(self, extras: Sequence[Extra]) -> None:
        pass

    def kept(self, n: int) -> None:
        pass

    def close(self) -> None:
        self.left.close()
