"""How a process records, runs the loops and keeps the tables in shape; when a space learns is the space's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sona_pg.config.config_part import ConfigPart, require, require_types

Durability = Literal["memory", "spool", "sync"]
WhenFull = Literal["refuse", "wait"]


@dataclass(frozen=True, slots=True)
class IngestConfig(ConfigPart):
    """The buffer in memory and the writer behind it."""

    capacity: int = 10_000  # trajectories
    buffer_bytes: int = 64 << 20  # the most memory the buffer may take; candidates on their way may take as much again
    flush_interval: float = 0.1  # seconds a trajectory waits at most before it is written
    durability: Durability = "memory"
    when_full: WhenFull = "refuse"  # "wait" holds the caller instead: for imports and other batch work

    def __post_init__(self) -> None:
        require_types(self, "ingest")
        require(self.when_full in ("refuse", "wait"), "ingest.when_full", self.when_full, "'refuse' or 'wait'")
        require(self.capacity >= 1, "ingest.capacity", self.capacity, "1 or more")
        require(self.buffer_bytes >= 1 << 16, "ingest.buffer_bytes", self.buffer_bytes, "65536 or more")
        require(0 < self.flush_interval <= 60, "ingest.flush_interval", self.flush_interval, "seconds in (0, 60]")
        require(
            self.durability in ("memory", "spool", "sync"),
            "ingest.durability",
            self.durability,
            "'memory', 'spool' or 'sync'",
        )


@dataclass(frozen=True, slots=True)
class LoopConfig(ConfigPart):
    """When the loops run, and how fast a new version reaches a server."""

    background_interval: float = 3600.0  # seconds after which what waits is learned from, if it is enough
    min_trajectories: int = 100  # trajectories and feedback that must wait for an automatic cycle
    # A cycle is due before its interval as soon as so much of what was learned has come anew; 0: only on time. Then a
    # new space learns at its first 100, 200, 300 … 1,000, 1,100, 1,210 … facts: 49 times within the first 40,000.
    growth: float = 0.1
    shortest_interval: float = 30.0  # seconds between such cycles, however much comes
    automatic: bool = True  # run loop B from the engine's own thread when it is due
    poll_interval: float = 1.0  # seconds between looks for a new version; NOTIFY is faster
    # stored feedbacks re-read by one cycle, whatever the history's length: the more, the less harm wrong ones do
    # (10 % wrong, 10,000 thumbs, validation, 2 seeds: 4,096 90.6, 8,192 91.7, 12,288 91.7 for 1.5 times the cycle)
    replay: int = 8192
    # facts that one cycle claims, by whole batches: cycles follow one another until nothing waits. It bounds a cycle's
    # memory and time, whatever waits.
    slice: int = 20_000
    seed: int = 0

    def __post_init__(self) -> None:
        require_types(self, "loops")
        require(self.background_interval > 0, "loops.background_interval", self.background_interval, "seconds > 0")
        require(self.min_trajectories >= 1, "loops.min_trajectories", self.min_trajectories, "1 or more")
        require(0 <= self.growth < float("inf"), "loops.growth", self.growth, "0 or more")
        require(self.shortest_interval >= 0, "loops.shortest_interval", self.shortest_interval, "seconds, 0 or more")
        require(self.poll_interval > 0, "loops.poll_interval", self.poll_interval, "seconds > 0")
        require(self.seed >= 0, "loops.seed", self.seed, "0 or more")
        require(self.slice >= 1, "loops.slice", self.slice, "1 or more")
        require(self.replay >= 0, "loops.replay", self.replay, "0 or more")


@dataclass(frozen=True, slots=True)
class MaintenanceConfig(ConfigPart):
    """What keeps the ledger's tables in shape; one server of the fleet at a time does it."""

    automatic: bool = True  # do it from the engine's own thread
    interval: float = 3600.0  # seconds
    weeks_ahead: int = 4  # weekly partitions made before their time
    grace_hours: float = 24.0  # after a week's end, before it is indexed: a spool may still be on its way
    keep_weeks: int = 0  # whole weeks of the ledger kept before this one; 0: for ever
    keep_steps_weeks: int = 0  # the same of steps alone
    drop_unlearned: bool = False  # drop these weeks even if they hold what no cycle has learned from
    keep_waiting_weeks: int = 13  # feedback waits as long for a trajectory that never comes
    keep_versions: int = 50  # state versions kept a space
    keep_servers_days: float = 7.0  # that a server nothing is heard of stays listed; its counters stay for ever
    memory_mb: int = 1024  # the most that building one index may take

    def __post_init__(self) -> None:
        require_types(self, "maintenance")
        require(self.interval > 0, "maintenance.interval", self.interval, "seconds > 0")
        require(1 <= self.weeks_ahead <= 52, "maintenance.weeks_ahead", self.weeks_ahead, "1 to 52")
        require(self.grace_hours >= 0, "maintenance.grace_hours", self.grace_hours, "0 or more")
        require(self.keep_weeks >= 0, "maintenance.keep_weeks", self.keep_weeks, "0 (for ever) or more")
        require(
            self.keep_steps_weeks >= 0, "maintenance.keep_steps_weeks", self.keep_steps_weeks, "0 (for ever) or more"
        )
        require(self.keep_waiting_weeks >= 1, "maintenance.keep_waiting_weeks", self.keep_waiting_weeks, "1 or more")
        require(self.keep_versions >= 1, "maintenance.keep_versions", self.keep_versions, "1 or more")
        require(self.keep_servers_days > 0, "maintenance.keep_servers_days", self.keep_servers_days, "days > 0")
        require(16 <= self.memory_mb <= 1 << 20, "maintenance.memory_mb", self.memory_mb, "16 to 1048576")
