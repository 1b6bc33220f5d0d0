"""Samples for the adapters: directions of steps, and choices among candidates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.ledger_slice import Outcome, Steps, Trajectories
from sona_pg.learning.adapters.baseline import Baseline, numbered
from sona_pg.learning.adapters.choices import Choices
from sona_pg.learning.adapters.signal import bounded, direction_gradient, returns, reward_to_go
from sona_pg.learning.adapters.training import Quadratics
from sona_pg.learning.vectors import unit

# Quadratic penalty on the turn of an output: a step of advantage Â turns it by at most Â/4 in cosine with its
# direction, relative to the input embedding. Steps share most of their direction with their query, so without the
# penalty bad outcomes push every answer out of the query's neighbourhood (benchmarks/eval/EVIDENCE.md).
STIFFNESS = 4.0


@dataclass(frozen=True, slots=True, eq=False)
class Directions:
    """Steps, each with its direction and advantage.

    The objective is the policy gradient less a quadratic penalty on how far it has moved the policy, as in proximal
    policy optimisation with a penalty (Schulman et al. 2017), up to its maximum and constant beyond:

        L = Â t - κ/2 t²  while Â (Â - κ t) > 0,   t = a·ŷ - a·x̂

    so a step asks to turn its output by ``Â/κ`` in cosine, and has no effect where others have turned it farther: the
    advantage of a success shrinks as successes become frequent, and must not undo the first ones.
    """

    inputs: NDArray[np.float32]  # (n, dim) float32, unit rows
    targets: NDArray[np.float32]  # (n, dim) float32, unit rows
    advantage: NDArray[np.float32]  # (n,) float32
    weight: NDArray[np.float32]  # (n,) float32: the steps of one trajectory share a weight of 1

    def __len__(self) -> int:
        return len(self.inputs)

    @classmethod
    def empty(cls, dim: int) -> Self:
        """Return no samples."""
        nothing = np.zeros((0, dim), np.float32)
        return cls(nothing, nothing, np.zeros(0, np.float32), np.zeros(0, np.float32))

    @classmethod
    def of(
        cls, embeddings: NDArray[np.float32], owner: NDArray[np.int64], activations: NDArray[np.float32],
        advantage: NDArray[np.float64],
    ) -> Self:  # fmt: skip
        """Return the result of ``all_of`` without the steps that have no effect."""
        made = cls.all_of(embeddings, owner, activations, advantage)
        return made.take(made.teaching)

    @classmethod
    def all_of(
        cls, embeddings: NDArray[np.float32], owner: NDArray[np.int64], activations: NDArray[np.float32],
        advantage: NDArray[np.float64],
    ) -> Self:  # fmt: skip
        """Return one sample a step; the steps of one trajectory share its weight.

        Args:
            embeddings: (t, dim) of the trajectories.
            owner: (s,) row of each step's trajectory.
            activations: (s, dim).
            advantage: (s,).
        """
        shares = np.bincount(owner, minlength=len(embeddings))[owner]
        gained, weight = bounded(advantage).astype(np.float32), (1.0 / shares).astype(np.float32)
        return cls(unit(embeddings[owner]), unit(activations), gained, weight)

    @property
    def teaching(self) -> NDArray[np.int64]:
        """Mask of the samples with an advantage and a direction."""
        return np.flatnonzero((self.advantage != 0) & self.inputs.any(axis=1) & self.targets.any(axis=1))

    def followed_by(self, other: Self, most: int) -> Self:
        """Return these samples and then the others; of more than ``most`` the latest."""
        return type(self)(
            np.concatenate([self.inputs, other.inputs])[-most:],
            np.concatenate([self.targets, other.targets])[-most:],
            np.concatenate([self.advantage, other.advantage])[-most:],
            np.concatenate([self.weight, other.weight])[-most:],
        )

    def take(self, rows: NDArray[np.int64]) -> Self:
        """Return the samples ``rows``."""
        return type(self)(self.inputs[rows], self.targets[rows], self.advantage[rows], self.weight[rows])

    def pull(self, outputs: NDArray[np.float32], rows: NDArray[np.int64]) -> Quadratics:
        """Return ``L`` of the samples ``rows`` (b,) at ``outputs`` (b, dim), along the change of each one's cosine."""
        targets, inputs, weight = self.targets[rows], self.inputs[rows], self.weight[rows]
        turned = np.einsum("nd,nd->n", unit(outputs) - inputs, targets)
        gained = self.advantage[rows]
        left = gained - np.float32(STIFFNESS) * turned
        asking = weight * (gained * left > 0)
        tangent = direction_gradient(outputs, targets, np.ones_like(weight))
        return Quadratics(tangent, asking * left, asking * np.float32(STIFFNESS))

    def delta(self, outputs: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return ``∇_y L`` at ``outputs`` (b, dim) of the samples ``rows`` (b,)."""
        return self.pull(outputs, rows).gradient


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Directions, then choices, as one numbered sequence."""

    directions: Directions
    choices: Choices
    inputs: NDArray[np.float32] = field(init=False)  # (n, dim) float32, unit rows

    def __post_init__(self) -> None:
        object.__setattr__(self, "inputs", np.concatenate([self.directions.inputs, self.choices.inputs]))

    def __len__(self) -> int:
        return len(self.inputs)

    def pull(self, outputs: NDArray[np.float32], rows: NDArray[np.int64]) -> Quadratics:
        """Return the models of the objectives of the samples ``rows`` (b,) at ``outputs`` (b, dim)."""
        count = len(self.directions)
        if not count:
            return self.choices.pull(outputs, rows)
        if not len(self.choices):
            return self.directions.pull(outputs, rows)
        choosing = rows >= count
        whole = Quadratics(np.empty_like(outputs), *np.empty((2, len(rows)), np.float32))
        parts = (
            (~choosing, self.directions.pull(outputs[~choosing], rows[~choosing])),
            (choosing, self.choices.pull(outputs[choosing], rows[choosing] - count)),
        )
        for where, part in parts:
            for column, values in zip(whole, part, strict=True):
                column[where] = values
        return whole

    def delta(self, outputs: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the policy gradient at ``outputs`` (b, dim) of the samples ``rows`` (b,)."""
        return self.pull(outputs, rows).gradient

    def sampled_delta(
        self, outputs: NDArray[np.float32], rows: NDArray[np.int64], rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Return the same, of choices for an outcome drawn from the policy: for the Fisher information."""
        count = len(self.directions)
        choosing = rows >= count
        wanted = np.empty_like(outputs)
        wanted[~choosing] = self.directions.delta(outputs[~choosing], rows[~choosing])
        wanted[choosing] = self.choices.sampled_delta(outputs[choosing], rows[choosing] - count, rng)
        return wanted


@dataclass(frozen=True, slots=True, eq=False)
class Returns:
    """Returns of trajectories as a whole, and of each step to its trajectory's end."""

    values: NDArray[np.float64]  # (n,) NaN without a quality and any reward
    to_go: NDArray[np.float64]  # (s,) the same of each step

    @classmethod
    def of(cls, count: int, steps: Steps, outcomes: Sequence[Outcome]) -> Self:
        """Return those of ``count`` trajectories: the reward-to-go blended with the final quality."""
        quality = np.array([np.nan if outcome.quality is None else outcome.quality for outcome in outcomes], np.float64)
        rewarded = np.bincount(steps.trajectory, steps.reward != 0, count) > 0
        to_go = reward_to_go(steps.trajectory, steps.reward)
        at_start = np.zeros(count)
        at_start[steps.trajectory[::-1]] = to_go[::-1]  # of several steps the first stays
        owner = steps.trajectory
        return cls(returns(quality, at_start, rewarded), returns(quality[owner], to_go, rewarded[owner]))

    @property
    def known(self) -> NDArray[np.intp]:
        """The trajectories with a return."""
        return np.flatnonzero(np.isfinite(self.values))


def directions_of(
    fresh: Trajectories, steps: Steps, outcomes: Sequence[Outcome], baseline: Baseline
) -> tuple[Directions, Baseline]:
    """Return one sample per usable step of a trajectory with a known return, and the baseline with all of them.

    A step's return is its own reward-to-go blended with the final quality; the baseline of its trajectory's route is
    subtracted, to which the trajectory adds only its return from the start.
    """
    told = Returns.of(len(fresh), steps, outcomes)
    known = told.known
    routes = [fresh.routes[int(row)] for row in known]
    expected = np.full(len(fresh), np.nan)
    queries = numbered(fresh.embeddings[known]) if steps.usable.any() else None
    expected[known] = told.values[known] - baseline.advantages(told.values[known], routes, queries)
    rows = np.flatnonzero(steps.usable & np.isfinite(expected[steps.trajectory]))
    owner = steps.trajectory[rows]
    directions = Directions.of(fresh.embeddings, owner, steps.activations[rows], told.to_go[rows] - expected[owner])
    return directions, baseline.fold(told.values[known], routes)
