"""Past cycles in memory, to learn them again without one of their facts."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sona_pg.config import SonaConfig
from sona_pg.config.space_settings import applied
from sona_pg.domain.catalog import Catalog
from sona_pg.domain.cycle import PastCycle
from sona_pg.domain.ledger_slice import LedgerSlice, Outcome, Trajectories
from sona_pg.domain.space import Space
from sona_pg.errors import Conflict
from sona_pg.learning.graph.deep_round import Extent
from sona_pg.learning.graph.deep_step import deepen, position_of
from sona_pg.learning.knowledge import Knowledge, Relearned, Stored
from sona_pg.learning.patterns.kind_model import KindModel
from sona_pg.learning.relearning import rows_relearned
from sona_pg.learning.step import learn, named_sets, replay_ids
from sona_pg.store.copying import keys_of, sortable
from sona_pg.store.database import Database
from sona_pg.store.unit import LearningUnit
from sona_pg.worker.learner_cache import LearnerCache
from sona_pg.worker.step_input import kinds_at, order_for
from sona_pg.worker.threads import one_thread

MOST_FACTS = 100_000  # trajectories in memory
MOST_BYTES = 256 << 20  # of their embeddings


@dataclass(frozen=True, slots=True, eq=False)
class PastInput:
    """Input of one past cycle, beside the knowledge before it and its replay."""

    cycle: PastCycle
    config: SonaConfig
    claimed: LedgerSlice | None  # None: of a deep cycle
    candidates: int | None  # with a slot then; None: all
    kinds: KindModel | None
    order: Mapping[str, tuple[str, int]]


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """Replay of the next cycle: earlier trajectories, with their outcomes by then."""

    trajectories: Trajectories
    outcomes: Sequence[Outcome]


@dataclass(frozen=True, slots=True, eq=False)
class Moment:
    """Knowledge before a cycle, with the replay."""

    known: Knowledge
    held: Held


class PastInMemory:
    """The cycles of a space since a version, with all they read; ``after`` learns them again."""

    def __init__(self, database: Database, unit: LearningUnit, space: Space, config: SonaConfig) -> None:
        """Read the past, back to the oldest version from which the facts since fit into memory.

        Raises:
            Conflict: not even the facts since the last kept version do.
        """
        self._database = database
        self._space = space
        past = unit.past_cycles()
        read, self.start = _read_back(database, unit, space, past)
        self.catalog = self._then = unit.candidates()
        self.config = applied(config, unit.settings)
        self.inputs: list[PastInput] = []
        for cycle in past:
            if cycle.version > self.start:
                claimed = read.get(cycle.version)
                own = applied(config, unit.settings_at(cycle.version))
                order = {} if claimed is None else order_for(unit, claimed)
                kinds = kinds_at(unit, cycle.version)
                self.inputs.append(PastInput(cycle, own, claimed, cycle.candidates, kinds, order))
        first = self.inputs[0].config if self.inputs else self.config
        known = Knowledge.initial(space.dim, first)
        if self.start:
            begun = unit.loaded(self.start)
            known = Knowledge(begun.state, begun.patterns, begun.fisher)
        ids = replay_ids(known.state, first)
        held = Held(*(unit.stored_then(ids, self.inputs[0].cycle) if self.inputs else unit.stored(ids)))
        slices = [one.claimed for one in self.inputs if one.claimed is not None]
        named = {int(value) for value in np.unique(held.trajectories.candidate_sets) if value}
        self._sets = unit.candidate_sets(sorted(named.union(*(named_sets(each, held.trajectories) for each in slices))))
        self._begun = Moment(known, held)
        self._moments: dict[int, Moment] = {}

    def learn(self, kept: Collection[int]) -> Knowledge:
        """Learn all again, and return the knowledge of the live version; keep the moments before some inputs."""
        moment = self._begun
        for place, one in enumerate(self.inputs):
            if place in kept:
                self._moments[place] = moment
            moment = self._after(moment, one, one.claimed)
        return moment.known

    def without(self, trajectory: bytes, learned_by: int) -> Knowledge:
        """Return the knowledge without a trajectory, which the input ``learned_by``, a kept one, has first."""
        moment = self._moments[learned_by]
        for one in self.inputs[learned_by:]:
            claimed = None if one.claimed is None else one.claimed.without(trajectory)
            moment = self._after(moment, one, claimed)
        return moment.known

    def outcome_of(self, place: int, row: int) -> Outcome:
        """Return the outcome now of a new trajectory of an input."""
        first = self.inputs[place].claimed
        assert first is not None
        outcome, id_ = first.outcomes[row], first.fresh.ids[row].tobytes()
        for one in self.inputs[place + 1 :]:
            revised = [] if one.claimed is None else keys_of(one.claimed.revised.ids)
            if one.claimed is not None and id_ in revised:
                outcome = one.claimed.after[revised.index(id_)]
        return outcome

    def _after(self, before: Moment, one: PastInput, claimed: LedgerSlice | None) -> Moment:
        known, held, version = before.known, before.held, one.cycle.version
        if one.cycle.deep is not None:
            extent = Extent(position_of(known.state), one.cycle.deep.units)
            with one_thread():
                step = deepen(known, self._catalog_of(one), one.config, version, one.cycle.deep.at, extent)
            return Moment(step.knowledge, held)
        assert claimed is not None
        if not len(claimed.fresh) and not len(claimed.revised):
            return before
        replay = np.isin(sortable(held.trajectories.ids), sortable(replay_ids(known.state, one.config)))
        rows = np.flatnonzero(replay)
        trajectories = held.trajectories.take(rows)
        said = dict(zip(claimed.revised.uuids(), claimed.after, strict=True))
        then = [held.outcomes[row] for row in rows.tolist()]
        outcomes = [said.get(id_, outcome) for id_, outcome in zip(trajectories.uuids(), then, strict=True)]
        again = rows_relearned(known.state, claimed, trajectories, one.config, version)
        relearned = None
        if again is not None:
            chosen = trajectories.take(again)
            steps = self._database.steps_of(self._space, chosen.ids)
            relearned = Relearned(chosen, [outcomes[row] for row in again.tolist()], steps)
        sets = {number: self._sets[number] for number in named_sets(claimed, trajectories) if number in self._sets}
        stored = Stored(trajectories, outcomes, self._catalog_of(one), sets, one.kinds, relearned, one.order)
        with one_thread():
            after = learn(known, claimed, stored, one.config, version).knowledge
        cache = LearnerCache.after(one.cycle.cycle_id, after, claimed, stored, one.config)
        return Moment(after, Held(cache.trajectories, cache.outcomes))

    def _catalog_of(self, one: PastInput) -> Catalog:
        """Return the candidates as a cycle knew them."""
        count = len(self.catalog) if one.candidates is None else one.candidates
        if len(self._then) != count:
            self._then = self.catalog.first(count)
        return self._then


def _read_back(
    database: Database, unit: LearningUnit, space: Space, past: Sequence[PastCycle]
) -> tuple[dict[int, LedgerSlice], int]:
    """Return the slices of the latest cycles by version, and the version that they follow."""
    most = min(MOST_FACTS, MOST_BYTES // (4 * space.dim))
    loaded = max((cycle.version for cycle in past if cycle.loaded), default=0)
    begins = [version for version in database.erasures.clean_versions(space, unit.live_version) if version >= loaded]
    if loaded and loaded not in begins:
        begins = [loaded, *begins]
    read: dict[int, LedgerSlice] = {}
    facts, unread = 0, None
    for cycle in reversed(past):
        if cycle.version <= loaded:
            break
        if cycle.deep is not None:
            continue
        claimed = unit.claimed_by(cycle)
        facts += len(claimed.fresh)
        if facts > most:
            unread = cycle.version
            break
        read[cycle.version] = claimed
    if unread is None:
        return read, loaded
    possible = [version for version in begins if version >= unread]
    if not possible:
        raise Conflict(
            f"space {space.name!r} has learned from more than {most} trajectories since its last kept version that a "
            "rebuild reaches: none of them can be left out in memory"
        )
    return read, possible[0]
