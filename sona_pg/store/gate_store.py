"""Gates of a database's spaces, as the layers above see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine

from sona_pg.domain.catalog import Catalog
from sona_pg.domain.gate import Gate, Judgement, OpenGate
from sona_pg.domain.ledger_slice import Outcome, Trajectories
from sona_pg.domain.space import Space
from sona_pg.domain.state import LearnedState
from sona_pg.errors import LearningConflict
from sona_pg.store import acts, candidates, fleet, gate_rows, leases, states, versions
from sona_pg.store.claims import EVERYTHING
from sona_pg.store.connect import driver_connection
from sona_pg.store.outcome_rows import read_outcomes
from sona_pg.store.trajectory_rows import no_trajectories, read_by_id
from sona_pg.store.transactions import BRIEF, reading, snapshot, transaction


class JudgedDecisions(NamedTuple):
    """Decisions that a gate counts next, with all that is needed to judge them."""

    trajectories: Trajectories
    outcomes: list[Outcome]
    sets: dict[int, list[str]]
    catalog: Catalog
    live_version: int
    looked: tuple[datetime, int]  # recording time and number of the last batch that was read
    of_candidate: frozenset[bytes] = frozenset()  # trajectories of canaries

    def of_rows(self, rows: NDArray[np.intp]) -> JudgedDecisions:
        """Return the decisions at ``rows`` alone."""
        outcomes = [self.outcomes[row] for row in rows.tolist()]
        return self._replace(trajectories=self.trajectories.take(rows), outcomes=outcomes)


class GateStore:
    """Reads and closes the gates of spaces; the learner's transactions open them."""

    def __init__(self, engine: Engine) -> None:
        """Use the database of ``engine``."""
        self._engine = engine

    def listing(self, space: Space, limit: int) -> list[Gate]:
        """Return the newest gates of a space, newest first."""
        with reading(self._engine, "listing the gates", BRIEF) as connection:
            return gate_rows.listing(connection, space.space_id, limit)

    def with_news(self, spaces: Sequence[int]) -> list[OpenGate]:
        """Return the open gates of ``spaces`` with facts that they have not counted."""
        with reading(self._engine, "looking at gates", BRIEF) as connection:
            return gate_rows.with_news(connection, spaces)

    def is_holding(self, space: Space) -> bool:
        """Whether a candidate of the space is being judged."""
        with reading(self._engine, "looking at gates", BRIEF) as connection:
            return gate_rows.is_holding(connection, space.space_id)

    def judged(self, space: Space, gate: OpenGate, known: Catalog | None) -> JudgedDecisions | None:
        """Return the next decisions that a gate has not counted; candidates in ``known`` are not read again."""
        with snapshot(self._engine, "reading judged decisions") as connection:
            new = gate_rows.new_batches(connection, gate)
            if new is None:
                return None
            ids = gate_rows.judged_ids(connection, gate, new)
            stored, outcomes = no_trajectories(space.dim), list[Outcome]()
            if len(ids):
                stored = read_by_id(connection, space.space_id, space.dim, ids, EVERYTHING)
                outcomes = read_outcomes(connection, space.space_id, stored, EVERYTHING)
            named = sorted({int(number) for number in stored.candidate_sets if number})
            return JudgedDecisions(
                stored,
                outcomes,
                dict(candidates.read_sets(connection, space.space_id, named)),
                candidates.read_catalog(connection, space.space_id, space.dim, known),
                fleet.live_version(connection, space.space_id),
                new.last,
                gate_rows.of_candidate(connection, gate, ids),
            )

    def record(self, gate: OpenGate, figures: Gate, looked: tuple[datetime, int], evidence: Mapping[str, Any]) -> bool:
        """Store a gate's figures after a look; return False if another worker was faster, or it was closed."""
        with transaction(self._engine, "recording a judgement", BRIEF) as connection:
            return gate_rows.record(connection, gate, figures, looked, evidence)

    def roll_back(self, space: Space, server_id: UUID, gate: OpenGate, nothing: LearnedState, reason: str) -> int:
        """Make the reference live again on every server; return its new number.

        The facts learned since are left out of learning.
        """
        with transaction(self._engine, f"rolling space {space.name!r} back") as connection:
            at = self._lock(connection, gate)
            order = versions.Order(space, server_id, at)
            done = versions.rollback(connection, order, gate.figures.reference, nothing, keep_facts=False)
            gate_rows.close(connection, gate, "rolled back", reason, at)
            told = {"to": gate.figures.reference, "version": done.version, "by": "gate", "reason": reason}
            acts.note(driver_connection(connection), space.space_id, "version rolled back", told)
            return done.version

    def promote(self, space: Space, server_id: UUID, gate: OpenGate, reason: str) -> None:
        """Make the candidate live on every server, and watch it."""
        with transaction(self._engine, f"promoting version {gate.figures.version}") as connection:
            at = self._lock(connection, gate)
            versions.promote(connection, versions.Order(space, server_id, at), gate.figures.version)
            gate_rows.close(connection, gate, "promoted", reason, at)
            told = {"version": gate.figures.version, "by": "gate", "reason": reason}
            acts.note(driver_connection(connection), space.space_id, "version promoted", told)

    def reject(self, gate: OpenGate, judgement: Judgement, reason: str) -> None:
        """Close a gate; a candidate is rejected with it, and its facts are left to the next cycle."""
        with transaction(self._engine, "closing a gate", BRIEF) as connection:
            gate_rows.close(connection, gate, judgement, reason, self._lock(connection, gate))
            if not gate.is_watch:
                versions.reject(connection, gate.space_id, gate.figures.version)

    def _lock(self, connection: Connection, gate: OpenGate) -> datetime:
        """Wait for other changes of the live version; return the time, or raise if one has closed the gate."""
        states.lock_space(connection, gate.space_id)
        if not gate_rows.is_open(connection, gate):
            raise LearningConflict(f"the gate of version {gate.figures.version} was closed meanwhile")
        return leases.now(connection)
