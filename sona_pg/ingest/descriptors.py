"""File descriptors that a forked child must not keep.

A lock belongs to the open file, which the child shares: the lock would outlive the parent. A deleted file occupies the
disk as long as any process has it open.
"""

from __future__ import annotations

import os
import threading

_held: set[int] = set()
# A fork waits until a descriptor that is being opened is registered. Reentrant: a signal handler may fork on the thread
# that holds it.
_changing = threading.RLock()


def _close_in_child() -> None:
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()
    _changing.release()


os.register_at_fork(before=_changing.acquire, after_in_parent=_changing.release, after_in_child=_close_in_child)


def open_here(path: os.PathLike[str] | str, flags: int) -> int:
    """Return a descriptor that is closed in forked children; the file's mode is 0600."""
    with _changing:
        descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
        _held.add(descriptor)
    return descriptor


def close_here(descriptor: int) -> None:
    """Close a descriptor of ``open_here``."""
    with _changing:
        _held.discard(descriptor)
        os.close(descriptor)
