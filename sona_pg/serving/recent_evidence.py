"""Recent evidence: feedback that no version has learned yet, weighed by every answer until a version has.

The recorder notes what is recorded here, the follower what other servers have committed; the next answer takes it up.
What is weighed is a function of the served version and of the facts, whatever order they came in.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple, Protocol

from sona_pg.domain.judged import JudgedQuery
from sona_pg.serving.judged_queries import JudgedQueries, Judgement, KnownFacts, KnownQuery
from sona_pg.serving.served_version import ServedVersion


class Settled(NamedTuple):
    """What a version leaves of the facts that were known: see ``JudgedQueries.settle`` and ``learned``."""

    version: int
    read: Sequence[JudgedQuery]
    refused: KnownFacts  # unless ``read`` has them
    learned: KnownFacts  # by it, without being read again


class Weighing(Protocol):
    """Answers of one kind that weigh recent evidence."""

    weighed_for: ServedVersion | None  # for which all evidence is weighed but the news; None: the facts have changed


class RecentEvidence:
    """Judged queries of one space. Safe from many threads; ``lock`` is held by whoever takes up news."""

    def __init__(self, most: int) -> None:
        """Weigh the ``most`` latest judged queries."""
        self.most = most
        self.news: deque[tuple[Any, ...]] = deque(maxlen=max(2 * most, 1))  # what the recorder has noted
        self.lock = threading.RLock()
        self.changes = 0  # of what is known; with the lock
        self.heard = 0  # queries of which other servers said something new, since rankings weighed all; with the lock
        self.on_heard: Callable[[], object] = lambda: None  # called with the lock
        self._queries = JudgedQueries(most)
        self._settled: Settled | None = None
        self._told: list[Weighing] = []

    @property
    def waiting_ids(self) -> list[bytes]:
        """Return the ids of the queries that are weighed, oldest first."""
        with self.lock:
            self._gather()
            return [judgement.trajectory for judgement in self._queries.waiting()]

    def tell(self, weighing: Weighing) -> None:
        """Let answers know from now on that the facts have changed."""
        self._told.append(weighing)

    def waiting(self, serving: ServedVersion) -> list[Judgement]:
        """Return what no version has learned, oldest first; the caller holds the lock."""
        self._gather()
        if self._settled is not None and self._settled.version == serving.version:
            self._queries.learned(self._settled.learned)
            self._queries.settle(self._settled.read, self._settled.refused)
            self._settled = None
            self._changed()
        return self._queries.waiting()

    def query(self, trajectory: bytes) -> KnownQuery:
        """Return a query that waits; the caller holds the lock."""
        return self._queries[trajectory]

    def ids_of(self, number: int) -> tuple[str, ...] | None:
        """Return the ids of a candidate set as ``JudgedQueries.ids_of`` does; the caller holds the lock."""
        return self._queries.ids_of(number)

    def gather(self) -> None:
        """Take up what the recorder has noted; for servers that record and never ask."""
        if self.news and self.lock.acquire(blocking=False):
            try:
                self._gather()
            finally:
                self.lock.release()

    def hear(self, read: Sequence[JudgedQuery]) -> None:
        """Take up judged queries that some server has committed."""
        if not read:
            return
        with self.lock:
            self._gather()
            self.heard += len(self._queries.update(read))
            self._changed()
            self.on_heard()

    def known(self, *, committed: bool = False) -> KnownFacts:
        """Return the facts that are known by now, by judged query; see ``JudgedQueries.known``."""
        with self.lock:
            self._gather()
            return self._queries.known(committed=committed)

    def ids(self) -> list[bytes]:
        """Return the ids of all queries that are held, whether or not anything was said of them."""
        with self.lock:
            self._gather()
            return self._queries.ids()

    def drop(self, trajectories: Collection[bytes]) -> None:
        """Let go of queries that were erased, with all that was said of them."""
        with self.lock:
            self._gather()
            self._queries.drop(trajectories)
            self._changed()

    def leave_to(self, settled: Settled) -> None:
        """Let go of what a version has learned as soon as it is served."""
        with self.lock:
            self._settled = settled
            self._changed()

    def _gather(self) -> None:
        news, changed = self.news, False
        while news:
            try:
                changed = self._queries.note(news.popleft()) is not None or changed
            except IndexError:  # a recorder has pushed out the last one
                break
        if changed:
            self._changed()

    def _changed(self) -> None:
        self.changes += 1
        for weighing in self._told:
            weighing.weighed_for = None
