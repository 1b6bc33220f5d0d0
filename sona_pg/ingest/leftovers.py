"""Leftovers: files of processes of this machine that ended before their records were committed."""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from sona_pg.ingest import candidate_log, guessed_clock, kept_batches
from sona_pg.ingest.candidate_rows import Extra
from sona_pg.ingest.kept_batches import Batch
from sona_pg.ingest.spool_folder import SET_ASIDE, Folder
from sona_pg.recorder import HotPath

log = logging.getLogger("sona_pg.ingest")

LOOK_EVERY = 30.0  # seconds between looks
NO_RECORDS = ("lock", guessed_clock.FILE)


def left_over(spool: Path) -> tuple[dict[str, int], int]:
    """Return the bytes, by folder, that ended processes have left below ``spool``, and the number of damaged files.

    Changes nothing; folders of living processes, and those that this user may not read, are left out.
    """
    abandoned: dict[str, int] = {}
    for lock in spool.glob("*/*/lock"):
        folder = lock.parent
        if folder.name.startswith(".") or folder.name == SET_ASIDE:
            continue
        with suppress(OSError):
            files = [path for path in folder.iterdir() if path.is_file() and path.name not in NO_RECORDS]
            waiting = sum(path.stat().st_size for path in files)
            waiting -= _committed(folder, lock.read_text())
            if waiting > 0 and not _is_locked(lock):
                abandoned[str(folder)] = waiting
    return abandoned, sum(path.is_file() for path in spool.glob(f"*/{SET_ASIDE}/*"))


def _committed(folder: Path, progress: str) -> int:
    """Return the bytes of the current segment that are committed; earlier segments are deleted."""
    with suppress(ValueError):
        segment, offset = progress.split()
        return int(offset) if (folder / f"{int(segment):08d}").exists() else 0
    return 0


def _is_locked(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


class Leftovers:
    """Source of leftovers, folder by folder: candidates, encoded batches, then segments of records.

    Commit the result of ``candidates`` before calling ``take``: the records name these candidates.
    """

    def __init__(self, roots: Sequence[Path], hot: HotPath, space_id: int) -> None:
        """Search below ``roots``, which need not exist, for records like those of ``hot``."""
        self._roots = roots
        self._hot = hot
        self._space_id = space_id
        self._found: list[Folder] = []
        self._fresh = False  # whether the current folder's first batch is still to be read
        self._file: Path | None = None  # of the encoded batch that was taken last
        self._candidates: Path | None = None  # of the candidates that were returned last
        self._looked_at = -LOOK_EVERY
        self._unreadable: set[Path] = set()

    def __len__(self) -> int:
        return len(self._found)

    def look(self, own: Path | None = None) -> None:
        """Look for folders whose process has ended, except ``own``, unless that was done a moment ago."""
        if self._found or time.monotonic() - self._looked_at < LOOK_EVERY:
            return
        self._looked_at = time.monotonic()
        for root in self._roots:
            with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
                for path in sorted(root.iterdir()):
                    if path != own and path.name != SET_ASIDE and not path.name.startswith("."):
                        self._try(path)

    def _try(self, path: Path) -> None:
        try:
            folder = Folder(path, self._hot)
        except (BlockingIOError, FileNotFoundError, NotADirectoryError):  # it lives, or another process was faster
            return
        except OSError as exc:  # unreadable, such as another user's: it must not stop this process from recording
            if path not in self._unreadable:
                log.error("spool: %s cannot be read (%s): its records are not written", path, exc.strerror)
            self._unreadable.add(path)
            return
        log.info("spool: %s was left by a process that has ended", path)
        self._found.append(folder)
        self._fresh = True

    def candidates(self) -> list[Extra] | None:
        """Return the current folder's candidates and sets, one file at a time; None: all are committed."""
        if not self._found:
            return None
        folder = self._found[0]
        for path in candidate_log.files_in(folder.path):
            rows, end, follows = candidate_log.read(path)
            if follows == "torn":
                log.warning("spool: the last candidates of %s were cut off; they were never acknowledged", path)
            elif follows == "bad":
                folder.set_aside(path, end, "a wrong checksum")
            self._candidates = path
            return rows
        return None

    def candidates_committed(self) -> None:
        """Forget the candidates that were returned last."""
        if self._candidates is not None:
            self._candidates.unlink()
            self._candidates = None

    def take(self, batch: int) -> tuple[Batch, bool] | None:
        """Return the next batch and whether it may be committed already.

        Records not encoded yet get the number ``batch``. None: the current folder has no more.
        """
        if not self._found:
            return None
        folder = self._found[0]
        return self._take_kept(folder) or self._take_records(folder, batch)

    def committed(self) -> None:
        """Forget the records taken last."""
        file, self._file = self._file, None
        if file is None:
            self._found[0].advance()
            return
        try:
            file.unlink(missing_ok=True)
        except OSError as exc:  # it is read again later, and recognised as committed
            log.error("spool: %s cannot be deleted (%s)", file, exc.strerror)
            self.give_up()

    def give_up(self) -> None:
        """Skip the current folder, which cannot be read or emptied now, until the next look."""
        if self._found:
            self._found.pop(0).close()
            self._fresh = True

    def close(self) -> None:
        """Close the folders; the next process reads their remaining files."""
        for folder in self._found:
            folder.close()
        self._found = []

    def _take_kept(self, folder: Folder) -> tuple[Batch, bool] | None:
        for path in kept_batches.files_in(folder.path):
            batch = kept_batches.load(path)
            if batch is not None:
                self._file = path
                return batch, True
            folder.set_aside(path, 0, "a wrong checksum")
            path.unlink()
        return None

    def _take_records(self, folder: Folder, batch: int) -> tuple[Batch, bool] | None:
        segments = folder.segments()
        if not segments:
            folder.close()
            self._found.pop(0)
            self._fresh = True
            return None
        if folder.segment != segments[0]:
            folder.segment, folder.offset = segments[0], 0
        end = folder.file(folder.segment).stat().st_size
        encoded, follows = folder.read(batch, self._space_id, end)
        if encoded is not None:
            # The process may have died between COMMIT and noting it; only the first batch can be affected.
            may_repeat, self._fresh = self._fresh, False
            return encoded, may_repeat
        if follows == "torn" and segments[-1] == folder.segment:
            log.warning(
                "spool: the last record of %s was cut off by the end of its process; it was never acknowledged",
                folder.file(folder.segment),
            )
        elif follows != "end":
            why = "a record that ends too early" if follows == "torn" else "a wrong checksum"
            folder.set_aside(folder.file(folder.segment), folder.offset, why)
        folder.next_segment(folder.segment + 1)
        return None
