"""How a space learns: adapters, what protects earlier tasks, patterns. Kept with the space, see ``space_settings``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sona_pg.config.config_part import ConfigPart, require, require_types
from sona_pg.limits import MAX_LAYERS, MAX_RANK


@dataclass(frozen=True, slots=True)
class MicroConfig(ConfigPart):
    """Micro-LoRA: the adapter that loop A moves with every request."""

    rank: int = 2
    # How far one trajectory moves its own output, as a share of its gradient. At dimension 256 the cosine with the
    # activations of a trajectory of quality 1 goes up by .025 / .072 / .083 after 1 / 16 / 64 of them in one update,
    # and down as far with quality 0; .083 is the most that is asked (STIFFNESS in learning.adapters.samples).
    learning_rate: float = 0.07
    max_norm: float = 1.0  # the most a unit vector can move

    def __post_init__(self) -> None:
        require_types(self, "micro")
        require(self.rank in (1, 2), "micro.rank", self.rank, "1 or 2")
        require(0 < self.learning_rate <= 10, "micro.learning_rate", self.learning_rate, "a number in (0, 10]")
        require(self.max_norm > 0, "micro.max_norm", self.max_norm, "a positive number")


@dataclass(frozen=True, slots=True)
class BaseConfig(ConfigPart):
    """Base LoRA: the adapter that loop B trains, one pair of factors per layer."""

    rank: int = 8
    # The share of the way that one sample moves its own output. CLINC150 titles (validation, frozen 70.0 %), rank 16,
    # 1k / 5k answers told, five passes: .01 78/86, .03 83/90, .06 84/90, .12 85/90 %; with .05 and the default
    # rank 8 82.6/85.2, rank 16 84.7/88.9. Through the store, thumbs alone on the ranker's first, 1k / 3k: rank 8
    # 76.8/82.7, rank 16 77.5/85.4 %.
    learning_rate: float = 0.05
    # One: a step's activations do not say of which layer they are, so that only layer 0 trains. More are served by
    # apply_base_lora as the identity, at 16 kB a version each (rank 8, 256 dimensions).
    layers: int = 1
    passes: int = 5
    max_norm: float = 64.0  # the most a unit vector can move: a bound against explosion, not a regulariser

    def __post_init__(self) -> None:
        require_types(self, "base")
        require(1 <= self.rank <= MAX_RANK, "base.rank", self.rank, f"1 to {MAX_RANK}")
        require(0 < self.learning_rate <= 10, "base.learning_rate", self.learning_rate, "a number in (0, 10]")
        require(1 <= self.layers <= MAX_LAYERS, "base.layers", self.layers, f"1 to {MAX_LAYERS}")
        require(1 <= self.passes <= 1000, "base.passes", self.passes, "1 to 1000")
        require(self.max_norm > 0, "base.max_norm", self.max_norm, "a positive number")


@dataclass(frozen=True, slots=True)
class EwcConfig(ConfigPart):
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
    lambda_min: float = 100.0  # the least that set_lambda takes; by itself λ only rises, and returns to lambda_
    lambda_max: float = 15_000.0  # the most that it rises to while a cycle forgets
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
    """Patterns: how trajectories are clustered and which clusters are kept."""

    clusters: int = 100
    max_iterations: int = 100
    tolerance: float = 0.001
    min_size: int = 5
    # Below it a pattern is forgotten once little is left of its weight. It gates no learning: what went badly teaches
    # as much, and is pushed away.
    quality_threshold: float = 0.3
    merge_similarity: float = 0.95
    decay: float = 0.99
    # What a trajectory's verdict is, by its quality with all feedback: a success from the first on, a failure up to
    # the second, partial between them. A success is a recovery if a step's reward was below failing_reward, or if
    # the quality at its end, or what a source said of it earlier, was a failure. Not rated: no verdict.
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
