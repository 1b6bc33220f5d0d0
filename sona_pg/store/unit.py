"""A learner's hold on one space: a lease, short transactions to read, and one short transaction to publish.

No transaction is open while a learner computes. The publishing transaction checks the lease's epoch, the live version,
and that the claimed batches are still unlearned.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine, text

from sona_pg.domain.catalog import Catalog
from sona_pg.domain.cycle import CycleResult, PastCycle
from sona_pg.domain.deep_result import AnyCycle
from sona_pg.domain.ledger_slice import LedgerSlice, Outcome, Steps, Trajectories
from sona_pg.domain.pattern import LearnedPattern
from sona_pg.domain.soundness import require_sound
from sona_pg.domain.space import Space
from sona_pg.domain.state import Arrays, FisherSnapshot, LearnedState
from sona_pg.errors import DatabaseError, LearningConflict
from sona_pg.store import (
    candidates,
    claims,
    cycles,
    erasure_rows,
    fleet,
    gate_rows,
    graph_rows,
    kind_weights,
    leases,
    ledger,
    outcome_rows,
    pattern_rows,
    pattern_uses,
    settings_log,
    states,
    trajectory_rows,
    version_contents,
    versions,
)
from sona_pg.store.claims import Horizon, Limit
from sona_pg.store.learned import StoredKnowledge, read_learned
from sona_pg.store.lease_hold import LEASE, renewed, take
from sona_pg.store.transactions import reading, snapshot, transaction

log = logging.getLogger(__name__)

END_IF_IDLE = text("SET LOCAL idle_in_transaction_session_timeout = '10s'")


@dataclass(frozen=True, slots=True, eq=False)
class Publication:
    """Result of a cycle, committed together."""

    state: LearnedState
    patterns: Sequence[LearnedPattern]
    removed: Sequence[UUID]  # deleted patterns
    fisher: Sequence[FisherSnapshot]  # new ones
    faded: Sequence[FisherSnapshot]  # to be deleted
    set_aside: Sequence[tuple[UUID, str]]
    all_fisher: Sequence[FisherSnapshot] = ()  # including kept earlier ones
    graph_before: Arrays | None = None  # arrays of the graph of the live version, which the live tables hold


class LearningUnit:
    """Store operations of a learner that holds the space's lease; see ``learning_unit``."""

    def __init__(self, engine: Engine, space: Space, lease: leases.Lease) -> None:
        self._engine = engine
        self._space = space
        self._lease = lease
        self._doing = f"learning in space {space.name!r}"
        self._claimed: Sequence[int] = ()
        with self._transaction() as connection:
            self.live_version = states.lock_space(connection, space.space_id)
            self.settings = settings_log.begin(connection, space)
            self._gate = gate_rows.gate_config(self.settings)
            self._kinds = kind_weights.read(connection, space.space_id)
            self.next_version, self.live_cycle = states.newest(connection, space.space_id, self.live_version)
            self.began = leases.now(connection)

    # -- reading: a statement each, no transaction around them ----------------------------------------------

    def claim(self, most: int, limit: Limit | None = None) -> LedgerSlice:
        """Return the next ``most`` facts that no cycle has learned from; see ``claims.next_slice``."""
        self._erase_late()
        with self._reading() as connection:
            claimed = ledger.claim(connection, self._space.space_id, self._space.dim, most, limit)
        self._claimed = claimed.batches
        return claimed

    def _erase_late(self) -> None:
        """Remove unlearned records of erased users that a server has kept until after their erasure."""
        with self._reading() as connection:
            if not erasure_rows.has_late(connection, self._space.space_id):
                return
        with self._transaction() as connection:
            gone = erasure_rows.remove_late(connection, self._space.space_id, leases.now(connection))
        if gone:
            log.info("space %r: %d records of erased users arrived late and were erased", self._space.name, gone)

    def learned(self) -> StoredKnowledge | None:
        """Return the contents of the live version, or None for version 0."""
        if self.live_version == 0:
            return None
        space_id = self._space.space_id
        with snapshot(self._engine, "reading the live version") as connection:
            if fleet.live_version(connection, space_id) != self.live_version:
                raise LearningConflict(f"space {self._space.name!r}: another learner has published meanwhile")
            return read_learned(connection, space_id)

    def candidates(self, known: Catalog | None = None) -> Catalog:
        """Return all candidates by slot; new ones get their slots now, those in ``known`` are not read again."""
        space_id = self._space.space_id
        with self._reading() as connection:
            new = candidates.has_new(connection, space_id)
        if new:
            with self._transaction() as connection:
                self._require_lease(connection)
                states.lock_space(connection, space_id)
                candidates.assign_slots(connection, space_id)
        with self._reading() as connection:
            return candidates.read_catalog(connection, space_id, self._space.dim, known)

    def candidate_sets(self, set_ids: Sequence[int]) -> dict[int, list[str]]:
        """Return the candidate ids of each set."""
        with self._reading() as connection:
            return dict(candidates.read_sets(connection, self._space.space_id, set_ids))

    def candidate_order(self) -> dict[str, tuple[str, int]]:
        """Return group and position of every candidate in a group."""
        with self._reading() as connection:
            rows = candidates.read_order(connection, self._space.space_id)
        return {name: (group, position) for name, group, position in rows}

    def stored(self, ids: NDArray[np.uint8]) -> tuple[Trajectories, list[Outcome]]:
        """Return the trajectories among ``ids`` (n, 16) still stored, with their outcomes up to the claim."""
        return self._stored(ids, claims.unclaimed_but(self._claimed))

    def kinds_at(self, version: int) -> bytes | None:
        """Return the weights by which ``version`` tells kinds of patterns, if the space had any."""
        return self._kinds.weights if self._kinds is not None and self._kinds.from_version <= version else None

    def steps_of(self, ids: NDArray[np.uint8]) -> Steps:
        """Return the steps of the trajectories ``ids`` (n, 16)."""
        with self._reading() as connection:
            if not len(ids):
                return trajectory_rows.no_steps(self._space.dim)
            return trajectory_rows.read_steps(connection, self._space.space_id, ids, self._space.dim)

    def holds_all(self, ids: NDArray[np.uint8]) -> bool:
        """Whether every one of ``ids`` (n, 16) is still stored."""
        with self._reading() as connection:
            return trajectory_rows.count_stored(connection, self._space.space_id, ids) == len(ids)

    def settings_at(self, version: int) -> Mapping[str, Any]:
        """Return the settings with which a version was made."""
        with self._reading() as connection:
            return settings_log.at_version(connection, self._space.space_id, version)

    def past_cycles(self) -> list[PastCycle]:
        """Return the cycles that made the past versions, in order."""
        with self._reading() as connection:
            return cycles.past(connection, self._space.space_id)

    def claimed_by(self, past: PastCycle) -> LedgerSlice:
        """Return the slice of a past cycle, as the ledger was then."""
        space = self._space
        with self._reading() as connection:
            return ledger.claimed_by(connection, space.space_id, space.dim, past.cycle_id, past.version)

    def stored_then(self, ids: NDArray[np.uint8], past: PastCycle) -> tuple[Trajectories, list[Outcome]]:
        """Return the trajectories among ``ids`` (n, 16) still stored, with their outcomes at a past cycle."""
        return self._stored(ids, claims.as_of(self._space.space_id, past.version))

    def _stored(self, ids: NDArray[np.uint8], horizon: Horizon) -> tuple[Trajectories, list[Outcome]]:
        space = self._space
        with self._reading() as connection:
            read = trajectory_rows.read_by_id(connection, space.space_id, space.dim, ids, horizon)
            return read, outcome_rows.read_outcomes(connection, space.space_id, read, horizon)

    # -- publishing: one transaction ------------------------------------------------------------------------

    def publish(self, server_id: UUID, made: Publication, claimed: Sequence[int], result: AnyCycle) -> None:
        """Publish the result of a cycle as the live version, and mark its batches as learned.

        Raises:
            LearningConflict: another learner was faster, or has taken the lease; nothing has changed.
            UnsoundVersion: the version must not be served; nothing has changed.
        """
        require_sound(made.state, made.patterns, self._space.dim)
        space_id = self._space.space_id
        with self._publishing(claimed, result.cycle_id) as (connection, at):
            version_contents.keep_live(connection, space_id, self.live_version)  # that an earlier release has made
            pattern_rows.write_patterns(connection, space_id, made.patterns, made.removed, at)
            pattern_uses.note_created(connection, space_id, made.patterns, made.state.version, at)
            states.delete_fisher(connection, space_id, made.faded)  # first: tasks learned anew begin at number 0
            for snapshot_ in made.fisher:
                states.write_fisher(connection, space_id, snapshot_, made.state.version, at)
            claims.put_aside(connection, space_id, result.cycle_id, made.set_aside)
            cycles.record(connection, space_id, server_id, result, self.began, at)
            known = (self.live_version, made.graph_before)
            graph_rows.follow(connection, space_id, made.state.version, made.state.arrays.get("graph"), at, known)
            states.publish(connection, space_id, made.state, states.Making(at, server_id))
            version_contents.keep_live(connection, space_id, made.state.version)
            gate_rows.open_gate(connection, space_id, made.state.version, self.live_version, at, self._gate)

    def stage(
        self, server_id: UUID, made: Publication, claimed: Sequence[int], result: CycleResult, *, held: bool = False
    ) -> None:
        """Store the result of a cycle as a candidate version; its batches stay unlearned until it is promoted.

        ``held``: a gate judges it, and promotes or rejects it.

        Raises:
            LearningConflict: another learner was faster, or has taken the lease; nothing has changed.
            UnsoundVersion: the version must not be served; nothing has changed.
        """
        require_sound(made.state, made.patterns, self._space.dim)
        with self._publishing((), None) as (connection, at):
            staged = versions.Staged(made.state, made.patterns, made.all_fisher, made.fisher, claimed, made.set_aside)
            versions.stage(connection, self._space.space_id, staged, result, self.began, states.Making(at, server_id))
            if held:
                of_gate = (made.state.version, self.live_version, at, self._gate)
                gate_rows.open_gate(connection, self._space.space_id, *of_gate, hold=True)

    def pass_over(self, claimed: Sequence[int], cycle_id: UUID, reasons: Sequence[tuple[UUID, str]]) -> None:
        """Mark batches without learnable facts."""
        if claimed:
            with self._publishing(claimed, cycle_id) as (connection, _):
                claims.put_aside(connection, self._space.space_id, cycle_id, reasons)

    def republish(
        self,
        state: LearnedState,
        learned: Sequence[LearnedPattern],
        fisher: Sequence[FisherSnapshot],
        then: Callable[[Connection, datetime], object] = lambda connection, at: None,
    ) -> None:
        """Publish a rebuilt state as a new live version; ``then`` is called before the transaction commits."""
        require_sound(state, learned, self._space.dim)
        space_id = self._space.space_id
        with self._publishing((), state.cycle_id) as (connection, at):
            version_contents.keep_live(connection, space_id, self.live_version)
            states.forget(connection, space_id)
            kept = {pattern.id for pattern in learned}
            removed = [known for known in pattern_rows.read_ids(connection, space_id) if known not in kept]
            pattern_rows.write_patterns(connection, space_id, learned, removed, at)
            for snapshot_ in fisher:
                states.write_fisher(connection, space_id, snapshot_, state.version, at)
            graph_rows.follow(connection, space_id, state.version, state.arrays.get("graph"), at)
            states.publish(connection, space_id, state, states.Making(at, self._lease.server_id, "rebuild"))
            version_contents.keep_live(connection, space_id, state.version)
            gate_rows.end(connection, space_id, at, f"version {state.version} was rebuilt")
            then(connection, at)

    def unchanged(self, then: Callable[[Connection, datetime], object]) -> None:
        """Call ``then`` in a transaction that has made sure that the live version is still this unit's.

        Raises:
            LearningConflict: it is not, or another learner has taken the lease; nothing has changed.
        """
        with self._publishing((), None) as (connection, at):
            then(connection, at)

    def loaded(self, version: int) -> StoredKnowledge:
        """Return the knowledge of a version loaded from a file; ``UnknownVersion`` if it was pruned."""
        with snapshot(self._engine, self._doing) as connection:
            return versions.knowledge(connection, self._space, version)

    def record_failure(self, server_id: UUID, result: AnyCycle, error: str) -> None:
        """Record in ``sona.cycles`` that a cycle has failed, with the error."""
        with self._transaction() as connection:
            at = leases.now(connection)
            cycles.record(connection, self._space.space_id, server_id, result, self.began, at, error)

    def release(self) -> None:
        """Give the lease back."""
        with self._transaction() as connection:
            leases.give_back(connection, self._lease)

    @contextmanager
    def _publishing(self, claimed: Sequence[int], cycle_id: UUID | None) -> Iterator[tuple[Connection, datetime]]:
        """Open the publishing transaction and make its checks; yield it with the database's time."""
        space_id = self._space.space_id
        with self._transaction() as connection:
            # A learner process stopped here holds the lease's row: the server ends its session, and others continue.
            connection.execute(END_IF_IDLE)
            self._require_lease(connection)
            if states.lock_space(connection, space_id) != self.live_version:
                raise LearningConflict(f"space {self._space.name!r}: another learner has published meanwhile")
            if settings_log.current(connection, space_id) != self.settings:
                raise LearningConflict(f"space {self._space.name!r}: its settings were changed meanwhile")
            if kind_weights.read(connection, space_id) != self._kinds:
                raise LearningConflict(f"space {self._space.name!r}: an embedder told it kinds of patterns meanwhile")
            if claimed and cycle_id is not None and not claims.mark(connection, space_id, claimed, cycle_id):
                raise LearningConflict(f"space {self._space.name!r}: another learner has claimed the same batches")
            yield connection, leases.now(connection)

    def _require_lease(self, connection: Connection) -> None:
        if not leases.is_held(connection, self._lease):
            raise LearningConflict(
                f"space {self._space.name!r}: another learner has taken over, because this one was silent for "
                f"{LEASE.total_seconds():g} s or more; this cycle is dropped, the other one learns its facts"
            )

    def _transaction(self) -> AbstractContextManager[Connection]:
        return transaction(self._engine, self._doing)

    def _reading(self) -> AbstractContextManager[Connection]:
        return reading(self._engine, self._doing)


@contextmanager
def learning_unit(engine: Engine, space: Space, server_id: UUID, *, wait: bool = True) -> Iterator[LearningUnit | None]:
    """Hold the learner's lease of a space while the block runs, renewed from a thread if that takes long.

    Args:
        engine: of the database.
        space: to learn in.
        server_id: the learner.
        wait: whether to wait for another learner; otherwise yield None while there is one.
    """
    lease = take(engine, space, server_id, wait)
    if lease is None:
        yield None
        return
    unit = LearningUnit(engine, space, lease)
    try:
        with renewed(engine, lease):
            yield unit
    finally:
        _release(unit)  # after the last renewal


def _release(unit: LearningUnit) -> None:
    try:
        unit.release()
    except DatabaseError as exc:
        log.info("the learner's lease runs out by itself: %s", exc)
