"""The runtime of one process and one database: connections and threads that all its spaces share.

Engines with the same database share one; the last that closes ends it. A forked child has none of its parent's.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

from sona_pg.config import Environment, Migrate, lag_seconds
from sona_pg.engine.embedded_hold import EmbeddedHold
from sona_pg.engine.follower import Follower
from sona_pg.engine.outage_log import OutageLog
from sona_pg.engine.shared_finds import FindThreads
from sona_pg.ingest.wakeups import held_here
from sona_pg.ingest.writer_pool import THREADS, WriterPool
from sona_pg.serving.background_uptake import BackgroundUptake
from sona_pg.store.connect import parse_url
from sona_pg.store.database import Database
from sona_pg.store.notify import NoticeListener
from sona_pg.store.read_side import ReadReplica
from sona_pg.worker.learner import Learner
from sona_pg.worker.maintainer import Maintainer

CONNECTIONS = 6  # writers included; the listener has its own, and maintenance during an index build
PAGE_CONNECTIONS = 6  # more for the reads of pages, as they need them: the application's calls never wait for these


class ProcessRuntime:
    """Connections, writers, follower, learner and maintainer of one database, for all its spaces in this process."""

    def __init__(
        self, url: str | None, home: Path, connections: int = CONNECTIONS, replica: ReadReplica | None = None
    ) -> None:
        """Prepare; ``begin`` starts it. Without ``url`` the database is the embedded one of ``home``."""
        self._replica = replica
        self._given_url = url
        self._connections = connections
        self.home = home
        self.outage = OutageLog()
        self.uptake = BackgroundUptake()
        self.finds = FindThreads()
        self.users = 0  # engines and stores that hold it; guarded by the registry's lock
        self._beginning = threading.RLock()  # opens one engine at a time; closing an engine does not need it
        self._begun = self._prepared = False
        self.embedded: EmbeddedHold | None = None
        self.url: str
        self.database: Database
        self.pages: Database  # the same over other connections, for what people look at
        self.writers: WriterPool
        self.follower: Follower
        self.learner: Learner
        self.maintainer: Maintainer

    def begin(self) -> None:
        """Start the embedded server and the threads, once; sends no query."""
        with self._beginning:
            if self._begun:
                return
            url = self._given_url
            if url is None:
                self.embedded = EmbeddedHold(self.home)
                url = self.embedded.url
            self.url = url
            self.database = Database.at(url, self._connections - THREADS, self._replica)
            self.pages = self.database.beside(PAGE_CONNECTIONS, self._replica)
            self.writers = WriterPool.at(url, beside=self.database.engine)
            self.learner = Learner(self.database)
            self.maintainer = Maintainer(self.database)
            self.follower = Follower(
                NoticeListener(url), self.database.call_roll, self._revive, self.maintainer.look,
                self.database.count_found, self.database.share_spending,
            )  # fmt: skip
            self.follower.start()
            self._begun = True

    def prepare(self, migrate: Migrate) -> None:
        """Migrate the schema, or with ``"check"`` refuse it, once; see ``Database``."""
        with self._beginning:
            if not self._prepared:
                self.database.prepare("auto" if self.embedded is not None else migrate)
                self._prepared = True

    def let_go(self) -> None:
        """Release the embedded server; in a forked child, the inherited hold."""
        if self.embedded is not None:
            self.embedded.release()

    def end(self) -> None:
        """End threads and connections."""
        if not self._begun:
            return
        self.uptake.stop()
        self.follower.stop(self.database.cut)
        self.learner.stop(self.database.cut)
        self.maintainer.stop()
        self.finds.stop(self.pages.cancel)
        self.pages.cancel()
        try:
            self.writers.close()
        finally:
            self.pages.close()
            self.database.close()
            self.let_go()

    def _revive(self) -> None:
        if self.embedded is not None:
            self.embedded.revive()


def replica_of(environment: Environment, read_url: str | None = None, lag: float | None = None) -> ReadReplica | None:
    """Return the standby that a caller, or else the environment, names; ConfigError if it cannot be read."""
    url = read_url or environment.read_url
    if url is None:
        return None
    parse_url(url)
    return ReadReplica(url, environment.read_lag if lag is None else lag_seconds(lag, "read_lag"))


class Runtimes:
    """The runtimes of this process, by database and home folder."""

    def __init__(self) -> None:
        """Start empty."""
        self._lock = threading.RLock()
        self._running: dict[tuple[str | None, Path], ProcessRuntime] = {}

    @property
    def held_here(self) -> bool:
        """Whether this thread, interrupted by a signal handler, is taking or releasing a runtime."""
        return held_here(self._lock)

    def take(
        self, url: str | None, home: Path, connections: int = CONNECTIONS, replica: ReadReplica | None = None
    ) -> ProcessRuntime:
        """Return the runtime of a database and count one more user; ``release`` it.

        A new one gets ``connections``, and reads from ``replica`` while that is well.
        """
        with self._lock:
            runtime = self._running.get((url, home))
            if runtime is None:
                runtime = self._running[url, home] = ProcessRuntime(url, home, connections, replica)
            runtime.users += 1
        try:
            runtime.begin()
        except BaseException:
            self.release(runtime)
            raise
        return runtime

    def release(self, runtime: ProcessRuntime) -> None:
        """Count one user less; the last one ends the runtime."""
        with self._lock:
            runtime.users -= 1
            last = runtime.users == 0
            if last:
                for key in [key for key, running in self._running.items() if running is runtime]:
                    del self._running[key]
        if last:
            runtime.end()

    def leave_to_parent(self) -> None:
        """Forget the parent's runtimes, right after a fork, and keep them from the garbage collector."""
        _of_parents.extend(self._running.values())
        self.__init__()  # type: ignore[misc]


runtimes = Runtimes()
_of_parents: list[ProcessRuntime] = []  # their connections are the parent's, and must not be closed here

os.register_at_fork(after_in_child=runtimes.leave_to_parent)
