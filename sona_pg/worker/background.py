"""Loop B: claim unlearned batches, learn from them, and publish a version to every server."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Sequence
from uuid import UUID

import numpy as np

from sona_pg.config import SonaConfig
from sona_pg.config.space_settings import Settings, applied
from sona_pg.domain.catalog import Catalog
from sona_pg.domain.cycle import CycleResult
from sona_pg.domain.ids import uuid7
from sona_pg.domain.ledger_slice import LedgerSlice
from sona_pg.domain.space import Space
from sona_pg.errors import DatabaseError, DatabaseUnavailable, LearningConflict
from sona_pg.learning.adapters.adapter_step import protection
from sona_pg.learning.adapters.ewc import EwcPlusPlus
from sona_pg.learning.adapters.ewc_kronecker import KroneckerEwc
from sona_pg.learning.knowledge import Knowledge, Stored
from sona_pg.learning.relearning import rows_relearned
from sona_pg.learning.step import Step, learn, named_sets, replay_ids
from sona_pg.standalone.lora import BaseLoRA
from sona_pg.standalone.reasoning_bank import ReasoningBank
from sona_pg.store.claims import Limit
from sona_pg.store.database import Database
from sona_pg.store.learned import StoredKnowledge
from sona_pg.store.unit import LearningUnit, Publication
from sona_pg.worker.cache_shelf import CacheShelf
from sona_pg.worker.isolation import Rows, poisoned_rows, require_finite
from sona_pg.worker.learner_cache import LearnerCache
from sona_pg.worker.step_input import kinds_at, order_for, relearned_of
from sona_pg.worker.threads import one_thread

log = logging.getLogger(__name__)

ATTEMPTS = 5  # for a cycle, if another learner publishes first


class BackgroundLoop:
    """Runs cycles of loop B for one space."""

    def __init__(
        self,
        database: Database,
        space: Space,
        server_id: UUID,
        config: SonaConfig,
        shelf: CacheShelf | None = None,
    ) -> None:
        """Prepare; ``run_cycle`` learns with the settings that the space has at that time.

        ``shelf`` holds the learner caches of many loops.
        """
        self._database = database
        self._space = space
        self.server_id = server_id
        self._config = applied(config, space.settings)
        self._shelf = shelf or CacheShelf()
        self.catalog: Catalog | None = None  # last one read; a server in this process shares its arrays

    @property
    def cache(self) -> LearnerCache | None:
        """Learner cache of the last version made here, unless evicted."""
        return self._shelf.get(self)

    @cache.setter
    def cache(self, cache: LearnerCache | None) -> None:
        self._shelf.put(self, cache)

    @property
    def config(self) -> SonaConfig:
        """The configuration of the last cycle: with the settings that the space had then."""
        return self._config

    @property
    def knowledge(self) -> Knowledge:
        """Knowledge as of this learner's last cycle; before its first one, of the live version."""
        cache = self.cache
        if cache is not None:
            return cache.knowledge
        return self._known(self._database.learned(self._space))

    @property
    def reasoning_bank(self) -> ReasoningBank:
        """Its patterns as a separate bank: additions there do not affect the space."""
        known = self.knowledge
        seed = self._config.loops.seed
        return ReasoningBank(
            self._config.patterns, seed=seed, patterns=known.patterns, version=known.state.version
        )  # fmt: skip

    @property
    def base_lora(self) -> BaseLoRA:
        """Its base adapter, every layer."""
        layers = self.knowledge.state.base
        return BaseLoRA(self._space.dim, layers[0].rank, len(layers), layers=layers)

    @property
    def ewc(self) -> EwcPlusPlus | KroneckerEwc:
        """Fisher information and optima of earlier tasks, of the trained layer."""
        known = self.knowledge
        return protection(known.state.base[0], known.state.arrays.get("ewc", {}), known.fisher, self._config)

    def run_cycle(self) -> CycleResult:
        """Learn from all unlearned facts, slice by slice.

        Facts committed from now on are left for the next call. Waits for another learner of the space, and skips the
        facts that it has learned.

        Raises:
            DatabaseError: Postgres is away or refuses; earlier slices are learned.
            LearningError: learning cannot continue from this state; earlier slices are learned.
        """
        limit = self._database.newest_waiting(self._space)
        result = self._run_slice(limit)
        while result.followed:
            result = result.then(self._run_slice(limit))
        return result

    def stage(self) -> CycleResult:
        """Learn from one slice, and store the result as a candidate version; the live version stays.

        The facts stay unlearned until the candidate is promoted.

        Raises:
            DatabaseError: Postgres is away or refuses; nothing has changed.
            LearningError: learning cannot continue from this state; nothing has changed.
        """
        return self._run_slice(None, publish=False)

    def _run_slice(self, limit: Limit | None, *, publish: bool = True) -> CycleResult:
        failed = self._database.schedule(self._space, "background").failures > 0
        for _ in range(ATTEMPTS):
            try:
                with self._database.learning_unit(self._space, self.server_id) as unit:
                    assert unit is not None
                    return self._cycle(unit, limit, publish=publish, failed=failed)
            except LearningConflict as exc:
                log.info("a cycle is run again: %s", exc)
        raise LearningConflict(
            f"space {self._space.name!r}: other learners were faster {ATTEMPTS} times; try again later"
        )

    def run_cycle_after(self, version: int, *, failed: bool = False) -> CycleResult | None:
        """Learn from one slice, unless another learner holds the lease or has published since ``version``.

        ``failed``: the last cycle of the space did; so trajectories that cannot be learned from are set aside.
        """
        with self._database.learning_unit(self._space, self.server_id, wait=False) as unit:
            if unit is None or unit.live_version != version:
                return None
            try:
                return self._cycle(unit, None, failed=failed)
            except LearningConflict as exc:
                log.info("a cycle was in vain: %s", exc)
                return None

    def _cycle(
        self, unit: LearningUnit, limit: Limit | None, *, publish: bool = True, failed: bool = False
    ) -> CycleResult:
        cycle_id = uuid7()
        try:
            return self._learn(unit, cycle_id, limit, publish, failed)
        except BaseException as exc:
            self.cache = None  # its version may not have been committed
            if isinstance(exc, Exception) and not isinstance(exc, LearningConflict | DatabaseUnavailable):
                self._note_failure(unit, cycle_id, exc)
            raise

    def _learn(
        self, unit: LearningUnit, cycle_id: UUID, limit: Limit | None, publish: bool, failed: bool
    ) -> CycleResult:
        clock = time.perf_counter()
        self._learn_with(unit.settings)
        held = publish and self._config.gate.mode == "hold" and unit.live_version > 0
        if held and self._database.gates.is_holding(self._space):  # its facts stay unlearned until it is judged
            return _timed(_nothing_learned(cycle_id, unit.live_version), clock)
        claimed = unit.claim(self._config.loops.slice, limit)
        cache = self._recalled(unit)
        before = cache.knowledge if cache else self._known(unit.learned())
        if failed:
            claimed = self._without_poisoned(unit, claimed, before, cache)
        result = dataclasses.replace(
            _nothing_learned(cycle_id, unit.live_version),
            trajectories=len(claimed.fresh),
            feedback=claimed.feedback,
            revised=len(claimed.revised),
            set_aside=len(claimed.unreadable),
            patterns=len(before.patterns),
            without_route=_without_route(claimed),
            followed=claimed.followed,
        )
        if not len(claimed.fresh) and not len(claimed.revised):
            if publish:
                unit.pass_over(claimed.batches, cycle_id, claimed.unreadable)
            return _timed(result, clock)
        if result.without_route:
            log.warning(
                "space %r: %d of %d trajectories name candidates but no route: the shown candidate is unknown, so they "
                "do not train the ranker; call set_trajectory_route",
                self._space.name,
                result.without_route,
                result.trajectories,
            )
        stored = self._stored(unit, claimed, before, cache)
        with one_thread():
            step = learn(before, claimed, stored, self._config, unit.next_version)
        result = _timed(_counted(result, step, unit.next_version), clock)
        result = dataclasses.replace(result, candidates=len(stored.catalog.ids))
        made = _publication(step, cycle_id, claimed.unreadable, before)
        if held or not publish:
            unit.stage(self.server_id, made, claimed.batches, result, held=held)
            return _timed(dataclasses.replace(result, followed=False), clock)
        knowledge = dataclasses.replace(step.knowledge, state=made.state)
        # Stored before the version is live, for a follower that hears of it first; used only once it is live.
        self.cache = LearnerCache.after(cycle_id, knowledge, claimed, stored, self._config)
        unit.publish(self.server_id, made, claimed.batches, result)
        return _timed(result, clock)

    def _without_poisoned(
        self, unit: LearningUnit, claimed: LedgerSlice, before: Knowledge, cache: LearnerCache | None
    ) -> LedgerSlice:
        """Return the slice without the trajectories for which learning raises; these are added to the unreadable."""
        stored = self._stored(unit, claimed, before, cache)

        def attempt(rows: Rows) -> None:
            if len(rows) or len(claimed.revised):
                require_finite(learn(before, claimed.only(rows), stored, self._config, unit.next_version))

        with one_thread():
            found = poisoned_rows(len(claimed.fresh), attempt)
        if not found:
            return claimed
        ids = claimed.fresh.uuids()
        log.warning(
            "space %r: %d trajectories are set aside: %s", self._space.name, len(found), next(iter(found.values()))
        )
        healthy = claimed.only(np.setdiff1d(np.arange(len(ids)), list(found)))
        aside = [*claimed.unreadable, *((ids[row], error) for row, error in sorted(found.items()))]
        return dataclasses.replace(healthy, unreadable=aside)

    def _learn_with(self, settings: Settings) -> None:
        """Adopt new settings of the space, and drop the learner cache made with the old ones."""
        config = applied(self._config, settings)
        if config != self._config:
            self._config, self.cache = config, None

    def _note_failure(self, unit: LearningUnit, cycle_id: UUID, exc: Exception) -> None:
        error = f"{type(exc).__name__}: {exc}"
        try:
            unit.record_failure(self.server_id, _nothing_learned(cycle_id, unit.live_version), error)
        except DatabaseError as unnoted:
            log.warning("that a cycle failed (%s) cannot be noted in sona.cycles: %s", error, unnoted)

    def _recalled(self, unit: LearningUnit) -> LearnerCache | None:
        """Return the learner cache if the version it made is still live."""
        kept = self.cache
        return (
            kept if kept is not None and (kept.version, kept.cycle_id) == (unit.live_version, unit.live_cycle) else None
        )

    def _stored(
        self, unit: LearningUnit, claimed: LedgerSlice, before: Knowledge, cache: LearnerCache | None
    ) -> Stored:
        if cache is not None and unit.holds_all(cache.trajectories.ids):
            trajectories, outcomes = cache.trajectories, cache.outcomes_with(claimed)
        else:
            trajectories, outcomes = unit.stored(replay_ids(before.state, self._config))
        kept = self.cache  # valid for any version: candidates are only added
        catalog = unit.candidates(self.catalog if kept is None else kept.catalog)
        self.catalog = catalog.bare()
        rows = rows_relearned(before.state, claimed, trajectories, self._config, unit.next_version)
        return Stored(
            trajectories,
            outcomes,
            catalog,
            unit.candidate_sets(named_sets(claimed, trajectories)),
            kinds_at(unit, unit.next_version),
            None if rows is None else relearned_of(unit, trajectories, outcomes, rows),
            order_for(unit, claimed),
        )

    def _known(self, learned: StoredKnowledge | None) -> Knowledge:
        if learned is None:
            return Knowledge.initial(self._space.dim, self._config)
        return Knowledge(learned.state, learned.patterns, learned.fisher)


