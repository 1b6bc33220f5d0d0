"""Objective of a fit: negative log-likelihood of the feedback under a softmax over the candidates."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from sona_pg.learning.beside import Start, later

FloatArray = npt.NDArray[np.float32]
Result = TypeVar("Result")

_SMALLEST = np.float32(1e-6)
_CELLS_AT_ONCE = 1 << 18


@dataclass(frozen=True, slots=True)
class PartialLabels:
    """Feedback on one candidate a query: was it right? A correction is the same with quality 1.

    With `p` the softmax probability of the judged candidate, the chance of hearing "right" is
    `P = α + (1 - α - β) p`, with α the chance that a wrong answer is praised and β that a right one is not,
    and an event of quality `q` costs `-w (q log P + (1 - q) log(1 - P))`.
    A thumb down thereby spreads its query over all other candidates in proportion to what they
    already have, which is the exact expectation step for partial labels (Jin and Ghahramani 2002).
    α and β bound the effect of a wrong thumb (Natarajan 2013). With an α of 0, praise counts in full
    however small `p` is.

    The parameters are stacked: heads `V` (a, k + 1) over the shared map `M` (k, k + 1); the logits are
    `base + z (V + F M)ᵀ`, with `F` the candidates' features times γ, so that the ridge sees both alike.
    """

    query: FloatArray  # (n, k + 1)
    base: FloatArray  # (n, a) logits of the cosine term; -inf where not a candidate
    features: FloatArray  # (a, k) candidate features times γ
    target: npt.NDArray[np.intp]  # (n,) column of the judged candidate
    quality: FloatArray  # (n,)
    weight: FloatArray  # (n,)
    up_noise: float | FloatArray  # α, of all or (n,)
    down_noise: float  # β
    ridge: float
    start: Start = later  # starts the work on a half of the queries beside that on the other

    def at(self, parameters: FloatArray) -> FitPoint:
        """Return the objective at `parameters` (a + k, k + 1)."""
        logits = self.product(parameters)
        logits += self.base
        return FitPoint(self, parameters, logits)

    def product(self, parameters: FloatArray) -> FloatArray:
        """Return the contribution of `parameters` to the logits, (n, a), which are linear in them."""
        heads, shared = np.split(parameters, [len(self.features)])
        weights = (heads + self.features @ shared).T
        logits = np.empty((len(self.query), len(self.features)), np.float32)
        self.by_halves(lambda half: np.matmul(self.query[half], weights, out=logits[half]))
        return logits

    def by_halves(self, work: Callable[[slice], Result]) -> tuple[Result, Result]:
        """Return the results for the first and the second half of the queries."""
        count, middle = len(self.query), len(self.query) // 2
        second = self.start(lambda: work(slice(middle, count)))
        return work(slice(0, middle)), second()

    def heard(self, right: FloatArray) -> FloatArray:
        """Return the chance `P` (n,) of hearing "right", by the probability of the judged candidate."""
        chance = np.float32(self.up_noise) + self.slope * right
        return np.asarray(np.clip(chance, _SMALLEST, np.float32(1.0) - _SMALLEST), np.float32)

    @property
    def certain(self) -> npt.NDArray[np.bool_]:
        """Whether praise is never wrong: of all or (n,)."""
        certain: npt.NDArray[np.bool_] = np.asarray(self.up_noise) == 0.0
        return certain

    @property
    def slope(self) -> np.float32 | FloatArray:
        """1 - α - β."""
        return np.float32(1.0 - self.up_noise - self.down_noise)

    def blocks(self, half: slice) -> Iterator[slice]:
        """Give the queries of a half in parts whose cells stay in the processor's cache."""
        size = max(1, _CELLS_AT_ONCE // len(self.features))
        for start in range(half.start, half.stop, size):
            yield slice(start, min(start + size, half.stop))

    def without(self, rows: npt.NDArray[np.intp]) -> PartialLabels:
        """Return the objective in which the queries `rows` do not count."""
        weight = self.weight.copy()
        weight[rows] = 0.0
        return replace(self, weight=weight)


class FitPoint:
    """The objective at one point: its value, and on demand its gradient and the points on a line from it.

    The logits are linear in the parameters. So one product serves all steps that are tried along a line, and only a
    point that is gone on from pays for its gradient.
    """

    def __init__(
        self,
        objective: PartialLabels,
        parameters: FloatArray,
        logits: FloatArray,
        along: FloatArray | None = None,
        step: float = 0.0,
    ) -> None:
        """Evaluate at `parameters`, whose logits are `logits` (n, a), less `step` times `along` if that is given."""
        self.at = parameters
        self.objective, self._logits, self._along, self._step = objective, logits, along, np.float32(step)
        self._most, self._total, self._right, self._lead = np.empty((4, len(logits)), np.float32)
        objective.by_halves(self._measure)
        self._right /= self._total
        self.value = self._value()

    def _value(self) -> float:
        """Return the objective's value, in nats."""
        of, heard = self.objective, self.objective.heard(self._right)
        praise = np.where(of.certain, np.log(of.slope) + self._lead - np.log(self._total), np.log(heard))
        cost = of.quality * praise + (1.0 - of.quality) * np.log1p(-heard)
        return 0.5 * of.ridge * float(np.vdot(self.at, self.at)) - float(np.vdot(of.weight, cost))

    def _measure(self, half: slice) -> None:
        """Set the largest logit of each query, the total of the softmax, and the judged candidate's share of it."""
        for rows in self.objective.blocks(half):
            chance = self._block(rows)
            self._most[rows] = chance.max(axis=1)
            chance -= self._most[rows, None]
            self._lead[rows] = chance[np.arange(len(chance)), self.objective.target[rows]]
            np.exp(chance, out=chance)
            self._total[rows] = chance.sum(axis=1)
            self._right[rows] = chance[np.arange(len(chance)), self.objective.target[rows]]

    @property
    def right(self) -> FloatArray:
        """(n,) probability of the judged candidate of each query."""
        return self._right

    def without(self, rows: npt.NDArray[np.intp]) -> FitPoint:
        """Return this point of the objective in which the queries `rows` do not count; this one is used up."""
        point = copy(self)
        point.objective = self.objective.without(rows)
        point.value = point._value()
        return point

    def chances(self, rows: slice) -> FloatArray:
        """Return the probabilities of all candidates for some queries."""
        chance = self._block(rows)
        chance -= self._most[rows, None]
        np.exp(chance, out=chance)
        chance /= self._total[rows, None]
        return chance

    def gradient(self) -> FloatArray:
        """Return the gradient of the value, of the shape of the parameters."""
        of, right = self.objective, self._right
        heard = of.heard(right)
        # d right / d logits = right (onehot - chance), so every row is a multiple of (chance - onehot)
        grows = of.slope * right
        praise = np.where(of.certain, np.float32(1.0), grows / heard)
        pull = of.weight * (of.quality * praise - (1.0 - of.quality) * grows / (1.0 - heard))
        by_candidate, others = of.by_halves(lambda half: self._pulled(half, pull))
        by_candidate += others
        gradient = np.concatenate([by_candidate, of.features.T @ by_candidate])
        gradient += np.float32(of.ridge) * self.at
        return gradient

    def _pulled(self, half: slice, pull: FloatArray) -> FloatArray:
        """Return the gradient by the candidates' weights, (a, k + 1), of a half of the queries."""
        of = self.objective
        by_candidate = np.zeros((len(of.features), of.query.shape[1]), np.float32)
        for rows in of.blocks(half):
            chance = self._block(rows)
            chance -= self._most[rows, None]
            np.exp(chance, out=chance)
            chance *= (pull[rows] / self._total[rows])[:, None]
            chance[np.arange(len(chance)), of.target[rows]] -= pull[rows]
            by_candidate += chance.T @ of.query[rows]
        return by_candidate

    def line(self, direction: FloatArray) -> Callable[[float], FitPoint]:
        """Return the function of a step that gives the point `at - step * direction`.

        Other points of the line that this one was found on are used up: their logits are moved here, in place.
        """
        if self._along is not None:
            self.objective.by_halves(self._move)
            self._along = None
        logits, along = self._logits, self.objective.product(direction)
        return lambda step: FitPoint(self.objective, self.at - np.float32(step) * direction, logits, along, step)

    def _move(self, half: slice) -> None:
        for rows in self.objective.blocks(half):
            self._logits[rows] = self._block(rows)

    def _block(self, rows: slice) -> FloatArray:
        """Return a copy of the logits of some queries."""
        if self._along is None:
            return self._logits[rows].copy()
        logits = self._along[rows] * -self._step
        logits += self._logits[rows]
        return logits
