"""Files for people: they get their name when they are whole, and only their owner may read them."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

WRITING = ".sona-pg-writing"  # ends the name of a file that is not whole yet


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a path to write to; ``path`` has what was written once the block has ended without an error.

    A file is replaced in one step, that of a symbolic link where the link points to, and keeps its permissions; a new
    one is readable for its owner alone, since it holds what people asked. A device or pipe, or a file that this process
    has open (``/dev/stdout``), is never replaced: it gets the bytes at its end.

    Raises:
        OSError: ``path`` cannot be written, or another process is writing it.
    """
    try:
        known = path.stat()
    except FileNotFoundError:
        known = None
    if known is None or (stat.S_ISREG(known.st_mode) and not _is_open_file(path)):
        with _replacement(path.resolve(), 0o600 if known is None else stat.S_IMODE(known.st_mode)) as beside:
            yield beside
        return
    if stat.S_ISDIR(known.st_mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder: name a file in it")
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder, path.name)
        yield kept
        with kept.open("rb") as source, path.open("ab") as target:
            shutil.copyfileobj(source, target)


def _is_open_file(path: Path) -> bool:
    """Whether ``path`` names an open file of a process, as ``/dev/stdout`` and ``/dev/fd/3`` do."""
    while path.is_symlink():
        if path.parent.resolve().match("/proc/*/fd"):
            return True
        path = path.parent / path.readlink()
    return False


@contextmanager
def _replacement(path: Path, mode: int) -> Iterator[Path]:
    """Yield a file beside ``path`` that takes its place; what a killed process left of one is overwritten."""
    beside = path.with_name(path.name + WRITING)
    held = _held(beside)
    try:
        try:
            os.ftruncate(held, 0)
            os.fchmod(held, 0o600)
            yield beside
            beside.chmod(mode)
            os.replace(beside, path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
    finally:
        os.close(held)


def _held(beside: Path) -> int:
    """Return the locked file ``beside``, which nobody else has renamed or removed meanwhile."""
    while True:
        held = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine = os.fstat(held)
            if not stat.S_ISREG(mine.st_mode) or mine.st_nlink > 1:
                raise FileExistsError(errno.EEXIST, f"{beside} is not what a command left there: remove it")
            with suppress(FileNotFoundError):
                if os.path.samestat(mine, beside.lstat()):
                    return held
        except BlockingIOError as exc:
            os.close(held)
            raise BlockingIOError(errno.EWOULDBLOCK, f"another process is writing it ({beside})") from exc
        except OSError:
            os.close(held)
            raise
        os.close(held)
