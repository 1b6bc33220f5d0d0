"""Settings of a process: recording, loops, maintenance. The schedule of learning is stored with the space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sona_pg.config.config_part import ConfigPart, require, require_types
from sona_pg.limits import MOST_RECENT

Durability = Literal["memory", "spool", "sync"]
WhenFull = Literal["refuse", "wait"]


@dataclass(frozen=True, slots=True)
class IngestConfig(ConfigPart):
    """Settings of the ring and the writer."""

    capacity: int = 10_000  # trajectories
    buffer_bytes: int = 64 << 20  # bound of the ring's memory, and of the candidates waiting to be written
    flush_interval: float = 0.1  # maximal seconds from a record to its commit
    durability: Durability = "memory"
    when_full: WhenFull = "refuse"  # "wait" blocks the caller instead: for imports

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
    """Schedule of the loops, and the interval of polls for new versions."""

    background_interval: float = 3600.0  # seconds between cycles
    # Unlearned facts needed for an automatic cycle; a new space begins at a fifth of them, then whenever they double.
    min_trajectories: int = 100
    # Run early once new facts exceed this fraction of those already learned; 0: only on schedule. A new space then
    # learns at 20, 40, 80, 160, 260 … facts: 51 times within the first 40,000.
    growth: float = 0.1
    shortest_interval: float = 30.0  # least seconds between early cycles
    automatic: bool = True  # run loop B from the engine's own thread
    poll_interval: float = 1.0  # seconds between polls for a new version; NOTIFY is faster
    # Learned trajectories replayed in a cycle, however long the history, and beside them at most an eighth as many that
    # were corrected, up to 1,024 (benchmarks/eval/EVIDENCE.md).
    replay: int = 8192
    # Facts that one cycle claims, in whole batches: bounds its memory and time. Cycles repeat until all are learned.
    slice: int = 20_000
    # Judged queries of a space that are weighed before a cycle has learned them, oldest out first; 0: none.
    recent: int = 1000
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
        require(0 <= self.recent <= MOST_RECENT, "loops.recent", self.recent, f"0 to {MOST_RECENT}")
        require(self.replay >= 0, "loops.replay", self.replay, "0 or more")


@dataclass(frozen=True, slots=True)
class MaintenanceConfig(ConfigPart):
    """Maintenance of the ledger's tables, by one server of the fleet at a time."""

    automatic: bool = True  # run from the engine's own thread
    interval: float = 3600.0  # seconds
    weeks_ahead: int = 4  # weekly partitions created ahead
    grace_hours: float = 24.0  # from a week's end to its index build: late spools may still arrive
    keep_weeks: int = 0  # whole weeks of the ledger kept before this one; 0: for ever
    keep_steps_weeks: int = 0  # the same for steps alone
    drop_unlearned: bool = False  # drop these weeks even with unlearned facts
    keep_waiting_weeks: int = 13  # days that feedback waits for a missing trajectory
    keep_versions: int = 50  # state versions kept a space
    keep_servers_days: float = 7.0  # days that a silent server stays listed; its counters are kept for ever
    memory_mb: int = 1024  # bound of the memory for building one index

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
