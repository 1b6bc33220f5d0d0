"""Learning settings of a space: adapters, EWC, patterns. Stored with the space, see ``space_settings``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sona_pg.config.config_part import ConfigPart, require, require_types
from sona_pg.limits import MAX_LAYERS, MAX_RANK


@dataclass(frozen=True, slots=True)
class MicroConfig(ConfigPart):
    """Micro-LoRA: the adapter that loop A updates from this server's records."""

    rank: int = 2
    # Share of its gradient by which one trajectory moves its own output (benchmarks/eval/EVIDENCE.md).
    learning_rate: float = 0.07
    max_norm: float = 1.0  # bound of the change of a unit vector

    def __post_init__(self) -> None:
        require_types(self, "micro")
        require(self.rank in (1, 2), "micro.rank", self.rank, "1 or 2")
        require(0 < self.learning_rate <= 10, "micro.learning_rate", self.learning_rate, "a number in (0, 10]")
        require(self.max_norm > 0, "micro.max_norm", self.max_norm, "a positive number")


@dataclass(frozen=True, slots=True)
class BaseConfig(ConfigPart):
    """Base LoRA: the adapter that loop B trains, one pair of factors per layer."""

    rank: int = 8
    # Share of the full step by which one sample moves its own output (benchmarks/eval/EVIDENCE.md).
    learning_rate: float = 0.05
    # One: a step's activations carry no layer, so only layer 0 trains. More are served by apply_base_lora as the
    # identity, at 16 kB a version each (rank 8, 256 dimensions).
    layers: int = 1
    passes: int = 5
    max_norm: float = 64.0  # bound of the change of a unit vector, against divergence; not a regulariser

    def __post_init__(self) -> None:
        require_types(self, "base")
        require(1 <= self.rank <= MAX_RANK, "base.rank", self.rank, f"1 to {MAX_RANK}")
        require(0 < self.learning_rate <= 10, "base.learning_rate", self.learning_rate, "a number in (0, 10]")
        require(1 <= self.layers <= MAX_LAYERS, "base.layers", self.layers, f"1 to {MAX_LAYERS}")
        require(1 <= self.passes <= 1000, "base.passes", self.passes, "1 to 1000")
        require(self.max_norm > 0, "base.max_norm", self.max_norm, "a positive number")


@dataclass(frozen=True, slots=True)
class EwcConfig(ConfigPart):
    """EWC++: protection of weights that matter for earlier tasks."""

    # "kronecker" is the Fisher information of the merged weights (learning.ewc_kronecker), "diagonal" that of the
    # factors (learning.ewc).
    fisher: Literal["kronecker", "diagonal"] = "kronecker"
    sketch: int = 128  # columns of the sketch: float32 for each dimension, in each version and each task
    # In units of the raw Fisher information of gradients of cosines (benchmarks/eval/EVIDENCE.md).
    lambda_: float = 1000.0
    lambda_min: float = 100.0  # lower bound for set_lambda; adaptation only raises λ, and returns it to lambda_
    lambda_max: float = 15_000.0  # upper bound of the adaptation, which raises λ while cycles forget
    max_tasks: int = 10
    fisher_decay: float = 0.999
    boundary_threshold: float = 4.0  # standard deviations; see learning.boundary

    def __post_init__(self) -> None:
        require_types(self, "ewc")
        bounds = f"a number in [{self.lambda_min}, {self.lambda_max}]"
        require(self.fisher in ("kronecker", "diagonal"), "ewc.fisher", self.fisher, "'kronecker' or 'diagonal'")
        require(1 <= self.sketch <= 1024, "ewc.sketch", self.sketch, "1 to 1024")
        require(0 <= self.lambda_min <= self.lambda_ <= self.lambda_max, "ewc.lambda_", self.lambda_, bounds)
        require(self.max_tasks >= 1, "ewc.max_tasks", self.max_tasks, "1 or more")
        require(0 < self.fisher_decay < 1, "ewc.fisher_decay", self.fisher_decay, "a number in (0, 1)")
        require(
            self.boundary_threshold > 0,
            "ewc.boundary_threshold",
            self.boundary_threshold,
            "a positive number",
        )


@dataclass(frozen=True, slots=True)
class PatternConfig(ConfigPart):
    """Patterns: clustering of trajectories, and pruning of clusters."""

    clusters: int = 100
    max_iterations: int = 100
    tolerance: float = 0.001
    min_size: int = 5
    # Patterns of lower quality are pruned once their weight has decayed. Does not gate learning: bad outcomes are
    # learned from as well.
    quality_threshold: float = 0.3
    merge_similarity: float = 0.95
    decay: float = 0.99
    # Verdict of a trajectory by its outcome: success from success_quality, failure up to failure_quality, or if
    # a source names another answer as the right one; else partial.
    # A success is recovered if a step was below failing_reward, or if the quality at its end or an earlier fact
    # was a failure. Without an outcome there is no verdict.
    success_quality: float = 0.7
    failure_quality: float = 0.3
    failing_reward: float = 0.0

    def __post_init__(self) -> None:
        require_types(self, "patterns")
        require(self.clusters >= 1, "patterns.clusters", self.clusters, "1 or more")
        require(self.max_iterations >= 1, "patterns.max_iterations", self.max_iterations, "1 or more")
        require(self.tolerance >= 0, "patterns.tolerance", self.tolerance, "0 or more")
        require(self.min_size >= 1, "patterns.min_size", self.min_size, "1 or more")
        require(
            0 <= self.quality_threshold <= 1,
            "patterns.quality_threshold",
            self.quality_threshold,
            "in [0, 1]",
        )
        require(0 < self.merge_similarity <= 1, "patterns.merge_similarity", self.merge_similarity, "in (0, 1]")
        require(0 < self.decay <= 1, "patterns.decay", self.decay, "in (0, 1]")
        bounds = f"a number in [0, 1] above patterns.failure_quality={self.failure_quality}"
        require(
            0 <= self.failure_quality < self.success_quality <= 1,
            "patterns.success_quality",
            self.success_quality,
            bounds,
        )
        require(
            -1e6 <= self.failing_reward <= 1e6,
            "patterns.failing_reward",
            self.failing_reward,
            "a number in [-1e6, 1e6]",
        )
