"""Settings of an engine: frozen values, presets, and the only place that reads the environment."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from sona_pg.errors import ConfigError

MAX_DIM = 16_000  # the most a pgvector `vector` or `halfvec` can hold

Durability = Literal["memory", "spool", "sync"]
WhenFull = Literal["refuse", "wait"]
Migrate = Literal["auto", "check"]


def _require(condition: bool, name: str, value: object, expected: str) -> None:
    if not condition:
        raise ConfigError(f"{name}={value!r} cannot work: expected {expected}")


def _require_types(config: Any, part: str) -> None:
    """Raise ``ConfigError`` for a number that is none, a fraction where a whole number is needed, and the like."""
    for known in dataclasses.fields(config):
        value = getattr(config, known.name)
        fits, expected = {
            "int": (isinstance(value, int) and not isinstance(value, bool), "a whole number"),
            "float": (isinstance(value, int | float) and not isinstance(value, bool), "a number"),
            "bool": (isinstance(value, bool), "True or False"),
        }.get(str(known.type), (True, ""))
        _require(fits, f"{part}.{known.name}", value, expected)


@dataclass(frozen=True, slots=True)
class MicroConfig:
    """Micro-LoRA: the adapter that loop A moves with every request."""

    rank: int = 2
    # The share of the way that one trajectory moves its own output. Measured at dimension 256 with activations in a
    # random direction: the cosine with it goes up by .018 / .061 / .35 after 1 / 5 / 10,000 trajectories of quality
    # .85, and down by .015 / .040 / .32 after those of quality .2, while another query moves by .01 to .07.
    # With .2 the first moves by .067, and five are at the bound.
    learning_rate: float = 0.05
    max_norm: float = 1.0  # the most a unit vector can move

    def __post_init__(self) -> None:
        _require_types(self, "micro")
        _require(self.rank in (1, 2), "micro.rank", self.rank, "1 or 2")
        _require(0 < self.learning_rate <= 10, "micro.learning_rate", self.learning_rate, "a number in (0, 10]")
        _require(self.max_norm > 0, "micro.max_norm", self.max_norm, "a positive number")


@dataclass(frozen=True, slots=True)
class BaseConfig:
    """Base LoRA: the adapter that loop B trains, one pair of factors per layer."""

    rank: int = 8
    # The share of the way that one sample moves its own output. CLINC150 titles (validation, frozen 70.0 %), rank 16,
    # 1k / 5k answers told, five passes: .01 78/86, .03 83/90, .06 84/90, .12 85/90 %; with .05 and the default
    # rank 8 82.6/85.2, rank 16 84.7/88.9. Through the store, thumbs alone on the ranker's first, 1k / 3k: rank 8
    # 76.8/82.7, rank 16 77.5/85.4 %.
    learning_rate: float = 0.05
    layers: int = 12
    passes: int = 5
    max_norm: float = 64.0  # the most a unit vector can move: a bound against explosion, not a regulariser

    def __post_init__(self) -> None:
        _require_types(self, "base")
        _require(1 <= self.rank <= 64, "base.rank", self.rank, "1 to 64")
        _require(0 < self.learning_rate <= 10, "base.learning_rate", self.learning_rate, "a number in (0, 10]")
        _require(1 <= self.layers <= 1024, "base.layers", self.layers, "1 to 1024")
        _require(1 <= self.passes <= 1000, "base.passes", self.passes, "1 to 1000")
        _require(self.max_norm > 0, "base.max_norm", self.max_norm, "a positive number")


@dataclass(frozen=True, slots=True)
class EwcConfig:
    """EWC++: how strongly what mattered for earlier tasks is held in place."""

    # "kronecker" is the Fisher information of the merged weights (learning.ewc_kronecker), "diagonal" that of the
    # factors (learning.ewc).
    fisher: Literal["kronecker", "diagonal"] = "kronecker"
    sketch: int = 128  # columns of the sketch: float32 for each dimension, in each version and each task
    # In units of the raw Fisher information of gradients in cosines. CLINC150, ten domains in sequence, titles, no
    # stored queries (validation, five orders, rank 16), final / forgetting: without EWC 65.6/32.6; kronecker with 500
    # 85.9/6.3, 1000 85.4/4.6, 1500 84.9/3.5, 2000 84.2/3.0; a sketch of 64 columns 85.2/5.4, of 256 85.7/3.9; diagonal
    # with 1000 77.7/9.3. At rank 8: kronecker 81.9/5.1, diagonal 76.1/6.4. The same
    # with wordllama's embeddings, rank 16: without 51.9/41.4, kronecker 74.8/6.7, diagonal 66.3/7.0.
    lambda_: float = 1000.0
    lambda_min: float = 100.0
    lambda_max: float = 15_000.0
    max_tasks: int = 10
    fisher_decay: float = 0.999
    boundary_threshold: float = 4.0  # standard deviations; see learning.boundary

    def __post_init__(self) -> None:
        _require_types(self, "ewc")
        bounds = f"a number in [{self.lambda_min}, {self.lambda_max}]"
        _require(self.fisher in ("kronecker", "diagonal"), "ewc.fisher", self.fisher, "'kronecker' or 'diagonal'")
        _require(1 <= self.sketch <= 1024, "ewc.sketch", self.sketch, "1 to 1024")
        _require(0 <= self.lambda_min <= self.lambda_ <= self.lambda_max, "ewc.lambda_", self.lambda_, bounds)
        _require(self.max_tasks >= 1, "ewc.max_tasks", self.max_tasks, "1 or more")
        _require(0 < self.fisher_decay < 1, "ewc.fisher_decay", self.fisher_decay, "a number in (0, 1)")
        _require(
            self.boundary_threshold > 0,
            "ewc.boundary_threshold",
            self.boundary_threshold,
            "a positive number",
        )


@dataclass(frozen=True, slots=True)
class PatternConfig:
    """Patterns: how trajectories are clustered and which clusters are kept."""

    clusters: int = 100
    max_iterations: int = 100
    tolerance: float = 0.001
    min_size: int = 5
    quality_threshold: float = 0.3
    merge_similarity: float = 0.95
    decay: float = 0.99
    reservoir: int = 4096
    # What a trajectory's verdict is, by its quality with all feedback: a success from the first on, a failure up to
    # the second, partial between them. A success is a recovery if a step's reward was below failing_reward, or if
    # the quality at its end, or what a source said of it earlier, was a failure. Not rated: no verdict.
    success_quality: float = 0.7
    failure_quality: float = 0.3
    failing_reward: float = 0.0

    def __post_init__(self) -> None:
        _require_types(self, "patterns")
        _require(self.clusters >= 1, "patterns.clusters", self.clusters, "1 or more")
        _require(self.max_iterations >= 1, "patterns.max_iterations", self.max_iterations, "1 or more")
        _require(self.tolerance >= 0, "patterns.tolerance", self.tolerance, "0 or more")
        _require(self.min_size >= 1, "patterns.min_size", self.min_size, "1 or more")
        _require(
            0 <= self.quality_threshold <= 1,
            "patterns.quality_threshold",
            self.quality_threshold,
            "in [0, 1]",
        )
        _require(0 < self.merge_similarity <= 1, "patterns.merge_similarity", self.merge_similarity, "in (0, 1]")
        _require(0 < self.decay <= 1, "patterns.decay", self.decay, "in (0, 1]")
        _require(self.reservoir >= 1, "patterns.reservoir", self.reservoir, "1 or more")
        bounds = f"a number in [0, 1] above patterns.failure_quality={self.failure_quality}"
        _require(
            0 <= self.failure_quality < self.success_quality <= 1,
            "patterns.success_quality",
            self.success_quality,
            bounds,
        )
        _require(
            -1e6 <= self.failing_reward <= 1e6,
            "patterns.failing_reward",
            self.failing_reward,
            "a number in [-1e6, 1e6]",
        )


@dataclass(frozen=True, slots=True)
class IngestConfig:
    """The buffer in memory and the writer behind it."""

    capacity: int = 10_000  # trajectories
    buffer_bytes: int = 64 << 20  # the most memory the buffer may take; candidates on their way may take as much again
    flush_interval: float = 0.1  # seconds a trajectory waits at most before it is written
    durability: Durability = "memory"
    when_full: WhenFull = "refuse"  # "wait" holds the caller instead: for imports and other batch work

    def __post_init__(self) -> None:
        _require_types(self, "ingest")
        _require(self.when_full in ("refuse", "wait"), "ingest.when_full", self.when_full, "'refuse' or 'wait'")
        _require(self.capacity >= 1, "ingest.capacity", self.capacity, "1 or more")
        _require(self.buffer_bytes >= 1 << 16, "ingest.buffer_bytes", self.buffer_bytes, "65536 or more")
        _require(0 < self.flush_interval <= 60, "ingest.flush_interval", self.flush_interval, "seconds in (0, 60]")
        _require(
            self.durability in ("memory", "spool", "sync"),
            "ingest.durability",
            self.durability,
            "'memory', 'spool' or 'sync'",
        )


@dataclass(frozen=True, slots=True)
class LoopConfig:
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
    seed: int = 0

    def __post_init__(self) -> None:
        _require_types(self, "loops")
        _require(self.background_interval > 0, "loops.background_interval", self.background_interval, "seconds > 0")
        _require(self.min_trajectories >= 1, "loops.min_trajectories", self.min_trajectories, "1 or more")
        _require(0 <= self.growth < float("inf"), "loops.growth", self.growth, "0 or more")
        _require(self.shortest_interval >= 0, "loops.shortest_interval", self.shortest_interval, "seconds, 0 or more")
        _require(self.poll_interval > 0, "loops.poll_interval", self.poll_interval, "seconds > 0")
        _require(self.seed >= 0, "loops.seed", self.seed, "0 or more")
        _require(self.replay >= 0, "loops.replay", self.replay, "0 or more")


@dataclass(frozen=True, slots=True)
class MaintenanceConfig:
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
        _require_types(self, "maintenance")
        _require(self.interval > 0, "maintenance.interval", self.interval, "seconds > 0")
        _require(1 <= self.weeks_ahead <= 52, "maintenance.weeks_ahead", self.weeks_ahead, "1 to 52")
        _require(self.grace_hours >= 0, "maintenance.grace_hours", self.grace_hours, "0 or more")
        _require(self.keep_weeks >= 0, "maintenance.keep_weeks", self.keep_weeks, "0 (for ever) or more")
        _require(
            self.keep_steps_weeks >= 0, "maintenance.keep_steps_weeks", self.keep_steps_weeks, "0 (for ever) or more"
        )
        _require(self.keep_waiting_weeks >= 1, "maintenance.keep_waiting_weeks", self.keep_waiting_weeks, "1 or more")
        _require(self.keep_versions >= 1, "maintenance.keep_versions", self.keep_versions, "1 or more")
        _require(self.keep_servers_days > 0, "maintenance.keep_servers_days", self.keep_servers_days, "days > 0")
        _require(16 <= self.memory_mb <= 1 << 20, "maintenance.memory_mb", self.memory_mb, "16 to 1048576")


@dataclass(frozen=True, slots=True)
class SonaConfig:
    """All settings of an engine; every part is a frozen value of its own.

    ``SonaConfig()`` holds the defaults. ``config.replace(micro=...)`` gives a changed copy.
    """

    hidden_dim: int = 256
    micro: MicroConfig = field(default_factory=MicroConfig)
    base: BaseConfig = field(default_factory=BaseConfig)
    ewc: EwcConfig = field(default_factory=EwcConfig)
    patterns: PatternConfig = field(default_factory=PatternConfig)
    ingest: IngestConfig = field(default_factory=IngestConfig)
    loops: LoopConfig = field(default_factory=LoopConfig)
    maintenance: MaintenanceConfig = field(default_factory=MaintenanceConfig)

    def __post_init__(self) -> None:
        _require(
            isinstance(self.hidden_dim, int)
            and not isinstance(self.hidden_dim, bool)
            and 1 <= self.hidden_dim <= MAX_DIM,
            "hidden_dim",
            self.hidden_dim,
            f"a whole number from 1 to {MAX_DIM}",
        )

    def replace(self, **changes: Any) -> Self:
        """Return a copy with the named parts replaced."""
        return dataclasses.replace(self, **changes)

    @classmethod
    def max_throughput(cls) -> Self:
        """Least work per request: small adapters, a long interval, a high quality bar."""
        return cls._preset(2, 4, 0.0125, 0.05, 2000, 100, 5_000, 7200, 0.4)

    @classmethod
    def max_quality(cls) -> Self:
        """Most learning: rank-16 base adapter, a short interval, a low quality bar."""
        return cls._preset(2, 16, 0.05, 0.1, 2000, 100, 20_000, 1800, 0.2)

    @classmethod
    def edge_deployment(cls) -> Self:
        """Least memory: rank-1 micro adapter, few patterns, a buffer of 200 trajectories."""
        return cls._preset(1, 4, 0.025, 0.05, 1000, 50, 200, 3600, 0.5)

    @classmethod
    def batch_processing(cls) -> Self:
        """For a backlog that is recorded and learned from in one go: recording waits for room in the buffer."""
        preset = cls._preset(2, 8, 0.025, 0.05, 2000, 100, 10_000, 3600, 0.3)
        return preset.replace(ingest=dataclasses.replace(preset.ingest, when_full="wait"))

    @classmethod
    def _preset(
        cls,
        micro_rank: int,
        base_rank: int,
        micro_rate: float,
        base_rate: float,
        lambda_: float,
        clusters: int,
        capacity: int,
        interval: float,
        quality: float,
    ) -> Self:
        buffer_bytes = 4 << 20 if capacity <= 1000 else 64 << 20
        return cls(
            micro=MicroConfig(rank=micro_rank, learning_rate=micro_rate),
            base=BaseConfig(rank=base_rank, learning_rate=base_rate),
            ewc=EwcConfig(lambda_=lambda_),
            patterns=PatternConfig(clusters=clusters, quality_threshold=quality),
            ingest=IngestConfig(capacity=capacity, buffer_bytes=buffer_bytes),
            loops=LoopConfig(background_interval=interval),
        )


@dataclass(frozen=True, slots=True)
class Environment:
    """What the process environment says."""

    url: str | None  # SONA_PG_URL
    home: Path  # SONA_PG_HOME, or the user's data folder
    migrate: Migrate = "auto"  # SONA_PG_MIGRATE: "check" leaves an older schema as it is, and says what to run

    @classmethod
    def read(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Read ``SONA_PG_URL``, ``SONA_PG_HOME`` and ``SONA_PG_MIGRATE``; empty counts as not set.

        Raises:
            ConfigError: ``SONA_PG_MIGRATE`` is neither ``auto`` nor ``check``.
        """
        values = os.environ if environ is None else environ
        home = values.get("SONA_PG_HOME") or _data_folder(values)
        url = values.get("SONA_PG_URL") or None
        return cls(
            url, Path(home).expanduser(), migrate_policy(values.get("SONA_PG_MIGRATE") or "auto", "SONA_PG_MIGRATE")
        )


def migrate_policy(value: str, name: str) -> Migrate:
    """Return what to do about an older schema; ConfigError, which says ``name``, if ``value`` is no such thing."""
    _require(value in ("auto", "check"), name, value, "'auto' or 'check'")
    return "check" if value == "check" else "auto"


def _data_folder(values: Mapping[str, str]) -> Path:
    if sys.platform != "win32" and os.geteuid() == 0:
        return Path("/var/lib/sona-pg")  # Postgres drops root's rights, and must still reach its folder
    base = values.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "sona-pg"
