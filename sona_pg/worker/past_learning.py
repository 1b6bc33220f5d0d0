"""Past cycles run again, each on the batches it claimed, with the ledger and the settings of its time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sona_pg.config import SonaConfig
from sona_pg.config.space_settings import applied
from sona_pg.domain.catalog import Catalog
from sona_pg.domain.cycle import PastCycle
from sona_pg.domain.ledger_slice import LedgerSlice, Outcome, Trajectories
from sona_pg.domain.space import Space
from sona_pg.learning.graph.deep_round import Extent
from sona_pg.learning.graph.deep_step import deepen, position_of
from sona_pg.learning.knowledge import Knowledge, Stored
from sona_pg.learning.relearning import rows_relearned
from sona_pg.learning.step import learn, named_sets, replay_ids
from sona_pg.store.unit import LearningUnit
from sona_pg.worker.learner_cache import LearnerCache
from sona_pg.worker.step_input import kinds_at, order_for, relearned_of
from sona_pg.worker.threads import one_thread

Progress = Callable[[int, int], object]  # cycles done, cycles in all


@dataclass(frozen=True, slots=True, eq=False)
class Relived:
    """Result of running past cycles again."""

    knowledge: Knowledge
    initial: Knowledge  # of version 0
    cycles: tuple[PastCycle, ...]  # that were run
    trajectories: int  # that were read


class PastLearning:
    """Runs the past cycles of a space again; under the learner's lease."""

    def __init__(self, unit: LearningUnit, space: Space, config: SonaConfig) -> None:
        """Prepare; ``run`` begins."""
        self._unit = unit
        self._space = space
        self._config = config
        self._cache: LearnerCache | None = None  # of the cycle before, if it was one of loop B

    def initial(self) -> Knowledge:
        """Return the knowledge of version 0."""
        unit = self._unit
        past = unit.past_cycles()
        first = applied(self._config, unit.settings_at(past[0].version if past else unit.next_version))
        return Knowledge.initial(self._space.dim, first)

    def run(self, start: int = 0, progress: Progress = lambda done, total: None) -> Relived:
        """Return the knowledge that the cycles after version ``start`` make, from the one of ``start``."""
        unit = self._unit
        past = unit.past_cycles()
        initial = known = self.initial()
        if start:
            begun = unit.loaded(start)
            known = Knowledge(begun.state, begun.patterns, begun.fisher)
        cycles = [cycle for cycle in past if cycle.version > start]
        candidates = catalog = unit.candidates()
        trajectories = 0
        for done, cycle in enumerate(cycles):
            progress(done, len(cycles))
            count = len(candidates) if cycle.candidates is None else cycle.candidates
            if count != len(catalog):
                catalog = candidates.first(count)
            known, read = self._again(cycle, known, catalog)
            trajectories += read
        progress(len(cycles), len(cycles))
        return Relived(known, initial, tuple(cycles), trajectories)

    def _again(self, cycle: PastCycle, before: Knowledge, catalog: Catalog) -> tuple[Knowledge, int]:
        """Return the knowledge after ``cycle``, and the number of trajectories read."""
        unit = self._unit
        config = applied(self._config, unit.settings_at(cycle.version))
        if cycle.loaded:
            self._cache = None
            loaded = unit.loaded(cycle.version)
            return Knowledge(loaded.state, loaded.patterns, loaded.fisher), 0
        if cycle.deep is not None:
            extent = Extent(position_of(before.state), cycle.deep.units)
            with one_thread():
                return deepen(before, catalog, config, cycle.version, cycle.deep.at, extent).knowledge, 0
        claimed = unit.claimed_by(cycle)
        if not len(claimed.fresh) and not len(claimed.revised):
            return before, 0  # all its trajectories are deleted: as if it had not run
        replay, outcomes = self._stored(cycle, before, claimed, config)
        rows = rows_relearned(before.state, claimed, replay, config, cycle.version)
        stored = Stored(
            replay,
            outcomes,
            catalog,
            unit.candidate_sets(named_sets(claimed, replay)),
            kinds_at(unit, cycle.version),
            None if rows is None else relearned_of(unit, replay, outcomes, rows),
            order_for(unit, claimed),
        )
        with one_thread():
            known = learn(before, claimed, stored, config, cycle.version).knowledge
        self._cache = LearnerCache.after(cycle.cycle_id, known, claimed, stored, config)
        return known, len(claimed.fresh)

    def _stored(
        self, cycle: PastCycle, before: Knowledge, claimed: LedgerSlice, config: SonaConfig
    ) -> tuple[Trajectories, list[Outcome]]:
        """Return the replay of a cycle with its outcomes then; from memory if the cycle before left it there."""
        ids, cache = replay_ids(before.state, config), self._cache
        if (
            cache is not None
            and len(cache.trajectories) == len(ids)
            and np.array_equal(ids, replay_ids(cache.knowledge.state, config))
        ):
            return cache.trajectories, cache.outcomes_with(claimed)
        return self._unit.stored_then(ids, cycle)
