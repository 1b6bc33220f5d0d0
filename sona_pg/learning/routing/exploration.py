"""Probability of each candidate, computed before the draw, so that a logged propensity is exact.

Two parts. Thompson sampling (Thompson 1933; Agrawal and Goyal 2013) with a tempered posterior: at
temperature 0 the best candidate. And forced exploration, all of a fresh router's calls, then a share that
falls with the evidence about the candidates to a floor that keeps every propensity positive, without which
a log cannot be evaluated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sona_pg.errors import ConfigError
from sona_pg.learning.routing.router_basis import Doubles

GRID = np.linspace(-4.0, 4.0, 33)  # where Thompson's integral is evaluated, in standard deviations
DENSITY = np.exp(-0.5 * GRID * GRID)
CONTENDERS = 8  # more cannot matter: the work is quadratic in them
LEAST = 0.05  # of an even share goes to a well-known candidate, and to a dear one on a tight budget


@dataclass(frozen=True, slots=True)
class Exploration:
    """Amount of exploration. Evidence for the temperature: benchmarks/eval/EVIDENCE.md."""

    temperature: float = 0.05  # scales the posterior deviation: 0 is greedy, 1 Thompson sampling as published
    floor: float = 0.02  # share of calls that explore for ever
    newcomer: float = 0.1  # share of calls that candidates without history may take from proven ones
    warm_up: float = 50.0  # observations after which a route is half known

    def __post_init__(self) -> None:
        shares = 0 <= self.floor <= 1 and 0 <= self.newcomer <= 1
        if not (0 <= self.temperature < np.inf and shares and 0 < self.warm_up < np.inf):
            raise ConfigError(f"exploration needs temperature >= 0, shares in [0, 1], warm_up > 0; got {self}")

    def share(self, count: Doubles) -> float:
        """The share of forced exploration among candidates with these numbers of observations, (k,)."""
        ignorance = self.warm_up / (self.warm_up + count)
        return max(self.floor, float(ignorance.min()), self.newcomer * float(ignorance.max()))

    def spread(self, count: Doubles, cost: Doubles, budget: float | None) -> Doubles:
        """Distribution of forced exploration over the candidates: (k,) and (k,) to (k,), sums to 1.

        Routes with less evidence get more; with a budget, mixed with the cheapest candidate until the mean cost is
        within it, where that is possible.
        """
        wanted = self.warm_up / (self.warm_up + count) + LEAST
        wanted /= wanted.sum()
        cheapest = int(np.argmin(cost))
        excess = float(wanted @ cost - cost[cheapest])
        if budget is not None and wanted @ cost > budget and excess > 0:
            kept = float(np.clip((budget - cost[cheapest]) / excess, LEAST, 1))
            wanted *= kept
            wanted[cheapest] += 1 - kept
        return wanted


def thompson_probabilities(mean: Doubles, deviation: Doubles) -> Doubles:
    """P(candidate has the largest of independent normals): (k,) and (k,) to (k,), sums to 1.

    The integral over the winner's value is a sum over `GRID`, the normal distribution function Page's (1977), and only
    the `CONTENDERS` of largest mean + deviation compete. The approximations only shape the exploration: the returned
    probabilities are those of the draw. Without deviation equal bests share evenly.
    """
    scale = np.maximum(deviation, 1e-9)
    contenders = np.sort(np.argsort(-(mean + scale), kind="stable")[:CONTENDERS])
    mean, scale = mean[contenders], scale[contenders]
    value = mean[:, None] + scale[:, None] * GRID  # (k, grid) values the winner may have
    z = (value[:, None, :] - mean[None, :, None]) / scale[None, :, None]  # (winner, rival, grid)
    z = np.clip(z, -8, 8)
    below = 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * z * (1 + 0.044715 * z * z)))
    itself = np.arange(len(mean))
    below[itself, itself] = 1.0
    chance = below.prod(axis=1) @ DENSITY
    probabilities = np.zeros(len(deviation))
    probabilities[contenders] = chance / chance.sum()
    return probabilities
