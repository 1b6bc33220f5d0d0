"""From a trajectory to a learning gradient: REINFORCE (Williams 1992).

The policy at the output of an adapter is a distribution over directions, von Mises-Fisher with mean direction
``ŷ = y/|y|``. For a step that went in direction ``a`` (its activations, normalised), up to a constant,

    ∇_y log π(a) = (a - (a·ŷ) ŷ) / |y| the part of a orthogonal to y
    δ            = Â · ∇_y log π(a)

with advantage ``Â``, the return less a running baseline (``baseline``). Good and bad outcomes therefore push in
opposite directions, and a step in the direction of the output has no effect.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.trajectory import QueryTrajectory
from sona_pg.errors import DimensionMismatch, InvalidValue
from sona_pg.learning.vectors import unit

REWARD_SHARE = 0.5  # of the return, when a trajectory has rewards as well as a quality
PRIOR_RETURN = 0.5  # the baseline before anything is known: the middle of the scale
LARGEST_ADVANTAGE = 1.0  # the whole scale of quality: rewards have no scale, and one outcome must not count for more


def bounded(advantage: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``advantage`` within the scale of quality."""
    return np.clip(advantage, -LARGEST_ADVANTAGE, LARGEST_ADVANTAGE)


def reward_to_go(owner: NDArray[np.int64], rewards: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return for each step the mean reward from it to the end of its trajectory.

    Args:
        owner: (s,) the trajectory of each step; the steps of one stand together, in their order.
        rewards: (s,).
    """
    n = len(rewards)
    if n == 0:
        return np.zeros(0)
    rows = np.arange(n)
    last = np.append(owner[1:] != owner[:-1], True)
    ends = np.flatnonzero(last)[np.cumsum(np.concatenate([[False], last[:-1]]))]  # (s,) last step of each trajectory
    sums = np.concatenate([[0.0], np.cumsum(rewards)])
    return np.asarray((sums[ends + 1] - sums[rows]) / (ends + 1 - rows))


def returns(
    quality: NDArray[np.float64], reward_to_go: NDArray[np.float64], has_rewards: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Blend reward-to-go (mean over the steps left) with final quality; either alone counts whole.

    Args:
        quality: (n,) in [0, 1]; NaN where nobody has said.
        reward_to_go: (n,).
        has_rewards: (n,) whether the trajectory has any reward other than zero.

    Returns:
        (n,) float64; NaN where there is neither.
    """
    blend = (1 - REWARD_SHARE) * quality + REWARD_SHARE * reward_to_go
    known = np.isfinite(quality)
    return np.where(known, np.where(has_rewards, blend, quality), np.where(has_rewards, reward_to_go, np.nan))


def direction_gradient(
    outputs: NDArray[np.float32], targets: NDArray[np.float32], advantage: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return ``δ = Â (a - (a·ŷ)ŷ) / |y|``, the policy gradient at the output.

    Args:
        outputs: (n, dim) y, the adapter's outputs; a zero output has no direction and gets no gradient.
        targets: (n, dim) a, unit rows.
        advantage: (n,) Â.

    Returns:
        (n, dim) float32, to be ascended.
    """
    norms = np.sqrt(np.einsum("nd,nd->n", outputs, outputs))[:, None]
    safe = np.where(norms > 0, norms, np.float32(1.0))
    directions = outputs / safe
    along = np.einsum("nd,nd->n", directions, targets)[:, None]
    directions *= -along
    directions += targets
    directions *= np.where(norms > 0, advantage[:, None] / safe, np.float32(0.0))
    return np.asarray(directions, np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class LearningSignal:
    """The gradient estimated from one trajectory, at the output of an adapter that is still the identity."""

    embedding: NDArray[np.float32]  # (dim,) float32: the input
    gradient: NDArray[np.float32]  # (dim,) float32: to be ascended
    advantage: float
    step_count: int

    @classmethod
    def from_trajectory(cls, trajectory: QueryTrajectory, baseline: float = PRIOR_RETURN) -> Self:
        """Estimate the gradient: the mean over the steps whose activations have the embedding's dimension.

        A trajectory without such steps has a zero gradient; it still teaches routes and patterns.
        """
        x = np.asarray(trajectory.embedding, np.float32)
        rewards = np.array([step.reward for step in trajectory.steps], np.float64)
        to_go = reward_to_go(np.zeros(len(rewards), np.int64), rewards) if len(rewards) else np.zeros(1)
        quality = np.full(len(to_go), np.nan if trajectory.quality is None else trajectory.quality)
        blended = returns(quality, to_go, np.full(len(to_go), bool(np.any(rewards))))
        gained = bounded(np.where(np.isfinite(blended), blended - baseline, 0.0)).astype(np.float32)
        rows = [
            index
            for index, step in enumerate(trajectory.steps)
            if step.activations is not None and len(step.activations) == len(x)
        ]
        gradient = np.zeros_like(x)
        if rows:
            targets = unit(np.stack([np.asarray(trajectory.steps[row].activations, np.float32) for row in rows]))
            outputs = np.broadcast_to(x, targets.shape)
            gradient = direction_gradient(outputs, targets, gained[rows]).mean(axis=0)
        return cls(x, gradient, float(gained[0]), len(trajectory.steps))

    def with_gradient(self, gradient: NDArray[np.float32]) -> Self:
        """Return this signal with another gradient, such as an exact one.

        Raises:
            DimensionMismatch: it is not as long as the embedding.
            InvalidValue: it is not finite.
        """
        values = np.asarray(gradient, np.float32)
        if values.shape != self.embedding.shape:
            raise DimensionMismatch(len(self.embedding), values.size, "gradient")
        if not np.isfinite(values).all():
            raise InvalidValue("gradient has values that are not finite: check what it was computed from")
        return dataclasses.replace(self, gradient=values)
