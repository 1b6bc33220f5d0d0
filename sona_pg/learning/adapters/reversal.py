"""Reversal of learning from feedback that was revised or retracted, in adapters.

A gradient step cannot be subtracted, but its effect on the outputs can be undone: the cosine of each step with its
direction, and the log odds of each judged choice, return to their values for the unadapted embedding. Where other
feedback on the same query stays, only the retracted share is undone: one of n equal facts is an n-th, and none returns
farther than its own target. Four rounds of the same proximal steps as in learning approach the goals, each leaving
about a tenth of the way; A is fixed, so that it does not lose the query. At most 2 % of what a query had been turned by
feedback on it alone is left (``tests/learning/test_reversal.py``). New feedback is learned afterwards, as any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.ledger_slice import LedgerSlice, Outcome, Steps, Trajectories
from sona_pg.domain.state import LoraWeights
from sona_pg.learning.adapters.baseline import Baseline
from sona_pg.learning.adapters.choices import TEMPERATURE, Choices
from sona_pg.learning.adapters.samples import STIFFNESS, Directions, Returns, directions_of
from sona_pg.learning.adapters.signal import direction_gradient
from sona_pg.learning.adapters.training import Quadratics, Schedule, forward, train
from sona_pg.learning.vectors import unit

RATE = 10.0
PASSES = 4
LOCALITY = 8  # power of the cosine by which other feedback counts as about the same query
MOST = 1024  # retracted facts of each kind reversed one by one in a slice; of more, a uniform sample stands for all


@dataclass(frozen=True, slots=True, eq=False)
class ChangedReturns:
    """Earlier trajectories whose quality has changed, with their steps."""

    trajectories: Trajectories
    steps: Steps
    before: Sequence[Outcome]
    after: Sequence[Outcome]

    @classmethod
    def of(cls, claimed: LedgerSlice) -> Self:
        """Return the trajectories changed by a slice."""
        pairs = enumerate(zip(claimed.before, claimed.after, strict=True))
        rows = np.array([row for row, (old, new) in pairs if old.quality != new.quality], np.int64)
        return cls(
            claimed.revised.take(rows),
            claimed.revised_steps.of_rows(rows, len(claimed.revised)),
            [claimed.before[row] for row in rows],
            [claimed.after[row] for row in rows],
        )

    def taken_out(self, baseline: Baseline) -> Baseline:
        """Return the baseline without their returns."""
        told = Returns.of(len(self.trajectories), self.steps, self.before)
        return baseline.unfold(told.values[told.known], [self.trajectories.routes[row] for row in told.known.tolist()])

    def learned(self, baseline: Baseline) -> Directions:
        """Return their steps as learned, against a baseline without them."""
        return directions_of(self.trajectories, self.steps, self.before, baseline)[0]


@dataclass(frozen=True, slots=True, eq=False)
class Reversal:
    """Steps and choices with retracted feedback."""

    directions: Directions  # with the advantage they were learned with
    choices: Choices  # with the verdict they were learned with
    staying: NDArray[np.float32]  # (m, dim) unit queries of a sample of the feedback that stays
    each: float  # how many each of the sample stands for

    def __len__(self) -> int:
        return len(self.directions) + len(self.choices)


def take_back(weights: LoraWeights, reversal: Reversal, max_norm: float, seed: int) -> LoraWeights:
    """Return ``weights`` after reversing the outputs by the retracted shares."""
    rng = np.random.default_rng([seed, 11])
    schedule = Schedule(RATE, PASSES, max_norm, seed, b_alone=True)
    rows = _drawn(len(reversal.directions), rng)
    if len(rows):
        steps = reversal.directions.take(rows)
        together, share = _shares(steps.inputs, reversal, len(reversal.directions) / len(rows))
        weights = _turn_back(weights, steps, together, share, schedule)
    rows = _drawn(len(reversal.choices), rng)
    if len(rows):
        choices = reversal.choices.take(rows)
        _, share = _shares(choices.inputs, reversal, len(reversal.choices) / len(rows))
        weights = _choose_back(weights, choices, share, schedule)
    return weights


def _turn_back(
    weights: LoraWeights,
    steps: Directions,
    together: NDArray[np.float32],
    share: NDArray[np.float32],
    schedule: Schedule,
) -> LoraWeights:
    now = _turned(steps, forward(weights, steps.inputs), np.arange(len(steps)))
    asked = np.sign(steps.advantage)
    learned = np.clip(asked * now, 0.0, np.abs(steps.advantage) / np.float32(STIFFNESS) * together)
    goal = now - asked * share * learned

    def pull(outputs: NDArray[np.float32], rows: NDArray[np.int64]) -> Quadratics:
        left = goal[rows] - _turned(steps, outputs, rows)
        ones = np.ones(len(rows), np.float32)
        return Quadratics(direction_gradient(outputs, steps.targets[rows], ones), left, ones)

    return train(weights, steps.inputs, pull, schedule)


def _choose_back(weights: LoraWeights, choices: Choices, share: NDArray[np.float32], schedule: Schedule) -> LoraWeights:
    now = choices.log_odds(forward(weights, choices.inputs))
    before = choices.log_odds(choices.inputs)
    learned = np.where(choices.verdict >= 0.5, np.maximum(now - before, 0.0), np.minimum(now - before, 0.0))
    goal = now - share * learned

    def pull(outputs: NDArray[np.float32], rows: NDArray[np.int64]) -> Quadratics:
        tangent = choices.tangent(outputs, rows)
        left = (goal[rows] - choices.log_odds(outputs, rows)) / np.float32(TEMPERATURE)
        return Quadratics(tangent, left, np.ones(len(rows), np.float32))

    return train(weights, choices.inputs, pull, schedule)


def _turned(steps: Directions, outputs: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    return np.asarray(np.einsum("nd,nd->n", unit(outputs) - steps.inputs[rows], steps.targets[rows]), np.float32)


def _shares(
    inputs: NDArray[np.float32], reversal: Reversal, scale: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the number of retracted facts at the same query, and their share of all facts there, (n,) each."""
    together = np.maximum(_alike(inputs, inputs) * np.float32(scale), np.float32(1.0))
    others = _alike(inputs, reversal.staying) * np.float32(reversal.each)
    return together, np.asarray(together / (together + others), np.float32)


def _alike(inputs: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the number of ``others`` (m, dim) that are about the same query as each of ``inputs`` (n, dim)."""
    if not len(others):
        return np.zeros(len(inputs), np.float32)
    return np.asarray((np.maximum(inputs @ others.T, 0.0) ** LOCALITY).sum(axis=1), np.float32)


def _drawn(count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    return np.sort(rng.permutation(count)[:MOST])
