"""Calls that learn, and that bring what was learned to this server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sona_pg.domain.cycle import CycleResult, RebuildResult
from sona_pg.engine.lifetime import EngineLifetime


class LearningCalls(EngineLifetime):
    """Calls that run learning cycles, and take up their versions."""

    def force_learn(self) -> CycleResult:
        """Run loop B now, on everything recorded so far, however little; serve what it learned."""
        return self._session.learn()

    def background_learn(self) -> CycleResult:
        """The same as ``force_learn``."""
        return self.force_learn()

    def tick(self) -> CycleResult | None:
        """Commit what was recorded, so that loop A has learned from it, and run loop B if enough waits.

        Enough is ``min_trajectories`` facts, and a tenth of the history (``LoopConfig``). With ``automatic`` cycles the
        engine does it itself as well, at ``shortest_interval`` at the earliest.

        Raises:
            DatabaseUnavailable: what was recorded is not committed after a minute; it goes on waiting.
        """
        return self._session.tick()

    def refresh(self) -> int:
        """Take up the newest version if this server does not serve it yet; return the version served."""
        return self._session.refresh()

    def set_settings(self, changes: Mapping[str, Any]) -> Mapping[str, Any]:
        """Change what this space learns with, for every learner, from its next version on; return all its settings.

        A setting is called as in ``SonaConfig``: ``engine.set_settings({"base.learning_rate": 0.1})``. The change is
        kept with the ledger, and ``rebuild`` runs each cycle with the settings of its time. A cycle that runs meanwhile
        is run again. A rank or a number of layers may grow, which changes no answer; nothing that was learned is cut.

        Raises:
            ConfigError: a setting is unknown, has a value that cannot work, or would cut what was learned.
        """
        return self._session.set_settings(changes)

    def rebuild(self, *, publish: bool = False) -> RebuildResult:
        """Learn this space again from its ledger, cycle by cycle, and say whether that gives the live state.

        On the same instruction set and release it does, to the bit; a release that learns otherwise than the one that
        ran the cycles gives another state. After trajectories have been deleted the states differ, and
        ``publish=True`` makes the result live: the influence of deleted trajectories, and of those that retention has
        dropped, is unlearned. Other learners of the space wait meanwhile.
        """
        return self._session.rebuild(publish)
