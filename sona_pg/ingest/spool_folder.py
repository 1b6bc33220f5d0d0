"""The folder of one process in a spool: segments of records, their candidates, and the committed position."""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

from sona_pg.ingest import candidate_log, guessed_clock, kept_batches
from sona_pg.ingest.descriptors import close_here, open_here
from sona_pg.ingest.keeping import prune
from sona_pg.recorder import EncodedBatch, HotPath, encode_frames

log = logging.getLogger("sona_pg.ingest")

SEGMENT_BYTES = 8 << 20
CHUNK_BYTES = 8 << 20  # bytes read at once, and written to Postgres as one batch
SET_ASIDE = "set-aside"
SET_ASIDE_BYTES = 32 * SEGMENT_BYTES  # enough for inspection of a damaged disk


class Folder:
    """Segments of one process, read from the last committed position; an open folder holds its lock.

    Raises:
        BlockingIOError: its process lives.
    """

    def __init__(self, path: Path, hot: HotPath, *, create: bool = False) -> None:
        """Open it, of records like those of ``hot``; ``create`` makes the one in which ``hot`` records."""
        self.path = path
        self._hot = hot
        self._is_own = create
        self._correction: int | None = None  # of its times; None until known
        self._lock = open_here(path / "lock", os.O_RDWR | (os.O_CREAT | os.O_EXCL if create else 0))
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            close_here(self._lock)
            raise
        self.segment, self.offset = self._progress()
        self._save()  # reserves its bytes on the disk now
        self._used = 0
        self.records = 0  # in the batch read last

    @classmethod
    def make(cls, root: Path, hot: HotPath) -> Self:
        """Make a folder below ``root`` for the records of ``hot``; its name is hidden until it is locked."""
        name = f"{time.time_ns() // 1_000_000}-{os.getpid()}-{secrets.token_hex(4)}"
        hidden = root / f".{name}"
        hidden.mkdir(parents=True, mode=0o700)
        folder = cls(hidden, hot, create=True)
        guessed_clock.write_down(hidden, hot)
        folder.path = hidden.rename(root / name)
        return folder

    def segments(self) -> list[int]:
        """Numbers of the existing segments, oldest first."""
        with suppress(FileNotFoundError):  # another process was faster
            return sorted(int(name) for name in os.listdir(self.path) if name.isdigit())
        return []

    def file(self, segment: int) -> Path:
        return self.path / f"{segment:08d}"

    def read(self, batch: int, space_id: int, end: int) -> tuple[EncodedBatch | None, str]:
        """Encode the next records up to the byte ``end`` of the segment; return how they end as well."""
        if self._correction is None:
            self._correction = guessed_clock.correction_in(self.path, self._hot, own=self._is_own)
        size, correction = CHUNK_BYTES, self._correction or 0
        while True:
            with open(self.file(self.segment), "rb", buffering=0) as stream:
                data = os.pread(stream.fileno(), min(size, end - self.offset), self.offset)
            whole = self.offset + len(data) == end
            encoded, self._used, self.records, follows = encode_frames(
                data, self._hot.dim, batch, space_id, correction=correction
            )
            if encoded is None and follows == "torn" and not whole and len(data) == size:
                size *= 2  # a record larger than the chunk
                continue
            return encoded, "more" if follows == "torn" and not whole else follows

    def advance(self) -> None:
        """Move past the batch read last: it is committed."""
        self.offset += self._used
        self._used = 0
        self._save()

    def next_segment(self, segment: int) -> None:
        """Delete the segment, whose records are committed, and go on with another."""
        with suppress(FileNotFoundError):
            self.file(self.segment).unlink()
        self.segment, self.offset, self._used = segment, 0, 0
        self._save()

    def set_aside(self, file: Path, at: int, why: str) -> None:
        """Move a file to the folder that is never replayed, bounded by ``SET_ASIDE_BYTES``."""
        folder = self.path.parent / SET_ASIDE
        folder.mkdir(exist_ok=True)
        target = folder / f"{self.path.name}-{file.name}"
        with suppress(FileExistsError):
            os.link(file, target)
        log.error(
            "spool: %s is damaged at byte %d (%s): the records before it are written, the file is kept in %s",
            file, at, why, target,
        )  # fmt: skip
        prune(folder, SET_ASIDE_BYTES)

    def close(self, *, delete: bool = True) -> None:
        """Release the lock; with ``delete``, remove the folder if it is empty."""
        if delete and not (self.segments() or candidate_log.files_in(self.path) or kept_batches.files_in(self.path)):
            with suppress(OSError):
                guessed_clock.forget(self.path)
                (self.path / "lock").unlink()
                self.path.rmdir()
        close_here(self._lock)

    def _progress(self) -> tuple[int, int]:
        try:
            segment, offset = os.pread(self._lock, 64, 0).split()
            return int(segment), int(offset)
        except ValueError:
            return 1, 0

    def _save(self) -> None:
        with suppress(OSError):  # a full disk: an unsaved position only means a replay, which adds nothing
            os.pwrite(self._lock, b"%012d %016d\n" % (self.segment, self.offset), 0)
