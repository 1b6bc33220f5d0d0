"""Probability of each candidate, computed before the draw, so that a logged propensity is exact.

Two parts. Thompson sampling (Thompson 1933; Agrawal and Goyal 2013) with a tempered posterior: at
temperature 0 the best candidate. And forced exploration, all of a fresh router's calls, then a share that
falls with the evidence about the candidates, and where one can hardly be the best for the query, to a floor that
keeps every propensity positive, without which a log cannot be evaluated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sona_pg.errors import ConfigError
from sona_pg.learning.routing.router_basis import Doubles

Flags = NDArray[np.bool_]
GRID = np.linspace(-4.0, 4.0, 33)  # where Thompson's integral is evaluated, in standard deviations
DENSITY = np.exp(-0.5 * GRID * GRID)
CONTENDERS = 8  # more cannot matter: the work is quadratic in them
LEAST = 0.05  # of an even share of the exploration goes to a well-known candidate
STAKE, STAKE_UNKNOWN = 0.005, 0.1  # of the slack that exploring one route may cost, known and unknown
HOPELESS = 0.2  # of its stake is left to a route that would not pay with the best quality
NEVER = 0.02  # the same without a budget: a weight of cost does not change, as the price of a budget does
IMPLAUSIBLE = 0.05  # of its share is left at least to a route that can hardly be the best
SCANT = 0.05  # of a budget counts as slack even where the cheapest candidate takes it all
AGAIN = 0.12  # of the calls explores routes whose quality has shifted, as far as plausible: EVIDENCE.md


@dataclass(frozen=True, slots=True)
class Exploration:
    """Amount of exploration. Evidence for the temperature: benchmarks/eval/EVIDENCE.md."""

    temperature: float = 0.05  # scales the posterior deviation: 0 is greedy, 1 Thompson sampling as published
    floor: float = 0.02  # share of calls that explore for ever
    newcomer: float = 0.1  # share of calls that a candidate without history may take from proven ones
    warm_up: float = 25.0  # observations after which a route is half known
    paced_warm_up: float = 50.0  # the same under a budget
    pessimism: float = 0.3  # posterior deviations by which values are lowered under a budget

    def __post_init__(self) -> None:
        shares = 0 <= self.floor <= 1 and 0 <= self.newcomer <= 1
        finite = 0 <= self.temperature < np.inf and 0 <= self.pessimism < np.inf
        warm_ups = 0 < self.warm_up < np.inf and 0 < self.paced_warm_up < np.inf
        if not (finite and shares and warm_ups):
            raise ConfigError(
                f"exploration needs temperature and pessimism >= 0, shares in [0, 1], warm-ups > 0; got {self}"
            )

    def ignorance(self, count: Doubles, *, paced: bool = False) -> Doubles:
        """Return how little is known of candidates with these numbers of observations: (k,), 1 for nothing."""
        warm_up = self.paced_warm_up if paced else self.warm_up
        return warm_up / (warm_up + count)

    def forced(
        self,
        count: Doubles,
        plausible: Doubles,
        stakes: Doubles | None = None,
        *,
        paced: bool = False,
        shifted: Flags | None = None,
    ) -> Doubles:
        """Return the share of calls that explore each candidate (k,), whatever is expected of it; at most 1 in all.

        Among candidates of which little is known it is all of them, then it falls to a floor; the less is known of one,
        and the more ``plausible`` it is that it is the best for this query, the more of it it gets. A newcomer among
        proven ones gets a share of its own, and so do candidates whose quality has ``shifted`` (k,), however much was
        known of them: they are shown too rarely for their recovery to be noticed else. Where cost counts none exceeds
        its ``stakes``. Under a budget (``paced``) exploring is money, so it falls faster, the floor is for the
        plausible as well, and a shifted candidate has no share of its own.
        """
        ignorance = self.ignorance(count, paced=paced)
        wanted = ignorance + LEAST
        wanted /= wanted.sum()
        power = 2 if paced else 1
        share = max(self.floor, float(ignorance.min()) ** power)
        shares = np.maximum(share * wanted, self.newcomer * ignorance ** (2 * power)) * plausible
        if not paced:
            shares = np.maximum(shares, self.floor * wanted)
            if shifted is not None and shifted.any():
                shares = np.where(shifted, np.maximum(shares, AGAIN * plausible / shifted.sum()), shares)
        if stakes is not None:
            shares = np.minimum(shares, stakes)
        return np.asarray(shares / max(float(shares.sum()), 1.0))

    def plausible(self, scores: Doubles, deviation: Doubles) -> Doubles:
        """Return how plausible each candidate is as the best, by posterior mean and deviation: (k,), up to 1."""
        apart = (scores.max() - scores) / np.maximum(deviation, 1e-9)
        return np.asarray(np.maximum(np.exp(-0.5 * apart * apart), IMPLAUSIBLE))

    def stakes(self, count: Doubles, cost: Doubles, net: Doubles, price: float, slack: float, paced: bool) -> Doubles:
        """Return the largest share of calls (k,) that may explore each candidate where cost counts.

        Args:
            count: (k,) observations.
            cost: (k,) expected.
            net: (k,) values less the price of the cost.
            price: of a unit of cost.
            slack: cost of which exploring a candidate may take a stake.
            paced: whether there is a budget.
        """
        stake = STAKE + STAKE_UNKNOWN * self.ignorance(count, paced=paced)
        stake = np.where(1.0 - price * cost < net.max(), (HOPELESS if paced else NEVER) * stake, stake)
        more = cost - cost.min()
        return np.asarray(np.where(more > 0, stake * slack / np.where(more > 0, more, 1.0), np.inf))


def slack_of(cost: Doubles, cost_weight: float, budget: float | None) -> float:
    """Return the cost of which exploring may take stakes; infinite where cost does not count.

    With a weight of cost it is the cost worth as much as the best quality, 1; with a budget, what the cheapest
    candidate leaves of it.
    """
    slack = 1.0 / cost_weight if cost_weight > 0 else np.inf
    if budget is not None:
        slack = min(slack, max(budget - float(cost.min()), SCANT * budget))
    return slack


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
