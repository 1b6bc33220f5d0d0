"""Data folders for embedded servers, in memory where there is room, and nothing left of them afterwards."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = "sona-pg-test-"


@contextmanager
def temporary_home() -> Iterator[Path]:
    """A data folder that is removed once its server has stopped."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 2 << 30
    parent = memory if roomy else Path(tempfile.gettempdir())
    _remove_leftovers(parent)
    home = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    hold = os.open(home, os.O_RDONLY)
    fcntl.flock(hold, fcntl.LOCK_EX)
    try:
        yield home
    finally:
        wait_until_stopped(home)
        shutil.rmtree(home)
        os.close(hold)


def wait_until_stopped(home: Path, timeout: float = 30) -> None:
    """Wait for the keeper of `home` to have stopped its server and to be gone."""
    keeper = home / "postgres" / "keeper.lock"
    deadline = time.monotonic() + timeout
    while keeper.exists() and not _is_free(keeper):
        assert time.monotonic() < deadline, f"the server of {home} did not stop within {timeout} s"
        time.sleep(0.02)


def _remove_leftovers(parent: Path) -> None:
    """Remove folders of killed test runs: unlocked, and not just being created."""
    for home in parent.glob(f"{PREFIX}*"):
        try:
            if time.time() - home.stat().st_ctime > 60 and _is_free(home):
                shutil.rmtree(home, ignore_errors=True)
        except OSError:  # another run's, gone meanwhile or not ours to open
            continue


def _is_free(path: Path) -> bool:
    """Whether a file or folder is unlocked."""
    lock = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True
