"""The learner: runs due cycles of loops B and C for many spaces, one at a time; needs a database, but no engine."""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from collections.abc import Callable
from uuid import UUID

from sona_pg.config import SonaConfig
from sona_pg.domain.cycle import CycleResult
from sona_pg.domain.deep_result import AnyCycle, DeepResult
from sona_pg.domain.space import Space
from sona_pg.errors import DatabaseUnavailable
from sona_pg.store.database import Database
from sona_pg.store.roll_call import SpaceIds
from sona_pg.worker.background import BackgroundLoop
from sona_pg.worker.cache_shelf import CacheShelf
from sona_pg.worker.coordinator import LoopCoordinator
from sona_pg.worker.deep_turns import PART, DeepTurns
from sona_pg.worker.gatekeeper import Gatekeeper
from sona_pg.worker.turns import turns

log = logging.getLogger(__name__)

_random = random.SystemRandom()  # never the application's `random`

PATIENCE = 3.0  # seconds that a stop waits for the cycle that runs
LOOK_EVERY = 0.5  # seconds between checks of all spaces
AWAY = (1.0, 10.0)  # seconds before the first and before every later attempt while the database is away


class Learner:
    """Learns in its spaces, in the order of ``turns``; one that fails is retried after a longer pause."""

    def __init__(
        self,
        database: Database,
        *,
        shelf: CacheShelf | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; ``run_due`` runs due cycles, ``start`` does so from a thread."""
        self._database = database
        self._shelf = shelf or CacheShelf()
        self._clock = clock
        self._spaces: dict[LoopCoordinator, Callable[[AnyCycle], object]] = {}  # changed by single operations only
        self._changed = False  # whether spaces have come or gone
        self._by_space: dict[int, list[LoopCoordinator]] = {}
        self._ids = SpaceIds.of(())
        self._every = math.inf  # seconds between checks
        self._next_look = -math.inf  # by ``clock``
        self._noted: list[LoopCoordinator] = []  # found due by the last check, or behind after it
        self._more = False  # whether the last run ended early
        self.deep_turns = DeepTurns(database, clock)
        self.gatekeeper = Gatekeeper(database)
        self._to_judge: list[int] = []  # spaces with new facts, by the last check
        self._at: LoopCoordinator | None = None  # the coordinator the thread is busy with
        self._stop = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def coordinator(self, space: Space, server_id: UUID, config: SonaConfig) -> LoopCoordinator:
        """Return the coordinator of a space, for cycles on demand; ``add`` schedules them."""
        background = BackgroundLoop(self._database, space, server_id, config, self._shelf)
        return LoopCoordinator(background, self._database, space, config, self._clock)

    def add(self, coordinator: LoopCoordinator, then: Callable[[AnyCycle], object] = lambda _: None) -> None:
        """Schedule cycles of a space; ``then`` is called after each."""
        coordinator.stopping.clear()
        self._spaces[coordinator] = then
        self._changed = True

    def remove(self, coordinator: LoopCoordinator, cut: Callable[[int | None], object] = lambda _: None) -> None:
        """Stop learning in a space; ``cut`` ends the database calls of its running cycle."""
        self._spaces.pop(coordinator, None)
        self._changed = True
        coordinator.stopping.set()
        thread = self._thread
        until = time.monotonic() + PATIENCE
        while self._at is coordinator and thread is not None and thread.is_alive():
            thread.join(0.01)
            if time.monotonic() > until:
                cut(thread.ident)
                until = time.monotonic() + PATIENCE
        coordinator.background.cache = None

    def start(self) -> None:
        """Start the thread that runs due cycles; idempotent."""
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="sona-pg learner", daemon=True)
                self._thread.start()

    def stop(self, cut: Callable[[int | None], object] = lambda _: None) -> None:
        """End the thread; ``cut`` ends the database calls of a cycle that takes too long."""
        while not self.end(PATIENCE, cut):
            pass

    def end(self, patience: float, cut: Callable[[int | None], object] = lambda _: None) -> bool:
        """Run no more cycles; wait ``patience`` seconds for the running one, then cut it; return whether it ended.

        A cut cycle has published nothing: its facts are left to the next one.
        """
        self._stop.set()
        for coordinator in list(self._spaces):
            coordinator.stopping.set()
        thread = self._thread
        if thread is None:
            return True
        thread.join(patience)
        if thread.is_alive():
            cut(thread.ident)
            thread.join(min(patience + 0.2, PATIENCE))
        return not thread.is_alive()

    def run_due(self, seconds: float = math.inf) -> list[AnyCycle]:
        """Run a cycle in every due space, in the order of ``turns``, then a part of a deep one; return their results.

        After ``seconds`` no other cycle is begun; the due ones that are left come with the next call, in a new order.

        Raises:
            DatabaseUnavailable: Postgres is away; due cycles stay due.
        """
        done: list[AnyCycle] = []
        until = self._clock() + seconds
        self._more = False
        due = self._due()
        self._judge()
        for coordinator in due:
            self._more = self._clock() > until
            if self._stop.is_set() or self._more:
                break
            result = self._run_one(coordinator)
            if result is not None:
                done.append(result)
        if not self._more and not self._stop.is_set():
            done += self._run_deep()
        return done

    def _judge(self) -> None:
        """Judge the versions of the spaces that the last check found new facts in."""
        spaces, self._to_judge = self._to_judge, []
        for gate in self.gatekeeper.with_news(spaces) if spaces else ():
            for coordinator in self._by_space.get(gate.space_id, ())[:1]:
                try:
                    self.gatekeeper.judge(gate, coordinator.background, coordinator.space)
                except DatabaseUnavailable:
                    raise
                except Exception:  # a failing space must not stop the others
                    log.exception("a version of space %r cannot be judged", coordinator.space.name)

    def _run_deep(self) -> list[DeepResult]:
        """Run a part of one due deep cycle."""
        for coordinator, version in self.deep_turns.due(self._by_space, self._ids):
            result = self._run_part(coordinator, version)
            if result is not None and result.learned:
                self.deep_turns.hurry()
                self._more = True  # the rest of it and other spaces come at once, but loop B first
                return [result]
        return []

    def _run_part(self, coordinator: LoopCoordinator, version: int) -> DeepResult | None:
        self._at = coordinator
        try:
            then = self._spaces.get(coordinator)
            result = None if then is None else coordinator.run_deep(version, PART)
            if then is not None and result is not None:
                then(result)
            return result
        except DatabaseUnavailable:
            raise
        except Exception:  # a failing space must not stop the others; sona.cycles has the error
            log.exception("a deep cycle of space %r failed; the next one is tried later", coordinator.space.name)
            return None
        finally:
            self._at = None

    def _due(self) -> list[LoopCoordinator]:
        """Return the coordinators of due spaces, in the order of ``turns``."""
        self._arrange()
        now = self._clock()
        if not self._ids.ids or (now < self._next_look and not self._is_behind()):
            return turns([coordinator for coordinator in self._noted if coordinator.due_since is not None], now)
        # Most spaces have too few facts: one statement for all of them finds the others.
        waiting = self._database.waiting_facts(self._ids)
        self._next_look = now + self._every
        self._to_judge = list(waiting)
        with_facts = (known for space in waiting for known in self._by_space.get(space, ()))
        known = list(dict.fromkeys([*self._noted, *with_facts]))
        looking = [coordinator for coordinator in known if coordinator.may_look]
        enough = [coordinator for coordinator in looking if coordinator.is_enough(waiting)]
        found = self._database.schedules([coordinator.space.space_id for coordinator in enough]) if enough else {}
        for coordinator in looking:
            coordinator.note(found.get(coordinator.space.space_id))
            self._every = min(self._every, coordinator.look_every)
        self._noted = [coordinator for coordinator in known if coordinator.due_since is not None]
        return turns(self._noted, now)

    def _arrange(self) -> None:
        """Form the list of spaces that are polled together anew, if it has changed."""
        if not self._changed:
            return
        self._changed = False  # first: later changes are seen the next time
        self._by_space = {}
        for coordinator in list(self._spaces):
            self._by_space.setdefault(coordinator.space.space_id, []).append(coordinator)
        self._ids = SpaceIds.of(self._by_space)
        self._every = min((coordinator.look_every for coordinator in list(self._spaces)), default=math.inf)
        self._next_look = min(self._next_look, self._clock() + self._every)
        self._noted = [coordinator for coordinator in self._noted if coordinator in self._spaces]

    def _is_behind(self) -> bool:
        """Whether the last cycle here left unlearned facts: then the next is due at once."""
        return any(coordinator.behind for coordinator in list(self._noted))

    def _run_one(self, coordinator: LoopCoordinator) -> CycleResult | None:
        self._at = coordinator
        try:
            then = self._spaces.get(coordinator)
            if then is None:  # the space was removed
                return None
            result = coordinator.run_noted()
            if result is not None:
                then(result)
            return result
        except DatabaseUnavailable:
            raise
        except Exception:  # a failing space must not stop the others
            if coordinator.failures == 1:
                log.exception("a cycle of space %r failed; the next one is tried later", coordinator.space.name)
            return None
        finally:
            self._at = None

    def _run(self) -> None:
        pause = AWAY[0]
        while not self._stop.wait(0.0 if self._more or self._is_behind() else LOOK_EVERY * _random.uniform(0.9, 1.1)):
            try:
                self.run_due(LOOK_EVERY)
                pause = AWAY[0]
            except DatabaseUnavailable as exc:
                log.debug("learning waits for the database: %s", exc)  # the follower reports that the store is away
                self._stop.wait(pause)
                pause = min(2 * pause, AWAY[1])
            except Exception:
                log.exception("checking for unlearned facts failed; it is tried again")
                self._stop.wait(AWAY[1])
