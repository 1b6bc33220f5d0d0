"""A worker: learns in the spaces of a store, and maintains its tables, in a process without engines."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from functools import partial

from sona_pg.config import LoopConfig, MaintenanceConfig, SonaConfig
from sona_pg.domain.deep_result import AnyCycle
from sona_pg.domain.ids import uuid7
from sona_pg.domain.space import Space
from sona_pg.errors import DatabaseError, DatabaseUnavailable
from sona_pg.store.database import Database
from sona_pg.store.space_copy import IN_WORK
from sona_pg.store.spaces import NamedSpace
from sona_pg.worker.coordinator import LoopCoordinator
from sona_pg.worker.learner import Learner
from sona_pg.worker.maintainer import Maintainer

log = logging.getLogger(__name__)

_random = random.SystemRandom()  # never the application's `random`

LIST_EVERY = 5.0  # seconds between lists of the spaces that are there
PATIENCE = 20.0  # seconds that a stop waits for the cycle that runs


class StoreWorker:
    """Runs due cycles of all spaces of a store, or of those whose names match; several workers share them by leases.

    Cycles of loop C come in parts, between those of loop B.
    """

    def __init__(
        self,
        database: Database,
        *,
        names: Sequence[str] = (),
        maintenance: MaintenanceConfig | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare.

        Args:
            database: of the store.
            names: patterns of names, such as ``team-*``; none: every space.
            maintenance: the policy by which tables are maintained; by default they are not.
            clock: of the learner.
        """
        self.worker_id = uuid7()
        self._database = database
        self._names = names
        # The spaces' own settings say how often a cycle is due; this interval, of servers that follow, is not used.
        self._config = SonaConfig(loops=LoopConfig(automatic=True, poll_interval=0.001))
        self._learner = Learner(database, clock=clock)
        self._maintainer = Maintainer(database)
        self._maintained = maintenance is not None
        if maintenance is not None:
            self._maintainer.add(maintenance)
        self._spaces: dict[int, tuple[Space, LoopCoordinator]] = {}
        self._listed: dict[int, NamedSpace] = {}  # at the last list
        self._gone_failures = 0  # of coordinators that were removed
        self._away = False
        self.cycles = self.facts = 0
        self.seconds = 0.0  # that cycles took
        self.last_cycle = time.time()  # at the end of the last one; before it, at the beginning

    @property
    def spaces(self) -> int:
        """Number of spaces that this worker takes care of."""
        return len(self._spaces)

    @property
    def failures(self) -> int:
        """Number of cycles that failed here."""
        return self._gone_failures + sum(known.failures_in_all for _, known in list(self._spaces.values()))

    @property
    def failing(self) -> int:
        """Number of spaces whose last cycle failed here: they wait for longer and longer until the next attempt."""
        return len(self.failing_spaces)

    @property
    def tried(self) -> int:
        """Number of spaces in which a cycle was run here; an idle one tells nothing of whether cycles can be run."""
        return sum(known.has_tried for _, known in list(self._spaces.values()))

    @property
    def failing_spaces(self) -> dict[str, tuple[float, str]]:
        """Since when cycles fail here, in seconds since 1970, and the class of the last error, by name of the space."""
        known = list(self._spaces.values())
        return {
            space.name: (one.failing_since, one.error) for space, one in known if one.failing_since is not None
        }  # fmt: skip

    @property
    def due(self) -> int:
        """Number of spaces in which a cycle is due now, or would be but for earlier failures."""
        known = list(self._spaces.values())
        return sum(one.due_since is not None or one.backing_off for _, one in known)

    @property
    def database_up(self) -> bool:
        """Whether the database answered when it was last asked for the spaces."""
        return not self._away

    def list_spaces(self) -> None:
        """Take up spaces that are new, and leave those that are gone.

        Raises:
            DatabaseError: Postgres is away.
        """
        named = self._database.named_spaces()
        if named == self._listed:
            return
        there = {space.space_id: space for space in self._database.list_spaces() if self._wants(space.name)}
        for number in [number for number in self._spaces if number not in there]:
            _, coordinator = self._spaces.pop(number)
            self._learner.remove(coordinator, self._database.cut)
            self._gone_failures += coordinator.failures_in_all
        for number, space in there.items():
            known = self._spaces.get(number)
            if known is not None and self._listed.get(number) == named.get(number):
                continue
            if known is not None:  # it was renamed, or is another one since a restore
                self._learner.remove(known[1], self._database.cut)
                self._gone_failures += known[1].failures_in_all
            config = self._config.replace(hidden_dim=space.dim)
            coordinator = self._learner.coordinator(space, self.worker_id, config)
            self._spaces[number] = space, coordinator
            self._learner.add(coordinator, partial(self._learned, space.name))
        self._listed = named

    def run_once(self) -> list[tuple[str, AnyCycle]]:
        """Run every cycle that is due now; return the results with the names of their spaces.

        Raises:
            DatabaseError: Postgres is away.
        """
        done: list[tuple[str, AnyCycle]] = []
        self.list_spaces()
        for space, coordinator in self._spaces.values():
            self._learner.add(coordinator, partial(self._note, done, space.name))
        self._learner.deep_turns.hurry()
        time.sleep(0.01)  # longer than the interval between looks
        while self._learner.run_due():  # a cycle a space at a time: a backlog of one does not delay the others
            pass
        return done

    def wait_for(self, prepare: Callable[[], None], stop: threading.Event) -> bool:
        """Call ``prepare`` until the database answers; return False if ``stop`` was set before.

        Raises:
            DatabaseError: Postgres or the schema cannot be used.
        """
        while not stop.is_set():
            try:
                prepare()
                self._away = False
                return True
            except DatabaseUnavailable as exc:
                self._note_away(exc)
            stop.wait(_random.uniform(0.5, 1.5))
        return False

    def run(self, stop: threading.Event) -> None:
        """Learn and maintain until ``stop`` is set; ``end`` must follow."""
        stop.wait(_random.uniform(0.0, 0.5))  # workers started together do not all look at once
        self._learner.start()
        while True:
            try:
                self.list_spaces()
                self._away = False
            except DatabaseError as exc:
                self._note_away(exc)
            if self._maintained and not self._away:
                self._maintainer.look()
            if stop.wait(LIST_EVERY * _random.uniform(0.8, 1.2)):
                return

    def _note_away(self, reason: DatabaseError) -> None:
        if not self._away:
            log.warning("the store is away, the worker waits for it: %s", reason)
        self._away = True

    def end(self, patience: float = PATIENCE) -> bool:
        """Begin no more cycles, and wait for the running one; return False if it had to be abandoned.

        An abandoned cycle has published nothing; another worker learns its facts once the lease has run out.
        """
        ended = self._learner.end(patience, self._database.cut)
        self._maintainer.stop()
        return ended

    def _wants(self, name: str) -> bool:
        if name.endswith(IN_WORK):  # a copy that `space reembed` is making, and learns in itself
            return False
        return not self._names or any(fnmatchcase(name, pattern) for pattern in self._names)

    def _note(self, done: list[tuple[str, AnyCycle]], space: str, result: AnyCycle) -> None:
        self._learned(space, result)
        done.append((space, result))

    def _learned(self, space: str, result: AnyCycle) -> None:
        self.cycles += 1
        self.facts += result.trajectories + result.feedback
        self.seconds += result.milliseconds / 1000
        self.last_cycle = time.time()
        log.info(
            "space %r: version %d from %d trajectories and %d facts in %.0f ms",
            space,
            result.version,
            result.trajectories,
            result.feedback,
            result.milliseconds,
            extra={"figures": {"space": space, **result.as_dict()}},
        )
