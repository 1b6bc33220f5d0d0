"""Files for people: they get their name when they are whole, and only their owner may read them."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO

WRITING = ".sona-pg-writing"  # ends the name of a file that is not whole yet


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a path to write to; ``path`` has what was written once the block has ended without an error.

    A file is replaced in one step, that of a symbolic link where the link points to, and keeps its permissions; a new
    one is readable for its owner alone, since it holds what people asked. A device or pipe is never replaced, nor is a
    file that a process has open: one of this process (``/dev/stdout``) gets the bytes where it writes next, others at
    their end.

    Raises:
        OSError: ``path`` cannot be written, or another process is writing it.
    """
    try:
        known = path.stat()
    except FileNotFoundError:
        known = None
    opened = _open_file(path)
    if known is None or (stat.S_ISREG(known.st_mode) and opened is None):
        with _replacement(path.resolve(), 0o600 if known is None else stat.S_IMODE(known.st_mode)) as beside:
            yield beside
        return
    if stat.S_ISDIR(known.st_mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder: name a file in it")
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder, path.name)
        yield kept
        with kept.open("rb") as source, _continued(path, opened) as target:
            shutil.copyfileobj(source, target)


def _open_file(path: Path) -> Path | None:
    """Return the name in ``/proc`` of the open file that ``path`` is, as ``/dev/stdout`` and ``/dev/fd/3``, or None."""
    while path.is_symlink():
        folder = path.parent.resolve()
        if folder.match("/proc/*/fd"):
            return folder / path.name
        path = path.parent / path.readlink()
    return None


def _continued(path: Path, opened: Path | None) -> BinaryIO:
    """Open what is never replaced; a file of this process through its descriptor, whose offset moves on."""
    if opened is None or opened.parts[2] != str(os.getpid()):
        return path.open("ab")
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # it was not closed when this process began
            stream.flush()
    return os.fdopen(os.dup(int(opened.name)), "wb")


@contextmanager
def _replacement(path: Path, mode: int) -> Iterator[Path]:
    """Yield a file beside ``path`` that takes its place; what a killed process left of one is overwritten."""
    beside = path.with_name(_shortened(path) + WRITING)
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


def _shortened(path: Path) -> str:
    """Return the name of a file, as it is unless it leaves no room for ``WRITING``: then its start and its hash."""
    name = os.fsencode(path.name)
    try:
        most = os.pathconf(path.parent, "PC_NAME_MAX") - len(WRITING)
    except OSError:  # opening the file says what is wrong with the folder
        return path.name
    if len(name) <= most:
        return path.name
    digest = "~" + blake2b(name, digest_size=8).hexdigest()
    return name[: most - len(digest)].decode(errors="ignore") + digest


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
