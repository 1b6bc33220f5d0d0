"""Bounded reads for people who look at a space: samples of outcomes, and facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Engine

from sona_pg.domain.overview_figures import SampledOutcome, ToldFact
from sona_pg.domain.space import Space
from sona_pg.store import leases, outcome_samples
from sona_pg.store.connect import driver_connection
from sona_pg.store.outcome_samples import FoundFact, TimeSpan
from sona_pg.store.transactions import BRIEF, reading

LEARNING = """
SELECT live_version, learned_at, waiting_facts, waiting_since, failed_cycles, last_error, learner, lease_expires_at
FROM sona.learning WHERE space_id = %(space)s
"""


class OverviewStore:
    """Reads what people look at; each call is bounded, whatever the space holds."""

    def __init__(self, engine: Engine) -> None:
        """Read from the database of ``engine``."""
        self._engine = engine

    def bounds(self, space: Space, since: datetime) -> TimeSpan | None:
        """Return the times of the oldest trajectory since ``since`` and of the newest; None without any."""
        with reading(self._engine, "looking for trajectories", BRIEF) as connection:
            return outcome_samples.read_bounds(connection, space.space_id, since)

    def samples(self, space: Space, spans: Sequence[TimeSpan], each: int) -> list[SampledOutcome]:
        """Return the outcomes of the first ``each`` trajectories of each span of time."""
        with reading(self._engine, "sampling outcomes", BRIEF) as connection:
            return outcome_samples.read_samples(connection, space.space_id, spans, each)

    def facts(self, space: Space, trajectories: int, most: int) -> list[ToldFact]:
        """Return the latest facts about the newest trajectories, latest first."""
        with reading(self._engine, "reading feedback", BRIEF) as connection:
            return outcome_samples.read_facts(connection, space.space_id, trajectories, most)

    def learned_by(self, space: Space, ids: Sequence[UUID]) -> Mapping[UUID, FoundFact]:
        """Return which versions have learned each trajectory and its feedback."""
        with reading(self._engine, "reading what was learned", BRIEF) as connection:
            return outcome_samples.read_learned_by(connection, space.space_id, ids)

    def learning(self, space: Space) -> dict[str, Any]:
        """Return the row of ``sona.learning`` of a space, and the database's time."""
        with reading(self._engine, "reading sona.learning", BRIEF) as connection:
            cursor = driver_connection(connection).execute(LEARNING, {"space": space.space_id})
            row = cursor.fetchone()
            names = [column.name for column in cursor.description or ()]
            return {**dict(zip(names, row or [None] * len(names), strict=True)), "now": leases.now(connection)}
