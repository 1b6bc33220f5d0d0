"""The spool: records in files until Postgres has them.

    <home>/spool/<space>/<process>/lock       locked while the process lives; holds how far it has committed
                                   00000001   segments: frames of a length, a checksum and a record
    <home>/spool/<space>/set-aside/           segments with a frame that cannot be read, kept for a look

A record is in the page cache when ``end_trajectory`` returns, so it survives the death of the process, not that of
the machine. What a dead process left is written by the next one that opens the space on this machine.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import time
import weakref
from contextlib import suppress
from pathlib import Path

from sona_pg.errors import StorageError
from sona_pg.kernels import EncodedBatch, HotPath, SpoolFile, encode_frames

log = logging.getLogger("sona_pg.ingest")

SEGMENT_BYTES = 8 << 20
CHUNK_BYTES = 8 << 20  # read, and written to Postgres, at once
LOOK_EVERY = 30.0  # seconds between looks for what other processes left
SET_ASIDE = "set-aside"

_open_spools: weakref.WeakSet[SpoolSource] = weakref.WeakSet()


def _close_in_child() -> None:
    """A lock belongs to the open file, which a forked child shares: it would outlive the parent."""
    for spool in list(_open_spools):
        spool.give_up()


os.register_at_fork(after_in_child=_close_in_child)


class Folder:
    """The segments of one process, read from where it stopped; whoever has it open holds its lock.

    Raises:
        BlockingIOError: its process lives.
    """

    def __init__(self, path: Path, dim: int, *, create: bool = False) -> None:
        self.path = path
        self._dim = dim
        self._lock = os.open(path / "lock", os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0), 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            os.close(self._lock)
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

    def set_aside(self, why: str) -> None:
        """Keep the segment where nobody replays it."""
        folder = self.path.parent / SET_ASIDE
        folder.mkdir(exist_ok=True)
        target = folder / f"{self.path.name}-{self.segment:08d}"
        with suppress(FileExistsError):
            os.link(self.file(self.segment), target)
        log.error(
            "spool: %s is damaged at byte %d (%s): what comes before is written, the file is kept in %s",
            self.file(self.segment),
            self.offset,
            why,
            target,
        )

    def close(self) -> None:
        """Give the lock back; the folder goes if no record is left in it."""
        if not self.segments():
            with suppress(OSError):
                (self.path / "lock").unlink()
                self.path.rmdir()
        os.close(self._lock)

    def close_lock(self) -> None:
        os.close(self._lock)

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

    def __init__(self, hot: HotPath, home: Path, space_id: int, space_name: str) -> None:
        self.may_repeat = False
        self._space_id = space_id
        self._dim = hot.dim
        self._root = home / "spool" / space_name
        self._descriptor = -1
        try:
            self._own = self._own_folder()
        except OSError as exc:
            raise StorageError(
                f"the spool in {self._root} cannot be used ({exc.strerror}): "
                "make the folder writable, or set SONA_PG_HOME to another one"
            ) from exc
        self.file = SpoolFile(self._new_segment, SEGMENT_BYTES)
        self._ends: dict[int, tuple[int, int]] = {}  # of closed segments: bytes, records before the next one
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

    def close(self) -> None:
        """Leave the files in order: a segment that is committed whole is deleted."""
        if self.file.appended == self.done:
            for number in self._own.segments():
                self._own.file(number).unlink()
        self.give_up(delete=True)

    def give_up(self, *, delete: bool = False) -> None:
        """Close the files and leave what is in them."""
        _open_spools.discard(self)
        self._close_segment()
        for folder in (self._own, *self._left):
            if delete:
                folder.close()
            else:
                folder.close_lock()
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

    def _new_segment(self, segment: int) -> int:
        """Called by the hot path: open the next segment, after noting how the last one ended."""
        path = self._own.file(segment)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_TRUNC, 0o600)
        except OSError as exc:
            raise StorageError(f"the spool cannot be written ({path}: {exc.strerror}): this is not recorded") from exc
        if segment > 1:
            self._ends[segment - 1] = (self.file.size, self.file.appended)
        self._close_segment()
        self._descriptor = descriptor
        return descriptor

    def _close_segment(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1

    def _take_own(self, batch: int) -> EncodedBatch | None:
        self._reading, self.may_repeat = self._own, False
        while True:
            current, size, appended = self.file.position()
            end, records = self._ends.get(self._own.segment, (size, appended))
            if self._own.segment <= current and self._own.offset < end:
                encoded, follows = self._own.read(batch, self._space_id, end)
                if encoded is not None:
                    return encoded
                self._own.set_aside(follows)  # bytes that we wrote and can no longer read
                self._own.offset, self.done = end, records
            elif self._own.segment < current:
                self._ends.pop(self._own.segment, None)
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
            folder.set_aside("a record that ends too early" if follows == "torn" else "a wrong checksum")
        folder.next_segment(folder.segment + 1)
        return None
