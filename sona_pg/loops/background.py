"""Loop B: learn from the ledger in one transaction, and publish a version that every server picks up."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from uuid import UUID

from sona_pg.config import SonaConfig
from sona_pg.domain.catalog import Catalog
from sona_pg.domain.cycle import CycleResult
from sona_pg.domain.ids import uuid7
from sona_pg.domain.ledger import LedgerSlice
from sona_pg.domain.space import Space
from sona_pg.learning.adapters import protection
from sona_pg.learning.ewc import EwcPlusPlus
from sona_pg.learning.ewc_kronecker import KroneckerEwc
from sona_pg.learning.lora import BaseLoRA
from sona_pg.learning.reasoning_bank import ReasoningBank
from sona_pg.loops.knowledge import Knowledge, Step, Stored, learn, named_sets, replay_ids
from sona_pg.loops.memory import Memory
from sona_pg.loops.threads import one_thread
from sona_pg.store.database import Database
from sona_pg.store.unit import LearningUnit, Publication


class BackgroundLoop:
    """Runs cycles of loop B for one space."""

    def __init__(
        self,
        database: Database,
        space: Space,
        server_id: UUID,
        config: SonaConfig,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Prepare; nothing runs until ``run_cycle``."""
        self._database = database
        self._space = space
        self._server_id = server_id
        self._config = config
        self._now = now
        self.memory: Memory | None = None  # of the last version this learner has made

    @property
    def knowledge(self) -> Knowledge:
        """All that is known as of the last cycle of this learner; before its first one, of the live version."""
        if self.memory is not None:
            return self.memory.knowledge
        with self._database.learning_unit(self._space) as unit:
            return self._read_knowledge(unit)

    @property
    def reasoning_bank(self) -> ReasoningBank:
        """Its patterns, in a bank of their own: what is added there does not come back."""
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
        """What protects earlier tasks: Fisher information and optima of the layer that is trained."""
        known = self.knowledge
        return protection(known.state.base[0], known.state.arrays.get("ewc", {}), known.fisher, self._config)

    def run_cycle(self) -> CycleResult:
        """Learn from everything that was committed and not yet learned from.

        Another learner of the space is waited for; what it has learned is not learned again.

        Raises:
            DatabaseError: Postgres is away or refuses; then nothing has changed.
            LearningError: the learner met a state it cannot go on from; then nothing has changed.
        """
        result = self._run_cycle(None)
        assert result is not None
        return result

    def run_cycle_after(self, version: int) -> CycleResult | None:
        """Do what ``run_cycle`` does, unless another learner has published since ``version`` was live."""
        return self._run_cycle(version)

    def _run_cycle(self, only_after: int | None) -> CycleResult | None:
        try:
            return self._learn(only_after)
        except BaseException:
            self.memory = None  # it may be of a version that was not committed
            raise

    def _learn(self, only_after: int | None) -> CycleResult | None:
        started, clock = self._now(), time.perf_counter()
        cycle_id = uuid7()
        with self._database.learning_unit(self._space) as unit:
            if only_after is not None and unit.live_version != only_after:
                return None
            claimed = unit.claim()
            memory = self._recalled(unit)
            before = memory.knowledge if memory else self._read_knowledge(unit)
            result = CycleResult(
                loop="background",
                cycle_id=cycle_id,
                base_version=unit.live_version,
                version=unit.live_version,
                trajectories=len(claimed.fresh),
                feedback=claimed.feedback,
                revised=len(claimed.revised),
                set_aside=len(claimed.unreadable),
                patterns=len(before.patterns),
                patterns_created=0,
                patterns_merged=0,
                patterns_pruned=0,
                milliseconds=0.0,
            )
            if not len(claimed.fresh) and not len(claimed.revised):
                unit.pass_over(claimed.batches, cycle_id, claimed.unreadable)
                return _timed(result, clock)
            stored = self._stored(unit, claimed, before, memory)
            with one_thread(), ThreadPoolExecutor(1, "sona-pg patterns") as aside:
                # Postgres writes the patterns while the rest is learned; nobody else uses the connection meanwhile.
                writing: list[Future[None]] = []
                step = learn(
                    before,
                    claimed,
                    stored,
                    self._config,
                    unit.next_version,
                    lambda known, gone: writing.append(aside.submit(unit.publish_patterns, known, gone, self._now())),
                )
            for written in writing:
                written.result()
            result = _timed(_counted(result, step, unit.next_version), clock)
            result = dataclasses.replace(result, candidates=len(stored.catalog.ids))
            made = _publication(step, cycle_id, claimed.unreadable)
            unit.publish(self._server_id, made, claimed.batches, result, started, self._now())
            knowledge = dataclasses.replace(step.knowledge, state=made.state)
            # Before the commit, for whoever hears of the version first: it is looked at only when that is live.
            self.memory = Memory.after(cycle_id, knowledge, claimed, stored, self._config)
        return _timed(result, clock)

    def _recalled(self, unit: LearningUnit) -> Memory | None:
        """Return what the last cycle here has kept, if what it made is what is live."""
        kept = self.memory
        return (
            kept if kept is not None and (kept.version, kept.cycle_id) == (unit.live_version, unit.live_cycle) else None
        )

    def _stored(self, unit: LearningUnit, claimed: LedgerSlice, before: Knowledge, memory: Memory | None) -> Stored:
        if memory is not None and unit.holds_all(memory.trajectories.ids):
            trajectories, outcomes = memory.trajectories, memory.outcomes_with(claimed)
        else:
            trajectories, outcomes = unit.stored(replay_ids(before.state, self._config))
        return Stored(
            trajectories,
            outcomes,
            Catalog.of(*unit.candidates()),
            unit.candidate_sets(named_sets(claimed, trajectories)),
        )

    def _read_knowledge(self, unit: LearningUnit) -> Knowledge:
        state = unit.state()
        if state is None:
            return Knowledge.nothing(self._space.dim, self._config)
        return Knowledge(state, unit.patterns(), unit.fisher())


def _counted(result: CycleResult, step: Step, version: int) -> CycleResult:
    return dataclasses.replace(
        result,
        version=version,
        patterns=len(step.knowledge.patterns),
        patterns_created=step.created,
        patterns_merged=step.merged,
        patterns_pruned=step.pruned,
    )


def _publication(step: Step, cycle_id: UUID, set_aside: Sequence[tuple[UUID, str]]) -> Publication:
    state = dataclasses.replace(step.knowledge.state, cycle_id=cycle_id)
    return Publication(
        state=state,
        fisher=step.new_fisher,
        faded=step.faded,
        set_aside=set_aside,
    )


def _timed(result: CycleResult, clock: float) -> CycleResult:
    return dataclasses.replace(result, milliseconds=round((time.perf_counter() - clock) * 1000, 3))
