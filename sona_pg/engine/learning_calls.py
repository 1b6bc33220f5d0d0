"""Calls that learn, and that bring new versions to this server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from sona_pg.domain.cycle import CycleResult, RebuildResult
from sona_pg.domain.deep_result import DeepResult
from sona_pg.engine.lifetime import EngineLifetime


class LearningCalls(EngineLifetime):
    """Calls that run learning cycles, and serve their versions."""

    def force_learn(self) -> CycleResult:
        """Run loop B now, on everything recorded so far, and serve the new version."""
        return self._session.learn()

    def background_learn(self) -> CycleResult:
        """The same as ``force_learn``."""
        return self.force_learn()

    def deep_learn(
        self,
        seconds: float | None = None,
        *,
        progress: Callable[[int, int], object] = lambda done, total: None,
        stop: threading.Event | None = None,
    ) -> DeepResult:
        """Run loop C now: dream over the memory graph, consolidate it, fold EWC's tasks; serve the new version.

        It learns no new facts: ``force_learn`` does. A cycle that runs out of time, or is stopped, publishes what it
        did, and the next one goes on there.

        Args:
            seconds: at most; by default the setting ``dreams.budget``, 600.
            progress: called after each unit of work with the number of units done, and of all that are to be done.
            stop: ends the cycle early once it is set.
        """
        return self._session.deep_learn(seconds, progress=progress, stop=stop)

    def tick(self) -> CycleResult | None:
        """Commit all records, so that loop A has learned from them, and run loop B if there are enough unlearned facts.

        Enough is ``min_trajectories`` facts, and a tenth of the history (``LoopConfig``). With ``automatic`` cycles the
        engine does the same by itself, at ``shortest_interval`` at the earliest. Gates of versions are judged by
        automatic learners, by ``sona-pg worker`` and by ``judge``, not here.

        Raises:
            DatabaseUnavailable: the records are not committed after a minute; they are kept and tried again.
        """
        return self._session.tick()

    def refresh(self) -> int:
        """Serve the newest version, if this server does not yet; return the version served.

        All feedback committed by any server counts in rankings then; else much of it at once takes some seconds.
        """
        version = self._session.refresh()
        self._session.ranker.evidence.weigh_all(self._session.serving)
        return version

    def set_settings(self, changes: Mapping[str, Any]) -> Mapping[str, Any]:
        """Change learning settings of this space, for every learner, from its next version on; return all of them.

        A setting is called as in ``SonaConfig``: ``engine.set_settings({"base.learning_rate": 0.1})``. The change is
        kept with the ledger, and ``rebuild`` runs each cycle with the settings of its time. A running cycle is
        repeated. Ranks and the number of layers may only grow, which changes no answer.

        Raises:
            ConfigError: a setting is unknown, has an invalid value, or would cut learned state.
        """
        return self._session.set_settings(changes)

    def rebuild(self, *, publish: bool = False) -> RebuildResult:
        """Learn this space again from its ledger, cycle by cycle, and compare the result with the live state.

        On the same instruction set and release they are equal to the bit; another release may learn differently. After
        trajectories were deleted the states differ, and ``publish=True`` makes the result live: this unlearns deleted
        trajectories, and those dropped by retention. Other learners of the space wait meanwhile.
        """
        return self._session.rebuild(publish)
