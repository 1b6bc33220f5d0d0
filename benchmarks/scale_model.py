"""Arithmetic of a fleet's load on Postgres, and a simulation of workers that share spaces by leases."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np

from sona_pg.engine.roster import BEAT_EVERY
from sona_pg.store.lease_hold import LEASE
from sona_pg.worker.learner import LOOK_EVERY
from sona_pg.worker.store_worker import LIST_EVERY
from sona_pg.worker.turns import OVERDUE


@dataclass(frozen=True, slots=True)
class Unit:
    """Cost of one statement: fixed, and for each row, in seconds of a core of Postgres."""

    fixed: float
    row: float

    def of(self, rows: float) -> float:
        """Return the cost with so many rows."""
        return self.fixed + self.row * rows


@dataclass(frozen=True, slots=True)
class Costs:
    """Measured unit costs."""

    poll: Unit  # rows: spaces
    beat: Unit  # rows: spaces
    look: Unit  # of a worker; rows: spaces
    listing: Unit  # of a worker; rows: spaces
    notice: Unit  # rows: listening connections
    lease: float  # taking one and giving it back
    cycle: float  # seconds of a worker's core
    record: float  # a trajectory to its committed row


@dataclass(frozen=True, slots=True)
class Fleet:
    """A fleet on one store."""

    name: str
    servers: int  # processes
    spaces: int
    copies: int  # servers that have a space open
    records: float  # trajectories and facts a second
    facts_a_cycle: int
    workers: int
    poll: float = 1.0  # seconds

    @property
    def open_spaces(self) -> float:
        """Spaces that a server has open."""
        return self.spaces * self.copies / self.servers

    @property
    def cycles(self) -> float:
        """Cycles a second."""
        return self.records / self.facts_a_cycle

    def loads(self, costs: Costs) -> dict[str, float]:
        """Return the cores of Postgres that each kind of work takes, but for attempts at leases: see ``simulate``."""
        batches = min(self.records, self.servers * 10.0)  # a server commits ten batches a second at most
        return {
            "records": self.records * costs.record,
            "heartbeats": self.servers / BEAT_EVERY * costs.beat.of(self.open_spaces),
            "polls": self.servers / self.poll * costs.poll.of(self.open_spaces),
            "notices": (self.cycles + batches) * costs.notice.of(self.servers),
            "workers' looks": self.workers
            * (costs.look.of(self.spaces) / LOOK_EVERY + costs.listing.of(self.spaces) / LIST_EVERY),
        }


@dataclass(frozen=True, slots=True)
class Learned:
    """Result of a simulation."""

    lags: np.ndarray  # seconds from due to learned, of each cycle
    attempts: int  # at leases
    wasted: int  # of those: another worker was faster
    busy: float  # share of the workers' time


def simulate(fleet: Fleet, costs: Costs, seconds: float, seed: int = 0, deaths: float = 0.0) -> Learned:
    """Let workers share spaces by leases, as ``sona_pg.worker`` does: newest need first, own spaces before others.

    Args:
        fleet: its spaces become due at random, with ``fleet.cycles`` a second in all.
        costs: of an attempt at a lease, and of a cycle.
        seconds: that are simulated.
        seed: of the random numbers.
        deaths: of workers, a second and worker, each in a cycle: its lease runs out, and another one starts.
    """
    rng = np.random.default_rng(seed)
    count = int(fleet.cycles * seconds)
    due_at = np.sort(rng.uniform(0.0, seconds, count))
    spaces = rng.integers(0, fleet.spaces, count).tolist()
    takes = costs.cycle * rng.lognormal(-0.125, 0.5, count)
    due: dict[int, float] = {}  # space: when it became due
    held: dict[int, float] = {}  # space: until when its lease is held
    last: dict[int, int] = {}  # space: the worker that learned there last
    lists: list[list[int]] = [[] for _ in range(fleet.workers)]
    looked = np.full(fleet.workers, -np.inf)
    free = [(float(rng.uniform(0, LOOK_EVERY)), worker) for worker in range(fleet.workers)]
    heapq.heapify(free)
    doing: dict[int, tuple[int, float]] = {}  # worker: its space, and since when that was due
    arrived = attempts = wasted = 0
    busy, lags, limit = 0.0, [], LEASE.total_seconds()
    while free:
        now, worker = heapq.heappop(free)
        if worker in doing:
            space, since = doing.pop(worker)
            due.pop(space, None)
            lags.append(now - since)
        if now > seconds:
            continue
        while arrived < count and due_at[arrived] <= now:
            due.setdefault(spaces[arrived], float(due_at[arrived]))
            arrived += 1
        if now - looked[worker] >= LOOK_EVERY:
            looked[worker] = now
            lists[worker] = _turns(due, last, worker, now)
        if not lists[worker]:
            heapq.heappush(free, (looked[worker] + LOOK_EVERY * rng.uniform(0.9, 1.1), worker))
            continue
        space, attempts = lists[worker].pop(), attempts + 1
        if held.get(space, 0.0) > now or space not in due:
            wasted += 1
            heapq.heappush(free, (now + costs.lease, worker))
            continue
        if rng.random() < deaths * costs.cycle:
            held[space] = now + limit
            lists[worker] = []
            heapq.heappush(free, (now + limit, worker))
            continue
        took = costs.lease + float(takes[attempts % count])
        held[space], last[space], doing[worker] = now + took, worker, (space, due[space])
        busy += took
        heapq.heappush(free, (now + took, worker))
    return Learned(np.array(lags), attempts, wasted, busy / seconds / fleet.workers)


def _turns(due: dict[int, float], last: dict[int, int], worker: int, now: float) -> list[int]:
    """Return the due spaces, in the order of ``worker.turns``, the first one at the end."""

    def place(space: int) -> tuple[bool, bool, float]:
        since = due[space]
        return (False, False, since) if now - since > OVERDUE else (True, last.get(space) != worker, -since)

    return sorted(due, key=place, reverse=True)
