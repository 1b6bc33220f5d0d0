"""Traffic of a recording process: trajectories and feedback of every kind."""

from __future__ import annotations

import random
from collections import deque
from functools import cache
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from sona_pg import SonaEngine
from sona_pg.errors import DatabaseUnavailable

from .journal import Fact, Journal, Trajectory, recent
from .settings import DIM

TOPICS = 8
DOCUMENTS = 120
SETS = 300
SET_SIZE = 6
ROUTES = {"tiny": 0.1, "small": 0.3, "large": 1.0, "huge": 4.0}
FACT_BITS = 24  # of a fact's number, which is its quality as well: exact in a float32
FACTS_EACH = 1 << 13  # at most, of one process
KEPT = 2000  # own trajectories about which feedback may still come


@cache
def direction(kind: str, number: int) -> NDArray[np.float32]:
    """Return the embedding of a topic or a document, (dim,): the same in every process."""
    return np.random.default_rng([len(kind), number]).standard_normal(DIM).astype(np.float32)


@cache
def documents(number: int) -> tuple[list[str], NDArray[np.float32]]:
    """Return the ids and embeddings (m, dim) of a set of candidates; there are ``SETS``."""
    chosen = random.Random(number).sample(range(DOCUMENTS), SET_SIZE)
    return [f"document-{n}" for n in chosen], np.stack([direction("document", n) for n in chosen])


class Traffic:
    """Records on one engine, and keeps the records not acknowledged yet."""

    def __init__(self, engine: SonaEngine, journal: Journal, source: str, run: int, seed: int) -> None:
        """Begin; ``run`` tells processes of one source apart, so that no two of their facts have one number."""
        self.pending: list[Trajectory | Fact] = []
        self.unavailable = 0  # calls that said so: nothing is promised
        self._engine = engine
        self._journal = journal
        self._source = source
        self._run = run
        self._random = random.Random(f"{seed} {journal.name}")
        self._normal = np.random.default_rng([seed, run, *journal.name.encode()])
        self._own: deque[Trajectory] = deque(maxlen=KEPT)
        self._told: deque[Fact] = deque(maxlen=KEPT)
        self._count = self._facts = 0

    def burst(self, size: int) -> None:
        """Record ``size`` trajectories, and feedback about a third as many."""
        for _ in range(size):
            refused = self._engine.dropped_count
            try:
                entry = self._trajectory()
            except DatabaseUnavailable:
                self.unavailable += 1  # whether it arrives is not known
            else:
                if self._engine.dropped_count == refused:
                    self.pending.append(entry)
                    self._own.append(entry)
            if self._random.random() < 0.35:
                self._feedback()

    def acknowledged(self) -> None:
        """Write down that everything recorded so far is durable."""
        self._journal.write(self.pending)
        self.pending.clear()

    def _trajectory(self) -> Trajectory:
        engine, chance = self._engine, self._random
        topic = chance.randrange(TOPICS)
        x = direction("topic", topic) + 0.3 * self._normal.standard_normal(DIM).astype(np.float32)
        self._count += 1
        nonce = f"{self._journal.name}:{self._count}"
        quality = chance.random()
        candidate_set = 0
        kind = chance.random()
        if kind < 0.35:
            ids, embeddings = documents(chance.randrange(SETS))
            ranking = engine.rank(x, embeddings, ids=ids, k=3, exploration=1.0)
            candidate_set = ranking.candidate_set or 0
            handle = engine.begin_trajectory(x, query=nonce, ranking=ranking)
            shown = ids[chance.randrange(SET_SIZE)]
            engine.set_trajectory_route(handle, shown)
            quality = 1.0 if int(shown.split("-")[1]) % TOPICS == topic else 0.2
        elif kind < 0.7:
            decision = engine.route(x, list(ROUTES), costs=ROUTES, cost_weight=0.02)
            candidate_set = decision.candidate_set or 0
            handle = engine.begin_trajectory(x, query=nonce, decision=decision)
            quality = min(1.0, max(0.0, 0.3 + 0.15 * list(ROUTES).index(decision.route) + 0.2 * (quality - 0.5)))
        elif kind < 0.8:
            ids, embeddings = documents(chance.randrange(SETS))
            handle = engine.begin_trajectory(x, query=nonce, candidates=dict(zip(ids, embeddings, strict=True)))
        else:
            handle = engine.begin_trajectory(x, query=nonce)
        steps = chance.randrange(4)
        for _ in range(steps):
            engine.add_step(handle, direction("document", chance.randrange(DOCUMENTS)), None, chance.random())
        if chance.random() < 0.1:
            engine.set_trajectory_parameters(handle, {"temperature": chance.random()})
        if chance.random() < 0.05:  # before its trajectory
            self._tell(handle.id)
        engine.end_trajectory(handle, None if chance.random() < 0.1 else quality)
        return Trajectory(handle.id, nonce, steps, candidate_set)

    def _feedback(self) -> None:
        chance = self._random
        kind = chance.random()
        if kind < 0.2 and self._told:  # revised, or taken back
            self._tell(chance.choice(self._told).trajectory, retract=kind < 0.07)
        elif kind < 0.3 and (other := recent(self._journal.folder, chance.random())) is not None:
            self._tell(other)  # of another process
        elif kind < 0.4 and self._own:
            self._tell(self._own[-1].id, sequence=self._count, times=2)  # the same fact, sent twice
        elif self._own:
            self._tell(chance.choice(self._own).id)  # at once, or late

    def _tell(self, trajectory: UUID, *, retract: bool = False, sequence: int | None = None, times: int = 1) -> None:
        if self._facts == FACTS_EACH:
            return
        self._facts += 1
        number = self._run * FACTS_EACH + self._facts
        # An odd factor is a bijection of the numbers: qualities are spread, and each stands for one fact.
        quality = None if retract else (number * 0x9E375 % (1 << FACT_BITS)) / (1 << FACT_BITS)
        for _ in range(times):
            try:
                told = self._engine.feedback(
                    trajectory, quality, source=self._source, retract=retract, sequence=sequence
                )
            except DatabaseUnavailable:
                self.unavailable += 1
                continue
            fact = Fact(trajectory, self._source, told)
            self.pending.append(fact)
            self._told.append(fact)
