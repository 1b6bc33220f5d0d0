"""The spool: records in files until Postgres has them.

    <home>/spool/<space>/<process>/lock       locked while the process lives; holds how far it has committed
                                   00000001   segments: frames of a length, a checksum and a record
                                   candidates-00000001    what records name: see candidate_log.py
    <home>/spool/<space>/set-aside/           segments with a frame that cannot be read, kept for a look

A record is in the page cache when ``end_trajectory`` returns, so it survives the death of the process, not that of
the machine. What a dead process left is written by the next one that opens the space on this machine.

A forked child makes a folder of its own: it neither reads nor writes its parent's, which the parent goes on with.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from sona_pg.errors import StorageError
from sona_pg.ingest import candidate_log
from sona_pg.ingest.candidate_log import CandidateLog
from sona_pg.ingest.candidates import Extra
from sona_pg.ingest.descriptors import close_here, open_here
from sona_pg.ingest.keeping import prune
from sona_pg.kernels import EncodedBatch, HotPath, SpoolFile, encode_frames

log = logging.getLogger("sona_pg.ingest")

SEGMENT_BYTES = 8 << 20
CHUNK_BYTES = 8 << 20  # read, and written to Postgres, at once
LOOK_EVERY = 30.0  # seconds between looks for what other processes left
SET_ASIDE = "set-aside"
SET_ASIDE_BYTES = 32 * SEGMENT_BYTES  # a disk that damages more than this has been noticed

_open_spools: weakref.WeakSet[SpoolSource] = weakref.WeakSet()


def _let_go_in_child() -> None:
    """Close the child's copies of the segments, which would keep a deleted file's space on the disk."""
    for spool in list(_open_spools):
        spool.file.let_go()


os.register_at_fork(after_in_child=_let_go_in_child)


class Folder:
    """The segments of one process, read from where it stopped; whoever has it open holds its lock.

    Raises:
        BlockingIOError: its process lives.
    """

    def __init__(self, path: Path, dim: int, *, create: bool = False) -> None:
        self.path = path
        self._dim = dim
        self._lock = open_here(path / "lock", os.O_RDWR | (os.O_CREAT | os.O_EXCL if create else 0))
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            close_here(self._lock)
            raise
        self.segment, self.offset = self._progress()
        self._save()  # takes its space on the disk while there is some
        self._used = 0
        self.records = 0  # in the batch read last

    def segments(self) -> list[int]:
        """The numbers of the segments that are there, oldest first."""
        with suppress(FileNotFoundError):  # another process was faster
            return sorted(int(name) for name in os.listdir(self.path) if name.isdigit())
        return []

    def file(self, segment: int) -> Path:
        return self.path / f"{segment:08d}"

    def read(self, batch: int, space_id: int, end: int) -> tuple[EncodedBatch | None, str]:
        """Encode the next records up to the byte ``end`` of the segment; say what follows them there."""
        size = CHUNK_BYTES
        while True:
            with open(self.file(self.segment), "rb", buffering=0) as stream:
                data = os.pread(stream.fileno(), min(size, end - self.offset), self.offset)
            whole = self.offset + len(data) == end
            encoded, self._used, self.records, follows = encode_frames(data, self._dim, batch, space_id)
            if encoded is None and follows == "torn" and not whole and len(data) == size:
                size *= 2  # a record that is larger than what was read
                continue
            return encoded, "more" if follows == "torn" and not whole else follows

    def advance(self) -> None:
        """Forget what was read last: it is committed."""
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
        """Keep a file where nobody replays it, within ``SET_ASIDE_BYTES``."""
        folder = self.path.parent / SET_ASIDE
        folder.mkdir(exist_ok=True)
        target = folder / f"{self.path.name}-{file.name}"
        with suppress(FileExistsError):
            os.link(file, target)
        log.error(
            "spool: %s is damaged at byte %d (%s): what comes before is written, the file is kept in %s",
            file, at, why, target,
        )  # fmt: skip
        prune(folder, SET_ASIDE_BYTES)

    def close(self, *, delete: bool = True) -> None:
        """Give the lock back; the folder goes, with ``delete``, if nothing is left in it."""
        if delete and not self.segments() and not candidate_log.files_in(self.path):
            with suppress(OSError):
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
        with suppress(OSError):  # a full disk; what is not noted is written again, and found to be there
            os.pwrite(self._lock, b"%012d %016d\n" % (self.segment, self.offset), 0)


class SpoolSource:
    """Feeds the writer from the spool: first what dead processes left, then what this one appends."""

    def __init__(
        self, hot: HotPath, home: Path, space_id: int, space_name: str, replay: Callable[[Sequence[Extra]], None]
    ) -> None:  # fmt: skip
        """Make a folder for this process below ``home``; ``replay`` commits candidates that another one left."""
        self.may_repeat = False
        self._space_id = space_id
        self._dim = hot.dim
        self._root = home.absolute() / "spool" / space_name
        self._replay = replay
        try:
            self._own = self._own_folder()
        except OSError as exc:
            raise StorageError(
                f"the spool in {self._root} cannot be used ({exc.strerror}): "
                "make the folder writable, or set SONA_PG_HOME to another one"
            ) from exc
        self.file = SpoolFile(str(self._own.path), SEGMENT_BYTES)
        self._candidates = CandidateLog(self._own.path)
        self.done = 0
        self._left: list[Folder] = []
        self._fresh = False  # whether the first batch of the folder at hand is still to be read
        self._reading: Folder = self._own
        self._looked_at = 0.0
        _open_spools.add(self)
        self._look_for_left()

    @property
    def recorded(self) -> int:
        return self.file.appended

    @property
    def urgent(self) -> bool:
        return bool(self._left) or self.file.appended - self.done >= 4096

    @property
    def backlog(self) -> bool:
        """Whether records of processes that died still wait."""
        return bool(self._left)

    def take(self, batch: int) -> EncodedBatch | None:
        if not self._left and time.monotonic() - self._looked_at > LOOK_EVERY:
            self._look_for_left()
        while self._left:
            encoded = self._take_left(batch)
            if encoded is not None:
                return encoded
        return self._take_own(batch)

    @property
    def ahead(self) -> bool:
        return False  # one place to go back to is enough

    def committed(self, batch: EncodedBatch) -> None:
        self._reading.advance()
        if self._reading is self._own:
            self.done += self._own.records

    def keep(self, extras: Sequence[Extra]) -> None:
        """Write candidates to a file, before a record names them; StorageError if that cannot be done."""
        self._candidates.append(extras)

    def kept(self, n: int) -> None:
        """Forget the oldest ``n`` of what ``keep`` was given: it is committed."""
        self._candidates.committed(n)

    def close(self) -> None:
        """Close the files, and delete what is committed whole."""
        _open_spools.discard(self)
        self.file.seal()
        self._candidates.close()
        if self.file.appended == self.done:
            for number in self._own.segments():
                self._own.file(number).unlink()
        for folder in (self._own, *self._left):
            folder.close()
        self._left = []

    # -- this process' own records ----------------------------------------------------------------------------

    def _own_folder(self) -> Folder:
        """Make the folder under a name that nobody looks at until it is locked."""
        name = f"{time.time_ns() // 1_000_000}-{os.getpid()}-{secrets.token_hex(4)}"
        hidden = self._root / f".{name}"
        hidden.mkdir(parents=True, mode=0o700)
        folder = Folder(hidden, self._dim, create=True)
        folder.path = hidden.rename(self._root / name)
        return folder

    def _take_own(self, batch: int) -> EncodedBatch | None:
        self._reading, self.may_repeat = self._own, False
        while True:
            current, size, appended = self.file.position()
            end, records = self.file.ended(self._own.segment) or (size, appended)
            if self._own.segment <= current and self._own.offset < end:
                encoded, follows = self._own.read(batch, self._space_id, end)
                if encoded is not None:
                    return encoded
                # bytes that we wrote and can no longer read
                self._own.set_aside(self._own.file(self._own.segment), self._own.offset, follows)
                self._own.offset, self.done = end, records
            elif self._own.segment < current:
                self._own.next_segment(self._own.segment + 1)
            else:
                return None

    # -- what dead processes left -----------------------------------------------------------------------------

    def _look_for_left(self) -> None:
        self._looked_at = time.monotonic()
        for path in sorted(self._root.iterdir()):
            if path == self._own.path or path.name == SET_ASIDE or path.name.startswith("."):
                continue
            try:
                folder = Folder(path, self._dim)
            except (BlockingIOError, FileNotFoundError):  # its process lives, or another one was faster
                continue
            log.info("spool: %s was left by a process that has ended", path)
            self._left.append(folder)
            self._fresh = True

    def _take_left(self, batch: int) -> EncodedBatch | None:
        folder = self._left[0]
        self._take_left_candidates(folder)
        segments = folder.segments()
        if not segments:
            folder.close()
            self._left.pop(0)
            self._fresh = True
            return None
        if folder.segment != segments[0]:
            folder.segment, folder.offset = segments[0], 0
        end = folder.file(folder.segment).stat().st_size
        encoded, follows = folder.read(batch, self._space_id, end)
        if encoded is not None:
            # The process may have died between COMMIT and noting it; batches after that one are new for certain.
            self._reading, self.may_repeat, self._fresh = folder, self._fresh, False
            return encoded
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

    def _take_left_candidates(self, folder: Folder) -> None:
        """Commit what the folder's records name, before them."""
        for path in candidate_log.files_in(folder.path):
            rows, end, follows = candidate_log.read(path)
            if follows == "torn":
                log.warning("spool: the last candidates of %s were cut off; they were never acknowledged", path)
            elif follows == "bad":
                folder.set_aside(path, end, "a wrong checksum")
            self._replay(rows)
            path.unlink()