def _nothing_learned(cycle_id: UUID, version: int) -> CycleResult:
    return CycleResult(
        loop="background",
        cycle_id=cycle_id,
        base_version=version,
        version=version,
        trajectories=0,
        feedback=0,
        revised=0,
        set_aside=0,
        patterns=0,
        patterns_created=0,
        patterns_merged=0,
        patterns_pruned=0,
        milliseconds=0.0,
    )


def _without_route(claimed: LedgerSlice) -> int:
    named = np.flatnonzero(claimed.fresh.candidate_sets)
    return sum(claimed.fresh.routes[row] is None for row in named.tolist())


def _counted(result: CycleResult, step: Step, version: int) -> CycleResult:
    return dataclasses.replace(
        result,
        version=version,
        patterns=len(step.knowledge.patterns),
        patterns_created=step.created,
        patterns_merged=step.merged,
        patterns_pruned=step.pruned,
    )


def _publication(step: Step, cycle_id: UUID, set_aside: Sequence[tuple[UUID, str]], before: Knowledge) -> Publication:
    state = dataclasses.replace(step.knowledge.state, cycle_id=cycle_id)
    return Publication(
        state=state,
        patterns=step.knowledge.patterns,
        removed=step.removed,
        fisher=step.new_fisher,
        faded=step.faded,
        set_aside=set_aside,
        all_fisher=step.knowledge.fisher,
        graph_before=before.state.arrays.get("graph"),
    )


def _timed(result: CycleResult, clock: float) -> CycleResult:
    return dataclasses.replace(result, milliseconds=round((time.perf_counter() - clock) * 1000, 3))
