"""Share of a server's time that goes into taking up recent evidence."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

SHARE = 0.05  # of the time, in the long run
AT_ONCE = 0.2  # seconds of work that may come at once: a person's feedback never waits
# Facts that one ranking takes up, each a millisecond at 1,024 rivals of 256 dimensions; a thread takes up more.
HEARD_AT_ONCE = 8  # committed by other servers
TOLD_AT_ONCE = 64  # in all
PART = 8  # that the thread takes up between two looks at what is new
# float32 of a ranking from which on its blocks are learned by the thread, each 22 ms at 1,024 rivals of 256 dimensions,
# 120 ms of 1,536: facts count by steps on each alone until then.
LARGE = 1 << 16
EARLY = 8  # the latest told to this process, which count before others that wait


class Uptake:
    """Bucket of time: news counts at once, unless so much of it comes that answers would do nothing else."""

    def __init__(self) -> None:
        """Start full."""
        self._left = AT_ONCE  # seconds
        self._at, self._began = time.monotonic(), 0.0

    def is_due(self) -> bool:
        """Whether there is time to take up news now."""
        now = time.monotonic()
        self._left = min(self._left + SHARE * (now - self._at), AT_ONCE)
        self._at = now
        return self._left > 0

    def __enter__(self) -> Self:
        """Begin to take up news."""
        self._began = time.thread_time()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Book the processor time it took: on a machine with other work, waiting for a turn is no work."""
        self._left -= time.thread_time() - self._began
