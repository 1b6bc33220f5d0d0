"""Progress of one space's writer: counters, and the condition on which application threads wait."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import datetime

from sona_pg.errors import SpaceRemoved
from sona_pg.ingest.backlog_age import BacklogAge
from sona_pg.ingest.commit import Losses, Written


@dataclass(frozen=True, slots=True)
class IngestStats:
    """Counters of the writer since it was opened."""

    trajectories: int  # committed
    steps: int
    feedback: int
    batches: int
    waiting: int  # accepted, not committed yet: in memory or in the spool
    waiting_seconds: float  # age of the oldest of these, at most; 0 if none waits
    dropped: int  # refused because the buffer was full
    rejected: int  # refused by Postgres for their content, and kept in a file
    rejected_unsaved: int  # of ``rejected``: in memory, because the folder cannot be written
    rejected_lost: int  # of ``rejected``: dropped, because memory for them was full as well
    conflicting: int  # trajectories stored before under their id with other contents, which stay
    retries: int
    learner_errors: int  # exceptions of on_batch
    last_error: str | None  # None while writing works
    last_commit: datetime | None


class Progress:
    """Shared by a space's writer, which the application calls, and its service, on a thread of the pool.

    ``changed`` guards all attributes and is notified of every change.
    """

    __slots__ = (
        "age", "batches", "changed", "closing", "conflicting", "counted", "done", "ended", "guard", "last_commit",
        "learner_errors", "refused", "rejected", "removed", "total", "waiters",
    )  # fmt: skip

    def __init__(self, done: int, age: BacklogAge) -> None:
        """Start with ``done`` records already settled."""
        self.age = age
        self.guard = threading.RLock()
        self.changed = threading.Condition(self.guard)
        self.waiters = 0  # threads that wait for records or candidates to be committed
        self.done = done
        self.total = Written()
        self.batches = self.rejected = self.conflicting = self.learner_errors = 0
        self.counted = Losses()  # losses already added to the fleet's counters
        self.refused: dict[bytes, str] = {}  # durability 'sync': why an awaited record was refused
        self.last_commit: datetime | None = None
        self.closing = False
        self.removed: SpaceRemoved | None = None  # nothing can be written any more
        self.ended = False  # nothing is written any more, for whatever reason
