"""The version served last on this machine, in a file for engines opened while the database is away."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from sona_pg.domain.space import Space
from sona_pg.errors import StorageError
from sona_pg.serving.version_file import pack, unpack
from sona_pg.store.snapshots import Snapshot

log = logging.getLogger(__name__)

KEEP_EVERY = 10.0  # seconds between two saved versions; the last one is saved at the end
MOST_FILES = 256  # files of all spaces; the oldest is deleted first
MOST_BYTES = 256 << 20  # of one file: a larger version is not saved


class LastVersion:
    """Saves the served version to disk, at most every ``KEEP_EVERY`` seconds."""

    def __init__(self, home: Path, place: str, space: str) -> None:
        """Keep it in a file of ``home`` that belongs to a space of the database at ``place``."""
        self.path = path_for(home, place, space)
        self._kept: tuple[int, frozenset[str]] = (0, frozenset())  # version and retired candidates in the file
        self._kept_at = -KEEP_EVERY  # monotonic seconds

    def lacks(self, version: int, retired: frozenset[str]) -> bool:
        """Whether a version, or which candidates are retired, still has to be saved."""
        return version != 0 and (version, retired) != self._kept

    def keep(
        self,
        space: Space,
        version: int,
        snapshot: Callable[[], Snapshot],
        retired: frozenset[str] = frozenset(),
        *,
        now: bool = False,
    ) -> None:
        """Save the served version, unless it is saved, is version 0, or another was saved a moment ago."""
        at = time.monotonic()
        if not self.lacks(version, retired) or (at - self._kept_at < KEEP_EVERY and not now):
            return
        self._kept, self._kept_at = (version, retired), at
        try:
            save(self.path, space, dataclasses.replace(snapshot(), retired=retired))
        except StorageError as exc:
            log.info("%s", exc)


def path_for(home: Path, place: str, space: str) -> Path:
    """Return the file of a space of the database at ``place``, as ``connect.place_of`` names it."""
    digest = hashlib.blake2b(f"{place}\0{space}".encode(), digest_size=16).hexdigest()
    return home / "served" / f"{digest}.version"


def save(path: Path, space: Space, snapshot: Snapshot) -> bool:
    """Write a version atomically; return False if it is too large.

    Raises:
        StorageError: the file cannot be written.
    """
    parts = pack(space, snapshot)
    if sum(map(len, parts)) > MOST_BYTES:
        return False
    temporary = path.with_suffix(f".{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with temporary.open("wb") as file:  # part by part: a catalog is not copied
            file.writelines(parts)
        temporary.replace(path)
        for _, old in sorted((kept.stat().st_mtime_ns, kept) for kept in path.parent.glob("*.version"))[:-MOST_FILES]:
            old.unlink(missing_ok=True)
    except OSError as exc:
        with suppress(OSError):
            temporary.unlink()
        raise StorageError(f"the version cannot be kept in {path} ({exc.strerror}): make the folder writable") from exc
    return True


def load(path: Path, dim: int | None = None) -> tuple[Space, Snapshot] | None:
    """Return the saved space and version, or None if there is no intact one for ``dim``, or for any if it is None."""
    try:
        whole = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as exc:
        log.warning("the last version cannot be read from %s (%s)", path, exc.strerror)
        return None
    try:
        found = unpack(whole, path)
    except StorageError as exc:
        log.warning("%s; it is passed over", exc)
        return None
    return (found.space, found.snapshot) if dim in (None, found.space.dim) else None
