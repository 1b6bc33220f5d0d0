"""Single records that exceed the time limits: they wait in files, so that the others are stored, and are tried again.

Each has a folder of its own among the leftovers, where a later process of this machine finds it too.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path

from sona_pg.ingest import kept_batches
from sona_pg.ingest.kept_batches import KeptBatch
from sona_pg.ingest.spool_folder import Folder
from sona_pg.recorder import HotPath

log = logging.getLogger("sona_pg.ingest")

MOST = 16  # more are slowed by the server rather than by their contents: the batch waits for it, as in an outage
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 300.0  # seconds until one of them is tried again, doubled by each failure


class Postponed:
    """Files of records that took too long alone; one thread at a time calls it.

    An attempt that fails puts off all of them, so that few turns are spent on records that may never be stored.
    """

    def __init__(self, roots: Sequence[Path], hot: HotPath) -> None:
        """Make folders below the first of ``roots`` for records of ``hot``."""
        self.waiting = 0  # records of this process; any thread may read it
        self._roots = roots
        self._hot = hot
        self._files: dict[Path, bool] = {}  # whether the record is of this process
        self._due = 0.0  # monotonic seconds
        self._pause = FIRST_PAUSE
        self._failed = False  # whether the disk refused the last file

    def keep(self, record: KeptBatch, why: str, *, own: bool) -> bool:
        """Write a record of this process (``own``) or of another to a file; return False if there is no room for it."""
        if len(self._files) >= MOST:
            return False
        try:
            path = self._save(record)
        except OSError as exc:
            if not self._failed:
                log.error(
                    "%s took too long alone, and holds up the others: no file can be made (%s)", record.named, exc
                )
            self._failed = True
            return False
        self._failed = False
        log.warning(
            "%s took too long alone (%s): it waits in %s and is tried again, the others are stored; look at what slows "
            "its insertion down, or give this role a longer statement_timeout", record.named, why, path
        )  # fmt: skip
        self._put_off(path, own=own)
        return True

    def put_off_again(self, path: Path) -> None:
        """Leave a file that took too long this time too."""
        self._put_off(path, own=self._files.pop(path, False))

    def stored(self, path: Path) -> None:
        """Forget a file whose record is committed; the others may be tried at once."""
        if self._files.pop(path, None) is not None:
            self._pause, self._due = FIRST_PAUSE, 0.0
            self._count()

    def is_due(self, now: float) -> bool:
        """Whether there are files to try again."""
        return bool(self._files) and now >= self._due

    def holds_back(self, path: Path) -> bool:
        """Whether a file is to be left alone for now."""
        return path in self._files and time.monotonic() < self._due

    def forget_gone(self) -> None:
        """Forget files whose records another process has committed."""
        for path in [path for path in self._files if not path.exists()]:
            del self._files[path]
        self._count()

    def _save(self, record: KeptBatch) -> Path:
        folder = Folder.make(self._roots[0], self._hot)
        try:
            return kept_batches.save(folder.path, record)
        finally:
            folder.close()

    def _put_off(self, path: Path, *, own: bool) -> None:
        self._files[path] = own
        self._due = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
        self._count()

    def _count(self) -> None:
        self.waiting = sum(self._files.values())
