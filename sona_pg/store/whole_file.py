"""Files for people: they get their name when they are whole, and only their owner may read them."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a path to write to; ``path`` has what was written once the block has ended without an error.

    A file is replaced in one step, that of a symbolic link where the link points to, and keeps its permissions; a new
    one is readable for its owner alone, since it holds what people asked. A device or pipe is never replaced: it gets
    the bytes.

    Raises:
        OSError: ``path`` cannot be written, or another process is writing it.
    """
    try:
        known = path.stat()
    except FileNotFoundError:
        known = None
    if known is None or stat.S_ISREG(known.st_mode):
        with _replacement(path.resolve(), 0o600 if known is None else stat.S_IMODE(known.st_mode)) as beside:
            yield beside
        return
    if stat.S_ISDIR(known.st_mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder: name a file in it")
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder, path.name)
        yield kept
        with kept.open("rb") as source, path.open("wb") as target:
            shutil.copyfileobj(source, target)


@contextmanager
def _replacement(path: Path, mode: int) -> Iterator[Path]:
    """Yield a file beside ``path`` that takes its place; what a killed process left of one is overwritten."""
    beside = path.with_name(path.name + "~")
    held = os.open(beside, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise BlockingIOError(errno.EWOULDBLOCK, f"another process is writing it ({beside})") from exc
        try:
            os.ftruncate(held, 0)
            os.fchmod(held, 0o600)
            yield beside
            beside.chmod(mode)
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)
    finally:
        os.close(held)
