"""Objective of a fit: negative log-likelihood of the feedback under a softmax over the candidates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

_SMALLEST = np.float32(1e-6)
_STEEPER = 3.0  # see benchmarks/eval/EVIDENCE.md
_MOST_ROWS = 1024  # of the queries, about: their second moment needs no more


@dataclass(frozen=True, slots=True)
class PartialLabels:
    """Feedback on one item a query: was it right? A correction is the same with quality 1.

    With `p` the softmax probability of the judged item, the chance of hearing "right" is
    `P = α + (1 - α - β) p`, with α the chance that a wrong answer is praised and β that a right one is not,
    and an event of quality `q` costs `-w (q log P + (1 - q) log(1 - P))`.
    A thumb down thereby spreads its query over all other candidates in proportion to what they
    already have, which is the exact expectation step for partial labels (Jin and Ghahramani 2002).
    α and β bound the effect of a wrong thumb (Natarajan 2013).

    The parameters are stacked: heads `V` (a, k + 1) over the shared map `M` (k, k + 1); the logits are
    `base + z (V + F M)ᵀ`, with `F` the items' features times γ, so that the ridge sees both alike.
    """

    query: FloatArray  # (n, k + 1)
    base: FloatArray  # (n, a) logits of the cosine term; -inf where not a candidate
    item: FloatArray  # (a, k) item features times γ
    target: npt.NDArray[np.intp]  # (n,) column of the judged item
    quality: FloatArray  # (n,)
    weight: FloatArray  # (n,)
    up_noise: float  # α
    down_noise: float  # β
    ridge: float

    def __call__(self, parameters: FloatArray) -> tuple[float, FloatArray]:
        """The cost in nats and its gradient, of the shape of `parameters` (a + k, k + 1)."""
        heads, shared = np.split(parameters, [len(self.item)])
        chance = self.query @ (heads + self.item @ shared).T
        chance += self.base
        chance -= chance.max(axis=1, keepdims=True)
        np.exp(chance, out=chance)
        chance /= chance.sum(axis=1, keepdims=True)

        each = np.arange(len(chance))
        right = chance[each, self.target]
        slope = np.float32(1.0 - self.up_noise - self.down_noise)
        heard = np.clip(np.float32(self.up_noise) + slope * right, _SMALLEST, 1.0 - _SMALLEST)
        cost = self.quality * np.log(heard) + (1.0 - self.quality) * np.log1p(-heard)
        value = -float(np.vdot(self.weight, cost))

        # d right / d logits = right (onehot - chance), so every row is a multiple of (chance - onehot)
        pull = self.quality / heard - (1.0 - self.quality) / (1.0 - heard)
        pull *= self.weight * slope * right
        chance *= pull[:, None]
        chance[each, self.target] -= pull
        by_item = chance.T @ self.query
        gradient = np.concatenate([by_item, self.item.T @ by_item])
        gradient += np.float32(self.ridge) * parameters
        value += 0.5 * self.ridge * float(np.vdot(parameters, parameters))
        return value, gradient

    def curvature_inverse(self) -> FloatArray:
        """A guess at the inverse Hessian of each row of the parameters, (k + 1, k + 1), symmetric.

        That of a softmax is Σ w (diag(p) - ppᵀ) ⊗ zzᵀ (Böhning 1992): here `p` is taken as 1 / a throughout, and
        `_STEEPER` stands for what heads and map, which move the same logits, and feedback against an item add.
        """
        rows = slice(None, None, max(1, len(self.query) // _MOST_ROWS))
        query, weight = self.query[rows], self.weight[rows]
        scale = _STEEPER / len(self.item) * float(self.weight.sum()) / max(float(weight.sum()), float(_SMALLEST))
        hessian = scale * ((query * weight[:, None]).T @ query).astype(np.float64)
        hessian[np.diag_indices_from(hessian)] += max(self.ridge, 1e-3)
        return np.linalg.inv(hessian).astype(np.float32)
