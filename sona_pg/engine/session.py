"""An engine's open space: the calls that need the database, and its end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sona_pg.config import SonaConfig
from sona_pg.config.space_settings import Settings
from sona_pg.domain.budget import BudgetStatus, Per
from sona_pg.domain.cycle import CycleResult, RebuildResult
from sona_pg.domain.deep_result import DeepResult
from sona_pg.domain.erasure import Key, Receipt, Subject
from sona_pg.domain.gate import Gate
from sona_pg.domain.influence import Explanation
from sona_pg.domain.policy_estimate import PolicyEvaluation
from sona_pg.engine.ending import Ending
from sona_pg.engine.figures import Figures
from sona_pg.engine.opened_space import OpenedSpace, OpenRequest
from sona_pg.engine.process_runtime import runtimes
from sona_pg.errors import DatabaseError, DatabaseUnavailable, UnknownCandidate
from sona_pg.ingest.wakeups import held_here
from sona_pg.learning.answer_value import AnswerKind
from sona_pg.recorder import HotPath
from sona_pg.serving.served_version import ServedVersion
from sona_pg.worker.erasing import erase, finish
from sona_pg.worker.evaluation import evaluate
from sona_pg.worker.explaining import explain
from sona_pg.worker.rebuild import rebuild

log = logging.getLogger(__name__)

LEARN_TIMEOUT = 60.0  # seconds that learning waits for records to be committed


class Session(OpenedSpace):
    """An engine's space while it is open: the calls that need the database."""

    def __init__(self, hot: HotPath, config: SonaConfig, wanted: OpenRequest) -> None:
        """Open the space ``wanted`` for the recorder ``hot``; raises as ``SonaEngine`` does."""
        self._ending = Ending(self._end, self._held_here)
        super().__init__(hot, config, wanted)

    def call_space(self, name: str) -> None:
        """Store the new name of a renamed space."""
        self._wanted = self._wanted._replace(space=name)
        self._name = name

    def take_embedder(self, probe: NDArray[np.float32]) -> None:
        """Have the space know the embedder given at the opening; without the database this is left to a later poll.

        Raises:
            EmbedderChanged: the space's own embedder is another one.
        """
        self.own_embedder.compare(probe)
        self.own_embedder.offer(probe)
        if not self.is_attached:
            return
        try:
            self.own_embedder.keep(self.database, self.space)
        except DatabaseUnavailable as exc:
            log.warning("the embedder's probe is stored later: %s", exc)

    def set_settings(self, changes: Mapping[str, Any]) -> Settings:
        """Change learning settings of the space; see ``SonaEngine.set_settings``."""
        self.require_database()
        settings = self.database.set_settings(self.space, changes)
        self._learn_with(settings)
        return settings

    def set_budget(self, amount: float | None, per: Per) -> None:
        """Set or remove the budget of the space; see ``SonaEngine.set_budget``."""
        self.require_database()
        with self._refreshing:
            budget = self.database.set_budget(self.space, amount, per)
            if self.spending.adopt(budget):
                self.runtime.follower.pace(self)

    def budget(self) -> BudgetStatus | None:
        """Return the budget of the space, and what was spent of it; see ``SonaEngine.budget``."""
        self.require_database()
        self.spending.share()
        return self.database.budget(self.space)

    def require_database(self) -> None:
        """Raise ``DatabaseUnavailable`` if the database has not answered since the engine was opened."""
        self.require_open()
        _ = self.space

    def flush(self, timeout: float | None) -> None:
        """Return once all earlier records are committed."""
        self.require_open()
        self.writer.flush(timeout)
        self._figures.forget()

    def retire_candidates(self, ids: Sequence[str]) -> int:
        """Answer with candidates no more; see ``SonaEngine.retire_candidates``."""
        return self._change_candidates(lambda: self.database.retirements.retire(self.space, ids))

    def restore_candidates(self, ids: Sequence[str]) -> int:
        """Answer with retired candidates again; see ``SonaEngine.restore_candidates``."""
        return self._change_candidates(lambda: self.database.retirements.restore(self.space, ids))

    def _change_candidates(self, change: Callable[[], int]) -> int:
        self.require_database()
        settled = self.writer.candidates_settled
        try:
            changed = change()
        except UnknownCandidate:
            if settled:
                raise
            self.flush(LEARN_TIMEOUT)  # they may have been given to this server a moment ago
            changed = change()
        self.refresh()
        return changed

    def learn(self) -> CycleResult:
        """Commit all records, run loop B on them, and serve the result."""
        self.require_database()
        self.flush(LEARN_TIMEOUT)
        self.keep_kinds()
        assert self._coordinator is not None
        result = self._coordinator.force()
        self.refresh()
        self._figures.forget()
        return result

    def deep_learn(self, seconds: float | None, **how: Any) -> DeepResult:
        """Run loop C, and serve the result; see ``SonaEngine.deep_learn``."""
        self.require_database()
        assert self._coordinator is not None
        result = self._coordinator.force_deep(seconds, **how)
        self.refresh()
        self._figures.forget()
        return result

    def tick(self) -> CycleResult | None:
        """Commit all records, run loop B if there are enough unlearned facts, and serve the result."""
        self.require_open()
        if self._space is None or self._coordinator is None:
            return None
        self.flush(LEARN_TIMEOUT)
        self.keep_kinds()
        result = self._coordinator.run_asked()
        if result is not None:
            self.refresh()
        return result

    def stage(self) -> CycleResult:
        """Commit all records, learn from one slice, and store the result as a candidate version."""
        self.require_database()
        self.flush(LEARN_TIMEOUT)
        self.keep_kinds()
        assert self._coordinator is not None
        return self._coordinator.stage()

    def judge(self) -> list[Gate]:
        """Commit all records, and judge the versions whose gates are open; see ``SonaEngine.judge``."""
        self.require_database()
        self.flush(LEARN_TIMEOUT)
        assert self._coordinator is not None
        keeper = self.runtime.learner.gatekeeper
        open_gates = keeper.with_news([self.space.space_id])
        judged = [keeper.judge(gate, self._background, self.space) for gate in open_gates]
        self.refresh()
        return judged

    def serve_instead(self, serving: ServedVersion, name: str) -> None:
        """Serve a version or adapters called ``name`` until a newer version is published."""
        with self._refreshing:
            self.held.serve(serving, name)
            self._candidates.forget()
            self.attend()
        log.info("serving %s until a version after %d is published", name, self.serving.version)

    def load_adapters(self, path: Any) -> None:
        """Serve the adapters of a file until a newer version is published."""
        with self._refreshing:
            self.held.load_adapters(path)

    def rebuild(self, publish: bool) -> RebuildResult:
        """Learn the space again from its ledger; see ``SonaEngine.rebuild``."""
        self.require_database()
        self.flush(LEARN_TIMEOUT)
        result = rebuild(self.database, self.space, self._config, publish=publish)
        self.refresh()
        return result

    def erase(self, subject: Subject, key: Key, **how: Any) -> Receipt:
        """Erase the data of a subject, and serve the result; see ``SonaEngine.forget``."""
        self.require_database()
        self.flush(LEARN_TIMEOUT)
        receipt = erase(self.database, self.space, self._config, subject, key, **how)
        self.refresh()
        self._figures.forget()
        return receipt

    def explain(self, kind: AnswerKind, name: str, query: NDArray[np.float32], **how: Any) -> Explanation:
        """Return the facts that moved an answer; see ``SonaEngine.why``."""
        self.require_database()
        return explain(self.database, self.space, self._config, kind, name, query, **how)

    def finish_erasures(self, key: Key, **how: Any) -> int:
        """Finish erasures that were cut short, and serve the result."""
        self.require_database()
        count = finish(self.database, self.space, self._config, key, **how)
        self.refresh()
        return count

    def evaluate(self, **wanted: Any) -> PolicyEvaluation:
        """Evaluate policies on the logged decisions; see ``SonaEngine.evaluate_policies``."""
        self.require_open()
        return evaluate(self.database, self.space, self._config, live_version=self.refresh(), **wanted)

    @property
    def figures(self) -> Figures:
        """Return figures of the space and of this server."""
        return self._figures

    # -- the end --------------------------------------------------------------------------------------------

    def close(self) -> bool:
        """Refuse records, write the accepted ones, stop the threads, and release the database; see ``Ending``."""
        return self._ending.close(self.hot.refuse_records)

    def let_go(self) -> None:
        """Release the inherited hold on the embedded server, in a forked child."""
        self.runtime.let_go()

    def _end(self) -> None:
        try:
            self.writer.close()
        finally:
            away = self.silence(1.0)  # before the follower leaves, after which nothing is heard of the database
            self.runtime.follower.leave(self, self.database.cut)
            if self._coordinator is not None:
                self.runtime.learner.remove(self._coordinator, self.database.cut)
            self._closed = True
            self.runtime.maintainer.remove(self._config.maintenance)
            self._keep_version(now=True)
            if away is None:
                self._depart()
            runtimes.release(self.runtime)

    def _held_here(self) -> bool:
        """Whether this thread, interrupted by a signal handler, holds a lock that the end or the follower needs."""
        refreshing, answering = self._refreshing, (self.evidence, self.ranker.overlay, self.recaller, self.chooser)
        locked = held_here(refreshing) or any(held_here(part.lock) for part in answering)
        return locked or self.writer.held_here or self.held.held_here or runtimes.held_here

    def _depart(self) -> None:
        """Leave the fleet; not called while the database is away, for closing does not wait for it."""
        try:
            self.uses.send(self.space)
            self.spending.share()
        except DatabaseError as exc:
            log.debug("the last accesses of patterns, or costs, could not be counted: %s", exc)
        assert self._space is not None
        self.member.depart(self._space, self.serving.version)  # also of a space that a restore has replaced
