"""Bounded folders of files kept for inspection: the oldest are deleted first, with a warning in the log."""

from __future__ import annotations

import logging
import os
from pathlib import Path

log = logging.getLogger("sona_pg.ingest")

MOST_FILES = 10_000  # few enough to be listed and copied by hand


def prune(folder: Path, most_bytes: int, most_files: int = MOST_FILES) -> int:
    """Delete the oldest files of ``folder`` until both bounds hold; return how many.

    Age alone deletes nothing: the clock of this machine may be a year ahead.

    Raises:
        OSError: the folder cannot be read or written.
    """
    files = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_file(follow_symlinks=False):
                state = entry.stat(follow_symlinks=False)
                files.append((state.st_mtime_ns, entry.name, state.st_size))
    files.sort()
    total, count, deleted, freed = sum(size for _, _, size in files), len(files), 0, 0
    for _, name, size in files[:-1]:  # the newest stays, whatever its size
        if total - freed <= most_bytes and count - deleted <= most_files:
            break
        (folder / name).unlink(missing_ok=True)
        deleted += 1
        freed += size
    if deleted:
        log.warning(
            "%d of the oldest files in %s were deleted (%d bytes): it holds %d bytes and %d files at most; "
            "inspect the others before they are deleted too", deleted, folder, freed, most_bytes, most_files
        )  # fmt: skip
    return deleted
