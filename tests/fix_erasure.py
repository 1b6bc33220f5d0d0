"""Histories of several people that can be recorded with or without one of them, otherwise the same to the bit."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

import numpy as np

from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import BaseConfig, LoopConfig
from sona_pg.domain.ids import uuid7
from sona_pg.learning.knowledge import Knowledge

DIM = 8
CONFIG = SonaConfig(hidden_dim=DIM, base=BaseConfig(rank=2, layers=1), loops=LoopConfig(automatic=False, replay=20))
PEOPLE = ("ann", "bob", "eve")
NAMES = [f"d{place}" for place in range(6)]
START = 1_790_000_000_000  # milliseconds: of the first record


@dataclass(frozen=True, slots=True)
class Event:
    """One trajectory, with feedback on it and on an earlier one of the same person."""

    person: str
    id: UUID
    query: np.ndarray
    meant: int
    quality: float | None
    ranked: bool
    facts: tuple[float, ...]
    late: tuple[UUID, float] | None


@dataclass(frozen=True, slots=True)
class History:
    """Events by cycle."""

    cycles: list[list[Event]]
    documents: np.ndarray = field(repr=False)

    @classmethod
    def drawn(cls, seed: int, cycles: int = 3, events: int = 12) -> History:
        """Draw a history in which everybody but the last person takes part in every cycle."""
        rng = np.random.default_rng(seed)
        documents = rng.standard_normal((len(NAMES), DIM)).astype(np.float32)
        seen: dict[str, list[UUID]] = {person: [] for person in PEOPLE}
        made, at = [], START
        for _ in range(cycles):
            drawn = []
            for place in range(events):
                person = PEOPLE[place] if place < 2 else PEOPLE[int(rng.integers(3))]
                at += int(rng.integers(1, 90_000))
                id_, meant = uuid7(at), int(rng.integers(len(NAMES)))
                before = seen[person]
                late = (before[int(rng.integers(len(before)))], float(rng.random())) if before else None
                query = (documents[meant] + 0.5 * rng.standard_normal(DIM)).astype(np.float32)
                quality = float(rng.random()) if rng.random() < 0.7 else None
                facts = tuple(rng.random(int(rng.integers(3))).tolist())
                drawn.append(
                    Event(
                        person,
                        id_,
                        query,
                        meant,
                        quality,
                        bool(rng.integers(2)),
                        facts,
                        late if place % 4 == 0 else None,
                    )
                )
                before.append(id_)
            made.append(drawn)
        return cls(made, documents)

    def record(self, engine: SonaEngine, without: str | None = None) -> None:
        """Record it, and learn after each cycle's events."""
        sequence = 0
        for events in self.cycles:
            engine.remember(NAMES, self.documents)
            for event in events:
                sequence += 10
                if event.person != without:
                    self._record(engine, event, sequence)
            engine.force_learn()

    def _record(self, engine: SonaEngine, event: Event, sequence: int) -> None:
        named = NAMES if event.ranked else None
        handle = engine.begin_trajectory(event.query, query=f"about {event.meant}", candidates=named, id=event.id)
        engine.add_step(handle, self.documents[event.meant], None, event.quality or 0.0)
        engine.add_trajectory_context(handle, f"user:{event.person}")
        engine.add_trajectory_context(handle, f"session:of {event.person}")
        engine.set_trajectory_route(handle, NAMES[event.meant] if event.ranked else ("small", "big")[event.meant % 2])
        engine.end_trajectory(handle, event.quality, latency=0.01 * event.meant)
        for place, quality in enumerate(event.facts):
            engine.record_feedback(event.id, quality=quality, source=f"judge {place}", sequence=sequence + place)
        if event.late is not None:
            engine.record_feedback(event.late[0], quality=event.late[1], source="late", sequence=sequence + 5)


def knowledge_of(engine: SonaEngine) -> Knowledge:
    """Everything that the live version holds."""
    learned = engine._session.database.learned(engine._session.space)
    assert learned is not None
    return Knowledge(learned.state, learned.patterns, learned.fisher)
