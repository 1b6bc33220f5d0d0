"""The spool: records in files until Postgres has them.

    <home>/spool/<space>/<process>/lock       locked while the process lives; holds how far it has committed
                                   00000001   segments: frames of a length, a checksum and a record
                                   candidates-00000001    candidates and sets: see candidate_log.py
                                   batch-<number>         encoded but uncommitted: see kept_batches.py
                                   clock       what its times are worth: see guessed_clock.py
    <home>/spool/<space>/set-aside/           segments with an unreadable frame, kept for inspection
    <home>/spool/pending-<digest>/            the same, for engines opened without their database

A record is in the page cache when ``end_trajectory`` returns, so it survives the death of the process, not that of
the machine. The next process that opens the space on this machine writes the files of a dead one.

A forked child makes a folder of its own: it neither reads nor writes its parent's, which stays in use.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Sequence
from pathlib import Path

from sona_pg.errors import StorageError
from sona_pg.ingest import kept_batches
from sona_pg.ingest.candidate_log import CandidateLog
from sona_pg.ingest.candidate_rows import Extra
from sona_pg.ingest.kept_batches import Batch
from sona_pg.ingest.leftovers import Leftovers
from sona_pg.ingest.spool_folder import SEGMENT_BYTES, Folder
from sona_pg.recorder import HotPath, SpoolFile

_open_spools: weakref.WeakSet[SpoolSource] = weakref.WeakSet()


def _let_go_in_child() -> None:
    """Close the child's copies of the segments, which would keep a deleted file's space on the disk."""
    for spool in list(_open_spools):
        spool.file.let_go()


os.register_at_fork(after_in_child=_let_go_in_child)


class SpoolSource:
    """Source of records in files: first leftovers, then this process's own."""

    def __init__(self, hot: HotPath, root: Path) -> None:
        """Make a folder for this process below ``root``; ``begin`` gives the space.

        Raises:
            StorageError: the folder cannot be made.
        """
        self.may_repeat = False
        self._own = own_folder(root, hot)
        self.file = SpoolFile(str(self._own.path), SEGMENT_BYTES)
        self._candidates = CandidateLog(self._own.path)
        self.done = 0
        self._space_id = 0
        self.left = Leftovers([], hot, 0)
        self._of_others: Batch | None = None  # the batch of another process that was taken last
        _open_spools.add(self)

    def begin(self, space_id: int, left: Leftovers) -> None:
        """Write into a space; its leftovers ``left`` come first."""
        self._space_id = space_id
        self.left = left
        self.look()

    @property
    def recorded(self) -> int:
        return self.file.appended

    @property
    def urgent(self) -> bool:
        return self.file.appended - self.done >= 4096

    def look(self) -> None:
        self.left.look(self._own.path)

    def take_left(self, batch: int) -> Batch | None:
        if (taken := self.left.take(batch)) is None:
            return None
        self._of_others, self.may_repeat = taken
        return self._of_others

    def take(self, batch: int) -> Batch | None:
        self.may_repeat = False
        while True:
            current, size, appended = self.file.position()
            end, records = self.file.ended(self._own.segment) or (size, appended)
            if self._own.segment <= current and self._own.offset < end:
                encoded, follows = self._own.read(batch, self._space_id, end)
                if encoded is not None:
                    return encoded
                # bytes that we wrote are unreadable now
                self._own.set_aside(self._own.file(self._own.segment), self._own.offset, follows)
                self._own.offset, self.done = end, records
            elif self._own.segment < current:
                self._own.next_segment(self._own.segment + 1)
            else:
                return None

    @property
    def ahead(self) -> bool:
        return False  # one saved position suffices

    def committed(self, batch: Batch) -> None:
        if batch is self._of_others:
            self._of_others = None
            self.left.committed()
        else:
            self._own.advance()
            self.done += self._own.records

    def keep(self, extras: Sequence[Extra]) -> None:
        """Write candidates to a file, before a record names them; StorageError if that cannot be done."""
        self._candidates.append(extras)

    def kept(self, n: int) -> None:
        """Forget the oldest ``n`` candidates of ``keep``: they are committed."""
        self._candidates.committed(n)

    def close(self) -> None:
        """Close the files, and delete the fully committed ones."""
        _open_spools.discard(self)
        self.file.seal()
        self._candidates.close()
        if self.file.appended == self.done:
            for number in self._own.segments():
                self._own.file(number).unlink()
        self._own.close()
        self.left.close()


def own_folder(root: Path, hot: HotPath) -> Folder:
    """Make the folder of this process, for the records of ``hot``, below ``root``.

    Raises:
        StorageError: it cannot be made.
    """
    try:
        return Folder.make(root, hot)
    except OSError as exc:
        raise StorageError(
            f"the spool in {root} cannot be used ({exc.strerror}): "
            "make the folder writable, or set SONA_PG_HOME to another one"
        ) from exc


def spill(hot: HotPath, root: Path, batches: Sequence[Batch], extras: Sequence[Extra]) -> int:
    """Write the records in memory to files, for the next process to commit; return their number.

    Args:
        hot: the recorder whose buffer is emptied; it takes no more records.
        root: the folder where other processes look.
        batches: taken from the buffer earlier, and perhaps uncommitted.
        extras: candidates and sets that records name.

    Raises:
        StorageError: it cannot be written.
    """
    folder = own_folder(root, hot)
    file, candidates = SpoolFile(str(folder.path), SEGMENT_BYTES), CandidateLog(folder.path)
    try:
        if extras:
            candidates.append(extras)
        for batch in batches:
            kept_batches.save(folder.path, batch)
        return hot.spill(file) + sum(map(len, batches))
    except OSError as exc:
        raise StorageError(
            f"the records in memory cannot be written to {root} ({exc.strerror}): make it writable, or make room"
        ) from exc
    finally:
        file.seal()
        candidates.close()
        folder.close(delete=False)
