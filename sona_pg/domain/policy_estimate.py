"""Off-policy estimates of routing policies on logged decisions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, overload
from uuid import UUID

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class PolicyEstimate:
    """The value of one policy, in quality per decision; the figures are NaN where ``refused`` says why."""

    policy: str
    quality: float  # doubly robust (DR)
    low: float  # 95 % interval of ``quality``
    high: float
    cost: float  # mean per decision; NaN while no cost is known
    ips: float  # inverse propensity scoring, for comparison
    snips: float  # the same, self-normalised
    effective_size: float  # logged decisions that the estimate is worth
    largest_weight: float
    decisions: int  # that it rests on
    refused: str  # why there is no figure; "" when there is one
    rows: NDArray[np.intp]  # (m,) which of the evaluation's decisions these are
    probabilities: NDArray[np.float64]  # (m, k) with which the policy takes each of the evaluation's routes

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as JSON-ready values; None where there is none."""
        figures = {name: getattr(self, name) for name in self.__slots__ if name not in ("rows", "probabilities")}
        return {
            name: None if isinstance(value, float) and math.isnan(value) else value for name, value in figures.items()
        }


@dataclass(frozen=True, slots=True, eq=False)
class PolicyEvaluation(Sequence[PolicyEstimate]):
    """Estimates for several policies from one log; the first is of the policy that ran. A sequence of them."""

    estimates: tuple[PolicyEstimate, ...]
    routes: tuple[str, ...]  # (k,)
    trajectories: tuple[UUID, ...]  # (n,) the decisions that policies are judged on, oldest first
    since: datetime  # of the oldest of them
    until: datetime  # of the newest
    learned_from: int  # decisions before these, which only the models learned from
    left_out: int  # decisions without a propensity or an outcome yet

    @overload
    def __getitem__(self, index: int) -> PolicyEstimate: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[PolicyEstimate, ...]: ...
    def __getitem__(self, index: int | slice) -> PolicyEstimate | tuple[PolicyEstimate, ...]:
        """Return one policy's estimate."""
        return self.estimates[index]

    def __len__(self) -> int:
        """Return how many policies were judged."""
        return len(self.estimates)

    def of(self, policy: str) -> PolicyEstimate:
        """Return the estimate of ``policy``; KeyError names those there are."""
        for estimate in self.estimates:
            if estimate.policy == policy:
                return estimate
        raise KeyError(f"{policy!r} was not evaluated; there are {[known.policy for known in self.estimates]}")
