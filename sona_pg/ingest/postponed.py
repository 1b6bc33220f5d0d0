"""Single records that exceed the time limits: they wait in files, so that the others are stored, and are tried again.

Each has a folder of its own among the leftovers, where a later process of this machine finds it too. A file is at first
on trial: whether its record is slow or the server was (a lock, load) is not known before another one is committed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sona_pg.ingest import kept_batches
from sona_pg.ingest.commit import Written
from sona_pg.ingest.kept_batches import Batch, KeptBatch
from sona_pg.ingest.parts import Part
from sona_pg.ingest.spool_folder import Folder
from sona_pg.recorder import HotPath

log = logging.getLogger("sona_pg.ingest")

MOST = 1000  # files of a space; what is slow beyond them waits in its batch, as in an outage
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 300.0  # seconds until a file is tried again, doubled by each of its failures
REST = 10.0  # times what a failed retry took: no file is tried for as long
AT_ONCE = 32  # files opened at once
PROVEN = "-slow"  # ends the name of a file whose record is known to be slow


class Stored:
    """Numbers of trajectories and feedback that were committed: what fails meanwhile is slow, not the server."""

    def __init__(self) -> None:
        """Begin with none."""
        self.trajectories = self.feedback = 0

    def add(self, written: Written) -> None:
        """Count what a transaction added."""
        self.trajectories += written.trajectories
        self.feedback += written.feedback

    def like(self, record: Batch | Part) -> int:
        """Return the number of the same kind: a lock on one table says nothing of the other."""
        return self.trajectories if record.trajectory_count else self.feedback


@dataclass(slots=True)
class _File:
    record: tuple[bytes, bool]  # id of its trajectory, and whether it is that rather than feedback on it
    own: bool  # whether it is of this process
    why: str
    proven: bool  # False: on trial
    stored: int  # records of its kind when it failed last
    due: float  # monotonic seconds
    pause: float  # seconds


class Postponed:
    """Files of records that took too long alone; one thread at a time calls it, unless said otherwise."""

    def __init__(self, roots: Sequence[Path], hot: HotPath) -> None:
        """Make folders below the first of ``roots`` for records of ``hot``."""
        self.stored = Stored()
        # Of this process; any thread may read them.
        self.waiting = 0
        self.on_trial = 0  # of these
        self.slow: dict[tuple[bytes, bool], str] = {}  # the others, and why: by trajectory, and whether it is that
        self._roots = roots
        self._hot = hot
        self._files: dict[Path, _File] = {}
        self._untold: dict[bytes, str] = {}
        self._rest_until = 0.0  # monotonic seconds
        self._rest_ends = False  # whether it ends with evidence on one on trial
        self._failed = False  # whether the disk refused the last file

    def knows(self, path: Path) -> bool:
        """Whether a file is among them."""
        return path in self._files

    def keep(self, record: KeptBatch, why: str, *, own: bool, proven: bool) -> bool:
        """Write a record of this process (``own``) or of another to a file; return False if there is no room for it."""
        if len(self._files) >= MOST:
            return False
        try:
            path = self._save(record, proven=proven)
        except OSError as exc:
            if not self._failed:
                log.error(
                    "%s took too long alone, and holds up the others: no file can be made (%s)", record.named, exc
                )
            self._failed = True
            return False
        self._failed = False
        self.add(path, record, why, own=own, proven=proven)
        return True

    def add(self, path: Path, record: KeptBatch, why: str, *, own: bool, proven: bool) -> None:
        """Put off a file that exists."""
        key = _key(record)
        now = time.monotonic()
        file = _File(key, own, why, proven, self.stored.like(record), now + FIRST_PAUSE, 2 * FIRST_PAUSE)
        self._files[path] = file
        if proven:
            self._tell(path, file)
        self._count()

    def adopt(self, path: Path) -> None:
        """Put off a file of another process, whose record is known to be slow: it is due now."""
        record = None if path in self._files else kept_batches.load(path)
        if record is not None:
            key = _key(record)
            self._files[path] = _File(key, False, "in another process", True, 0, time.monotonic(), FIRST_PAUSE)

    def put_off_again(self, path: Path, record: KeptBatch, why: str, took: float) -> None:
        """Leave a file that took too long this time too, after ``took`` seconds."""
        file, now = self._files.pop(path), time.monotonic()
        file.due, file.pause, file.why = now + file.pause, min(2 * file.pause, LONGEST_PAUSE), why
        self._rest_until = now + REST * took
        stored = self.stored.like(record)
        if not file.proven and stored > file.stored:
            path = self._named_slow(path)
            # The others on trial are tried after it, one by one: nobody waits for that.
            for other, found in [(path, file), *self._files.items()]:
                if not found.proven and (found is file or self._like(found) > found.stored):
                    found.proven = True
                    self._tell(other, found)
        file.stored, self._rest_ends = stored, not file.proven
        self._files[path] = file
        self._count()

    def done(self, path: Path) -> None:
        """Forget a file whose record is committed; the others may be tried at once."""
        if self._files.pop(path, None) is not None:
            self._rest_until = 0.0
            self._count()

    def due(self, now: float) -> list[Path]:
        """Return files to try again, the longest due first."""
        if self._rests(now):
            return []
        found = [path for path, file in self._files.items() if self._is_due(file, now)]
        return sorted(found, key=lambda path: self._files[path].due)[:AT_ONCE]

    def is_due(self, now: float) -> bool:
        """Whether there are files to try again."""
        return bool(self._files) and not self._rests(now) and any(self._is_due(f, now) for f in self._files.values())

    def holds_back(self, path: Path) -> bool:
        """Whether a file is to be left alone for now."""
        file, now = self._files.get(path), time.monotonic()
        return file is not None and (self._rests(now) or not self._is_due(file, now))

    def skip(self, path: Path) -> None:
        """Leave a file that cannot be opened now, or forget it if another process has committed it."""
        if not path.exists():
            self._files.pop(path, None)
        elif file := self._files.get(path):
            file.due, file.stored = time.monotonic() + FIRST_PAUSE, self._like(file)
        self._count()

    def forget_gone(self) -> None:
        """Forget files whose records another process has committed."""
        for path in [path for path in self._files if not path.exists()]:
            del self._files[path]
        self._count()

    @property
    def folders(self) -> set[Path]:
        """The folders of its files."""
        return {path.parent for path in self._files}

    def told_of(self, trajectory_id: bytes) -> str | None:
        """Return why an own record on a trajectory was put off, once; any thread may call it."""
        return self._untold.pop(trajectory_id, None)

    def _save(self, record: KeptBatch, *, proven: bool) -> Path:
        folder = Folder.make(self._roots[0], self._hot)
        try:
            path = kept_batches.save(folder.path, record)
            return self._named_slow(path) if proven else path
        finally:
            folder.close()

    def _named_slow(self, path: Path) -> Path:
        try:
            return path if path.name.endswith(PROVEN) else path.rename(path.with_name(path.name + PROVEN))
        except OSError as exc:
            log.info("%s keeps its name: %s", path, exc)
            return path

    def _tell(self, path: Path, file: _File) -> None:
        trajectory, is_trajectory = file.record
        named = kept_batches.named(trajectory, is_trajectory=is_trajectory)
        log.warning(
            "%s took too long alone (%s): it waits in %s and is tried again, the others are stored; look at what slows "
            "its insertion down, or give this role a longer statement_timeout", named, file.why, path
        )  # fmt: skip
        if file.own:
            self._untold[trajectory] = file.why

    def _like(self, file: _File) -> int:
        return self.stored.trajectories if file.record[1] else self.stored.feedback

    def _has_evidence(self, file: _File) -> bool:
        """Whether a file on trial is to be tried now: another record was committed since."""
        return not file.proven and self._like(file) > file.stored

    def _is_due(self, file: _File, now: float) -> bool:
        return now >= file.due or self._has_evidence(file)

    def _rests(self, now: float) -> bool:
        return now < self._rest_until and not (
            self._rest_ends and any(self._has_evidence(file) for file in self._files.values())
        )

    def _count(self) -> None:
        own = [file for file in self._files.values() if file.own]
        self.slow = {file.record: file.why for file in own if file.proven}
        self.on_trial = sum(not file.proven for file in own)
        self.waiting = len(own)
        here = {trajectory for trajectory, _ in self.slow}
        for trajectory in list(self._untold):  # other threads take some
            if trajectory not in here:
                self._untold.pop(trajectory, None)


def _key(record: KeptBatch) -> tuple[bytes, bool]:
    return record.name.bytes, record.trajectory_count > 0
