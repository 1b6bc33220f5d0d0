"""The unit of work of a learner: one transaction that claims, reads, and either publishes everything or nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, Engine

from sona_pg.domain.cycle import CycleResult, PastCycle
from sona_pg.domain.ledger import LedgerSlice, Outcome, Trajectories
from sona_pg.domain.pattern import LearnedPattern
from sona_pg.domain.space import Space
from sona_pg.domain.state import FisherSnapshot, LearnedState
from sona_pg.store import candidates, cycles, ledger, patterns, states
from sona_pg.store.connect import translated


@dataclass(frozen=True, slots=True, eq=False)
class Publication:
    """What a cycle has made beside its patterns, to be committed together."""

    state: LearnedState
    fisher: Sequence[FisherSnapshot]
    faded: Sequence[FisherSnapshot]  # to be deleted
    set_aside: Sequence[tuple[UUID, str]]


class LearningUnit:
    """What a learner may ask of the store within its transaction; see ``learning_unit`` for when that ends."""

    def __init__(self, connection: Connection, space: Space, live_version: int) -> None:
        self._connection = connection
        self._space = space
        self.live_version = live_version
        self.next_version, self.live_cycle = states.newest(connection, space.space_id, live_version)
        self._claimed: Sequence[int] = ()

    def claim(self) -> LedgerSlice:
        """Return everything that no cycle has learned from."""
        claimed = ledger.claim(self._connection, self._space.space_id, self._space.dim)
        self._claimed = claimed.batches
        return claimed

    def state(self) -> LearnedState | None:
        """Return the live state, or None before anything was learned."""
        if self.live_version == 0:
            return None
        return states.load(self._connection, self._space.space_id, self.live_version)

    def fisher(self) -> list[FisherSnapshot]:
        """Return what earlier tasks left behind."""
        return states.read_fisher(self._connection, self._space.space_id)

    def patterns(self) -> list[LearnedPattern]:
        """Return the patterns there are."""
        return patterns.read_patterns(self._connection, self._space.space_id)

    def candidates(self) -> tuple[list[str], NDArray[np.float32]]:
        """Return ids and embeddings (m, dim) of all candidates by slot; new ones get their slots now."""
        candidates.assign_slots(self._connection, self._space.space_id)
        return candidates.read_candidates(self._connection, self._space.space_id, self._space.dim)

    def candidate_sets(self, set_ids: Sequence[int]) -> dict[int, list[str]]:
        """Return the candidate ids of each set."""
        return dict(candidates.read_sets(self._connection, self._space.space_id, set_ids))

    def stored(self, ids: NDArray[np.uint8]) -> tuple[Trajectories, list[Outcome]]:
        """Return those of ``ids`` (n, 16) that are still stored, with their outcomes as of what is claimed."""
        return self._stored(ids, ledger.unclaimed(self._claimed))

    def holds_all(self, ids: NDArray[np.uint8]) -> bool:
        """Whether every one of ``ids`` (n, 16) is still stored."""
        return ledger.count_stored(self._connection, self._space.space_id, ids) == len(ids)

    def past_cycles(self) -> list[PastCycle]:
        """Return the cycles that made the versions there have been, in order."""
        return cycles.past(self._connection, self._space.space_id)

    def claimed_by(self, past: PastCycle) -> LedgerSlice:
        """Return what a past cycle claimed, as the ledger was then."""
        space = self._space
        return ledger.claimed_by(self._connection, space.space_id, space.dim, past.cycle_id, past.version)

    def stored_then(self, ids: NDArray[np.uint8], past: PastCycle) -> tuple[Trajectories, list[Outcome]]:
        """Return those of ``ids`` (n, 16) that are still stored, with their outcomes as of a past cycle."""
        return self._stored(ids, ledger.later_than(past.version))

    def _stored(self, ids: NDArray[np.uint8], hidden: ColumnElement[bool]) -> tuple[Trajectories, list[Outcome]]:
        space = self._space
        read = ledger.read_by_id(self._connection, space.space_id, space.dim, ids, hidden)
        return read, ledger.read_outcomes(self._connection, space.space_id, read, hidden)

    def republish(
        self,
        state: LearnedState,
        learned: Sequence[LearnedPattern],
        fisher: Sequence[FisherSnapshot],
        at: datetime,
    ) -> None:
        """Put a rebuilt state in the place of the live one, as a version of its own."""
        connection, space_id = self._connection, self._space.space_id
        states.forget(connection, space_id)
        states.publish(connection, space_id, state, at)
        kept = {pattern.id for pattern in learned}
        removed = [pattern.id for pattern in self.patterns() if pattern.id not in kept]
        patterns.write_patterns(connection, space_id, learned, removed, at)
        for snapshot in fisher:
            states.write_fisher(connection, space_id, snapshot, state.version, at)

    def publish_patterns(self, changed: Sequence[LearnedPattern], removed: Sequence[UUID], at: datetime) -> None:
        """Write the patterns that a cycle has changed, and delete those that are no more."""
        patterns.write_patterns(self._connection, self._space.space_id, changed, removed, at)

    def publish(
        self,
        server_id: UUID,
        made: Publication,
        claimed: Sequence[int],
        result: CycleResult,
        started: datetime,
        finished: datetime,
    ) -> None:
        """Write all else that a cycle has made; the transaction that ends around it makes it live."""
        connection, space_id = self._connection, self._space.space_id
        states.publish(connection, space_id, made.state, finished)
        for snapshot in made.fisher:
            states.write_fisher(connection, space_id, snapshot, made.state.version, finished)
        states.delete_fisher(connection, space_id, made.faded)
        ledger.put_aside(connection, space_id, result.cycle_id, made.set_aside)
        ledger.mark(connection, space_id, claimed, result.cycle_id)
        cycles.record(connection, space_id, server_id, result, started, finished)

    def pass_over(self, claimed: Sequence[int], cycle_id: UUID, reasons: Sequence[tuple[UUID, str]]) -> None:
        """Mark batches in which there was nothing to learn from."""
        ledger.put_aside(self._connection, self._space.space_id, cycle_id, reasons)
        ledger.mark(self._connection, self._space.space_id, claimed, cycle_id)


@contextmanager
def learning_unit(engine: Engine, space: Space) -> Iterator[LearningUnit]:
    """Open a unit of work on a space. It commits when the block ends without an error, else it rolls back."""
    with translated(f"learning in space {space.name!r}", engine.url), engine.begin() as connection:
        yield LearningUnit(connection, space, states.lock_space(connection, space.space_id))
