"""Choices among candidates as samples for an adapter: the exact gradient of a softmax policy.

The policy at an adapter's output ``y`` chooses candidate ``c`` with ``π(c) ∝ exp(τ cos(y, c))``. A verdict ``v`` in
[0, 1] on the candidate that was shown, or 1 on the one that was right, has the log-likelihood

    L = v log π(c) + (1 - v) log(1 - π(c))

and, with ``E`` the mean of the other candidates under the policy, and ``ŷ = y/|y|``,

    ∇_y L = τ (v - π(c)) (I - ŷŷᵀ)(c - E) / |y|

so the policy's expectation is its baseline (``v - π(c)``): a good verdict attracts, a bad one repels, and the repulsion
vanishes with the probability it removes. For ``v = 1`` this is REINFORCE's gradient of ``log π``. The gradients here
are in units of cosine: without the factor ``τ``, which belongs to the learning rate.

Only candidates with positive feedback are negatives. With all candidates as negatives, those not yet asked for are
pushed away from every query: learning from half of CLINC150's intents then takes the other half from 68 % to 48 %.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.catalog import Rows
from sona_pg.learning.adapters.training import Quadratics
from sona_pg.learning.ranking.ranker_events import NONE, RankEvents
from sona_pg.learning.vectors import unit

TEMPERATURE = 20.0  # τ; see benchmarks/eval/EVIDENCE.md
LARGEST_SET = 64  # candidates of one sample's own set that are looked at
LARGEST_POOL = 1024  # candidates that stand for "all"


@dataclass(frozen=True, slots=True, eq=False)
class Choices:
    """Samples that chose among candidates."""

    inputs: NDArray[np.float32]  # (n, dim) float32, unit rows
    chosen: NDArray[np.int32]  # (n,) slot of the candidate that is judged
    verdict: NDArray[np.float32]  # (n,) in [0, 1]
    table: NDArray[np.int32]  # (n, k) slots of each sample's set, padded with NONE; a row of padding means the pool
    pool: NDArray[np.int32]  # (p,) slots that stand for all candidates
    proven: NDArray[np.bool_]  # (m,) whether a candidate had positive feedback
    candidates: Rows  # (m, dim) float32, unit rows
    pooled: NDArray[np.float32] = field(init=False)  # (p, dim) the pool's rows
    place: NDArray[np.int32] = field(init=False)  # (m,) of each candidate in the pool, or NONE

    def __post_init__(self) -> None:
        """Look the pool up once: every batch needs it."""
        place = np.full(len(self.candidates), NONE, np.int32)
        place[self.pool] = np.arange(len(self.pool), dtype=np.int32)
        object.__setattr__(self, "pooled", np.ascontiguousarray(self.candidates[self.pool]))
        object.__setattr__(self, "place", place)

    def __len__(self) -> int:
        return len(self.inputs)

    @classmethod
    def empty(cls, dim: int) -> Self:
        """Return no samples."""
        rows = np.zeros((0, dim), np.float32)
        slots = np.zeros(0, np.int32)
        return cls(rows, slots, np.zeros(0, np.float32), np.zeros((0, 0), np.int32), slots, np.zeros(0, np.bool_), rows)

    @classmethod
    def of(cls, events: RankEvents, candidates: Rows, proven: NDArray[np.bool_], most: int, seed: int) -> Self:
        """Return at most ``most`` of the judged events, a uniform sample in their order.

        Args:
            events: shown candidates and their feedback; those with negative weights or unknown candidates are skipped.
            candidates: (m, dim) unit rows, all candidates by slot.
            proven: (m,) which of them had positive feedback.
            most: bound on the number of samples.
            seed: of the samples drawn where something is bounded.
        """
        rng = np.random.default_rng(seed)
        rows = np.flatnonzero(events.usable(len(candidates)) & (events.judged != NONE) & (events.weight > 0))
        rows = rows[events.query[rows].any(axis=1)]
        rows = np.sort(rng.permutation(rows)[:most])
        table = np.zeros((len(events), 0), np.int32) if events.candidates is None else events.candidates
        pool = np.sort(rng.permutation(np.flatnonzero(proven))[:LARGEST_POOL]).astype(np.int32)
        return cls(
            inputs=unit(events.query[rows]),
            chosen=events.judged[rows],
            verdict=events.verdict[rows],
            table=_narrowed(table[rows], rng),
            pool=pool,
            proven=proven,
            candidates=candidates,
        )

    def joined(self, other: Self) -> Self:
        """Return these samples, then the others, which chose among the same candidates; against this pool."""
        if not len(other):
            return self
        width = max(self.table.shape[1], other.table.shape[1])
        tables = [
            np.pad(part, ((0, 0), (0, width - part.shape[1])), constant_values=NONE)
            for part in (self.table, other.table)
        ]
        return dataclasses.replace(
            self if len(self) else other,
            inputs=np.concatenate([self.inputs, other.inputs]),
            chosen=np.concatenate([self.chosen, other.chosen]),
            verdict=np.concatenate([self.verdict, other.verdict]),
            table=np.concatenate(tables),
        )

    def take(self, rows: NDArray[np.int64]) -> Self:
        """Return the samples ``rows``."""
        return dataclasses.replace(
            self,
            inputs=self.inputs[rows],
            chosen=self.chosen[rows],
            verdict=self.verdict[rows],
            table=self.table[rows],
        )

    def pull(self, outputs: NDArray[np.float32], rows: NDArray[np.int64]) -> Quadratics:
        """Return ``L / τ`` of the samples ``rows`` (b,) at ``outputs`` (b, dim), along ``(I - ŷŷᵀ)(c - E) / |y|``.

        In the log odds of the chosen candidate ``L`` is that of logistic regression; its curvature is bounded from
        above by the tight quadratic bound of Jaakkola and Jordan (2000), so that a step never lowers it.
        """
        directions, lengths = _directions(outputs)
        own, _, _, others = self._policy(directions, rows)
        tangent = _tangent(self.candidates[self.chosen[rows]] - others, directions, lengths)
        return Quadratics(tangent, self.verdict[rows] - own, np.float32(TEMPERATURE) * _bound(own))

    def tangent(self, outputs: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the gradient of ``log_odds / τ`` at ``outputs`` (b, dim) of the samples ``rows`` (b,)."""
        directions, lengths = _directions(outputs)
        *_, others = self._policy(directions, rows)
        return _tangent(self.candidates[self.chosen[rows]] - others, directions, lengths)

    def log_odds(self, outputs: NDArray[np.float32], rows: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """Return ``log(π / (1 - π))`` (b,) of the judged candidates at ``outputs`` of ``rows``, of all if not given."""
        chosen = np.arange(len(self)) if rows is None else rows
        own, *_ = self._policy(_directions(outputs)[0], chosen)
        inside = np.clip(own.astype(np.float64), 1e-12, 1 - 1e-12)
        return np.asarray(np.log(inside / (1 - inside)), np.float32)

    def delta(self, outputs: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return ``∇_y L / τ`` at ``outputs`` (b, dim) of the samples ``rows`` (b,)."""
        return self.pull(outputs, rows).gradient

    def sampled_delta(
        self, outputs: NDArray[np.float32], rows: NDArray[np.int64], rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Return ``∇_y log π(c) / τ`` for ``c`` drawn from the policy: its squares are the Fisher information."""
        directions, lengths = _directions(outputs)
        own, policy, slots, others = self._policy(directions, rows)
        mine = self.candidates[self.chosen[rows]]
        drawn = others
        if policy.shape[1]:
            at = (np.cumsum(policy, axis=1) < rng.random((len(rows), 1))).sum(axis=1).clip(max=policy.shape[1] - 1)
            found = self.candidates[slots[at] if slots.ndim == 1 else slots[np.arange(len(rows)), at]]
            drawn = np.where((policy.sum(axis=1) > 0)[:, None], found, others)
        drawn = np.where((rng.random(len(rows)) < own)[:, None], mine, drawn)
        return _tangent(drawn - (own[:, None] * mine + (1 - own)[:, None] * others), directions, lengths)

    def best(self, outputs: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return for each sample whether its judged candidate is the policy's first choice, (n,)."""
        directions, _ = _directions(outputs)
        own = np.einsum("nd,nd->n", directions, self.candidates[self.chosen])
        against, _ = self._cosines(directions, np.arange(len(self)))
        return np.asarray(own >= against.max(axis=1, initial=-2.0))

    def _policy(
        self, directions: NDArray[np.float32], rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32], NDArray[np.float32]]:
        """Return ``π`` of the chosen (b,), of the others if it is one of them (b, k), their slots, their mean."""
        cosines, slots = self._cosines(directions, rows)
        chosen = self.candidates[self.chosen[rows]]
        own = np.einsum("nd,nd->n", directions, chosen)
        highest = np.maximum(cosines.max(axis=1, initial=-2.0), own)
        cosines -= highest[:, None]
        cosines *= np.float32(TEMPERATURE)
        policy = np.exp(cosines, out=cosines)
        total = policy.sum(axis=1)
        mine = np.exp(np.float32(TEMPERATURE) * (own - highest))
        policy /= np.where(total > 0, total, np.float32(1.0))[:, None]
        pooled = slots is self.pool
        others = policy @ self.pooled if pooled else np.einsum("nk,nkd->nd", policy, self.candidates[slots])
        # Without negatives the chosen candidate is its own negative: no gradient.
        alone = np.flatnonzero(total <= 0)
        if len(alone):
            others[alone] = chosen[alone]
        return mine / (mine + total), policy, slots, np.asarray(others, np.float32)

    def _cosines(
        self, directions: NDArray[np.float32], rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Return the cosines (b, k) with the negatives of each choice, -inf for padding, and their slots."""
        table = self.table[rows]
        chosen = self.chosen[rows][:, None]
        own_set = (table != NONE).any(axis=1) if table.shape[1] else np.zeros(len(rows), np.bool_)
        if not own_set.any():
            cosines = directions @ self.pooled.T
            place = self.place[chosen[:, 0]]
            inside = np.flatnonzero(place != NONE)
            cosines[inside, place[inside]] = -np.inf
            return cosines, self.pool
        wide = np.broadcast_to(self.pool, (len(rows), len(self.pool)))
        if own_set.all():
            slots = table
        else:
            width = max(table.shape[1], len(self.pool))
            padded = [
                np.pad(part, ((0, 0), (0, width - part.shape[1])), constant_values=NONE) for part in (table, wide)
            ]
            slots = np.where(own_set[:, None], *padded)
        against = (slots != NONE) & (slots != chosen) & self.proven[slots]
        cosines = np.einsum("nd,nkd->nk", directions, self.candidates[slots])
        return np.where(against, cosines, -np.inf).astype(np.float32), slots


def _narrowed(table: NDArray[np.int32], rng: np.random.Generator) -> NDArray[np.int32]:
    """Return ``table`` (n, k) with at most ``LARGEST_SET`` columns: of wider sets a uniform sample."""
    if table.shape[1] <= LARGEST_SET:
        return table
    keys = np.where(table == NONE, 2.0, rng.random(table.shape))
    return np.take_along_axis(table, np.argsort(keys, axis=1)[:, :LARGEST_SET], axis=1)


def _bound(chance: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return ``(π - 1/2) / log(π / (1 - π))`` (b,): 1/4 at an even chance, less towards 0 and 1."""
    inside = np.clip(chance, 1e-6, 1 - 1e-6)
    odds = np.log(inside / (1 - inside))
    even = np.abs(odds) < 1e-3
    return np.where(even, np.float32(0.25), (inside - 0.5) / np.where(even, np.float32(1.0), odds)).astype(np.float32)


def _directions(outputs: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    lengths = np.sqrt(np.einsum("nd,nd->n", outputs, outputs))[:, None]
    return np.asarray(outputs / np.where(lengths > 0, lengths, np.float32(1.0)), np.float32), lengths


def _tangent(
    pull: NDArray[np.float32], directions: NDArray[np.float32], lengths: NDArray[np.float32]
) -> NDArray[np.float32]:
    along = np.einsum("nd,nd->n", pull, directions)[:, None]
    across = pull - along * directions
    across *= np.where(lengths > 0, 1 / np.where(lengths > 0, lengths, np.float32(1.0)), np.float32(0.0))
    return np.asarray(across, np.float32)
