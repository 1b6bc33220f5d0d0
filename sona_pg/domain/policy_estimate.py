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
    """Value of one policy, in quality per decision; NaN figures if ``refused`` gives a reason."""

    policy: str
    quality: float  # doubly robust (DR)
    low: float  # 95 % interval of ``quality``, which allows for any quality where the log does not cover the policy
    high: float
    cost: (
        float  # mean per decision, by the routes' prices (logged policy: known ones); NaN while an offered one has none
    )
    ips: float  # inverse propensity scoring, for comparison
    snips: float  # the same, self-normalised
    effective_size: float  # effective sample size, in logged decisions
    largest_weight: float
    decisions: int  # number of decisions used
    refused: str  # reason for a missing figure, else ""
    rows: NDArray[np.intp]  # (m,) their rows among the evaluation's decisions
    probabilities: NDArray[np.float64]  # (m, k) probabilities of the evaluation's routes under the policy
    budget: float | None = None  # mean cost per decision that the policy keeps within; None: without a budget
    uncovered: float = 0.0  # share of its decisions at which the log hardly ever takes its routes

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as JSON-ready values; None where there is none."""
        figures = {name: getattr(self, name) for name in self.__slots__ if name not in ("rows", "probabilities")}
        return {
            name: None if isinstance(value, float) and math.isnan(value) else value for name, value in figures.items()
        }


@dataclass(frozen=True, slots=True, eq=False)
class PolicyEvaluation(Sequence[PolicyEstimate]):
    """Sequence of estimates for several policies from one log; the first is of the logged policy."""

    estimates: tuple[PolicyEstimate, ...]
    routes: tuple[str, ...]  # (k,)
    trajectories: tuple[UUID, ...]  # (n,) decisions that policies are evaluated on, oldest first
    since: datetime  # of the oldest of them
    until: datetime  # of the newest
    learned_from: int  # earlier decisions, used only to fit the models
    left_out: int  # decisions without a propensity or an outcome yet
    not_offered: tuple[str, ...] = ()  # routes that are no longer offered: only the logged policy takes them
    paid: float = math.nan  # mean real cost of the decisions that told one

    @overload
    def __getitem__(self, index: int) -> PolicyEstimate: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[PolicyEstimate, ...]: ...
    def __getitem__(self, index: int | slice) -> PolicyEstimate | tuple[PolicyEstimate, ...]:
        """Return one policy's estimate."""
        return self.estimates[index]

    def route_shares(self, estimate: PolicyEstimate) -> dict[str, float]:
        """Return the share of decisions that a policy gives to each route that it takes, the largest first."""
        if not len(estimate.rows):
            return {}
        shares = zip(self.routes, estimate.probabilities.mean(axis=0).tolist(), strict=True)
        return {route: share for route, share in sorted(shares, key=lambda one: (-one[1], one[0])) if share > 0}

    def __len__(self) -> int:
        """Return the number of policies."""
        return len(self.estimates)

    def of(self, policy: str) -> PolicyEstimate:
        """Return the estimate of ``policy``; KeyError lists the known ones."""
        for estimate in self.estimates:
            if estimate.policy == policy:
                return estimate
        raise KeyError(f"{policy!r} was not evaluated; there are {[known.policy for known in self.estimates]}")
