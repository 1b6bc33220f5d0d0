"""The router's basis: a query and its features as a few hundred numbers in which a kernel machine is linear.

A Gaussian kernel over (embedding, features) compares a query with landmarks drawn from the space's own
queries, half of it replaced by the dot product of the embeddings where the events speak for a linear part; the
leading eigenvectors of the landmarks' kernel matrix turn those similarities into φ, so that φ(x)·φ(y) is
close to k(x, y) (Nyström; Williams and Seeger 2001). How much the features weigh beside the embedding is
chosen by the marginal likelihood of a Gaussian process on a sample of the events (Rasmussen and Williams
2006, eq. 5.8); `router_kernel` chooses whether there is a linear part.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sona_pg.errors import DimensionMismatch
from sona_pg.learning.vectors import unit

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Integers = NDArray[np.int32]

SKETCH_WIDTH = 1024  # embeddings wider than this are hashed down to it
FEATURE_CLIP = 4.0  # standard deviations; one absurd feature must not decide alone
LENGTH = 0.25  # squared kernel length, in median squared distances of embedding and features together
# Median squared distance of all features together, over that of the embeddings; the usual one first.
FEATURE_WEIGHTS = (0.7, 0.0, 0.2)
MARGIN = 2.0  # nats by which another weight must beat the usual one
EVIDENCE_ROWS = 400  # the kernel is chosen on so many events: 400³/3 flops a try
BLOCK = 512  # rows at a time: their kernel values stay in the processor's cache
SMALLEST_EIGENVALUE = 1e-4  # of the largest; directions below it are rounding


@dataclass(frozen=True, slots=True)
class Basis:
    """A frozen Nyström map. L = landmarks, f = features, m = width; L = 0 means none was built yet."""

    landmarks: Floats  # (L, min(dim, 1024) + f)
    transform: Floats  # (L, m) kernel values to φ, strongest direction first
    feature_mean: Floats  # (f,)
    feature_deviation: Floats  # (f,)
    feature_weight: Floats  # (f,) weight of one standard deviation
    length: float  # squared length of the kernel
    unexplained: float  # mean of 1 - |φ|² on queries that are no landmarks: the mass the map leaves out
    linear: float = 0.0  # share of the dot product of the embeddings in the kernel; the rest is Gaussian

    @classmethod
    def empty(cls) -> Basis:
        none = np.zeros((0, 0), np.float32)
        return cls(none, none, none.ravel(), none.ravel(), none.ravel(), 1.0, 1.0)

    @property
    def width(self) -> int:
        return int(self.transform.shape[1])

    def __call__(self, query: Floats, features: Floats | None) -> Floats:
        """φ led by the constant 1: (n, dim) and (n, f) to (n, m + 1). A feature that is missing is average."""
        phi = np.ones((len(query), 1 + self.width), np.float32)
        if len(self.landmarks):
            rows = self._join(reduce_width(query), features)
            for start in range(0, len(rows), BLOCK):
                block = slice(start, start + BLOCK)
                phi[block, 1:] = self.similarities(rows[block]) @ self.transform
        return phi

    def similarities(self, rows: Floats) -> Floats:
        """Return the kernel of joined rows (n, min(dim, 1024) + f) with the landmarks: (n, L)."""
        return mixed(rows, self.landmarks, self.length, self.linear, rows.shape[1] - len(self.feature_mean))

    def _join(self, query: Floats, features: Floats | None) -> Floats:
        expected = len(self.feature_mean)
        if not expected:
            return query
        if features is None:
            return np.hstack([query, np.zeros((len(query), expected), np.float32)])
        if features.shape[1] != expected:
            raise DimensionMismatch(expected, features.shape[1], "features")
        scaled = np.nan_to_num((features - self.feature_mean) / self.feature_deviation, nan=0.0)
        scaled = np.clip(scaled, -FEATURE_CLIP, FEATURE_CLIP) * self.feature_weight
        return np.hstack([query, scaled]).astype(np.float32, copy=False)


@lru_cache(maxsize=16)
def _hashing(dim: int) -> tuple[NDArray[np.intp], Floats]:
    rng = np.random.default_rng(dim)
    return rng.integers(0, SKETCH_WIDTH, dim), rng.choice(np.array([-1, 1], np.float32), dim)


def reduce_width(query: Floats) -> Floats:
    """(n, dim) to unit rows (n, min(dim, 1024)); wider ones by count sketch (Charikar 2002), without a matrix."""
    dim = query.shape[1]
    query = unit(query)
    if dim > SKETCH_WIDTH:
        bucket, sign = _hashing(dim)
        narrow = np.zeros((SKETCH_WIDTH, len(query)), np.float32)
        np.add.at(narrow, bucket, (query * sign).T)
        query = unit(narrow.T)
    return query


def squared_distances(left: Floats, right: Floats) -> Floats:
    """(n, p) and (m, p) to (n, m)."""
    own = np.einsum("ij,ij->i", left, left)[:, None] + np.einsum("ij,ij->i", right, right)
    return np.asarray(np.maximum(own - 2 * (left @ right.T), 0), np.float32)


def kernel(left: Floats, right: Floats, length: float) -> Floats:
    """Gaussian kernel exp(-|l - r|² / (2·length)), `length` squared already: (n, p), (m, p) to (n, m)."""
    exponent = left @ right.T
    exponent *= np.float32(1 / length)
    exponent -= np.einsum("ij,ij->i", left, left)[:, None] * np.float32(0.5 / length)
    exponent -= np.einsum("ij,ij->i", right, right) * np.float32(0.5 / length)
    return np.asarray(np.exp(np.minimum(exponent, 0, out=exponent), out=exponent), np.float32)


def mixed(left: Floats, right: Floats, length: float, linear: float, dim: int) -> Floats:
    """Gaussian kernel, of which ``linear`` is replaced by the dot product of the first ``dim`` columns: (n, m)."""
    both = kernel(left, right, length)
    if linear:
        both *= np.float32(1 - linear)
        both += np.float32(linear) * (left[:, :dim] @ right[:, :dim].T)
    return both


class Landmarks(NamedTuple):
    """Landmarks and held-out queries of one draw, joined with their features, from which bases are made."""

    marks: Floats  # (L, min(dim, 1024) + f)
    others: Floats  # (n, min(dim, 1024) + f) no landmarks; they measure what a map leaves out
    dim: int  # columns of the embedding
    shell: Basis  # without a map: the scale of the features and the length

    def basis(self, width: int, linear: float = 0.0) -> Basis:
        """Return the Nyström map of at most ``width`` numbers, for this share of the dot product in the kernel."""
        alike = mixed(self.marks, self.marks, self.shell.length, linear, self.dim)
        value, vector = np.linalg.eigh(alike.astype(np.float64))
        keep = np.arange(len(value))[::-1][:width]
        keep = keep[value[keep] > SMALLEST_EIGENVALUE * value[-1]]
        transform = (vector[:, keep] / np.sqrt(value[keep])).astype(np.float32)
        made = replace(self.shell, landmarks=self.marks, transform=transform, linear=linear)
        held = made.similarities(self.others) @ transform
        unexplained = float(1 - np.einsum("ij,ij->i", held, held).mean()) if len(self.others) else 1.0
        return replace(made, unexplained=unexplained)


def draw_landmarks(
    query: Floats, features: Floats | None, route: Integers, quality: Floats, landmarks: int, seed: int
) -> Landmarks:
    """Return at most ``landmarks`` of the events (n, dim), (n, f) or None, (n,), (n,), and the kernel's length.

    Deterministic for its arguments. Events that repeat a query (one row per route) give one landmark.
    """
    rng = np.random.default_rng(seed)
    rows = reduce_width(query)
    mean, deviation = _moments(features)
    count, dim = len(mean), rows.shape[1]
    plain = Basis(rows[:0], rows[:0], mean, deviation, np.ones(count, np.float32), 1.0, 1.0)
    scaled = plain._join(rows, features)[:, dim:]
    sample = rng.permutation(len(rows))[:EVIDENCE_ROWS]
    length, weight = _choose_kernel(rows[sample], scaled[sample], route[sample], quality[sample])
    joined = np.hstack([rows, scaled * np.float32(weight)])
    _, first = np.unique(joined.view(np.dtype((np.void, joined.itemsize * joined.shape[1]))), return_index=True)
    chosen = rng.permutation(np.sort(first))
    cut = min(landmarks, len(chosen) - len(chosen) // 10)  # a tenth is held out to measure the residual of the map
    shell = replace(plain, feature_weight=np.full(count, weight, np.float32), length=length)
    return Landmarks(joined[chosen[:cut]], joined[chosen[cut : cut + 256]], dim, shell)


def _moments(features: Floats | None) -> tuple[Floats, Floats]:
    """Mean and deviation of each feature's finite values; 0 and 1 where there is nothing to tell."""
    count = 0 if features is None else features.shape[1]
    mean, deviation = np.zeros(count, np.float32), np.ones(count, np.float32)
    if features is None:
        return mean, deviation
    for j, column in enumerate(features.T):
        told = column[np.isfinite(column)].astype(np.float64)
        if len(told):
            mean[j] = told.mean()
            deviation[j] = told.std() if told.std() > 1e-6 * max(1.0, abs(told.mean())) else 1.0
    return mean, deviation


def _choose_kernel(rows: Floats, scaled: Floats, route: Integers, quality: Floats) -> tuple[float, float]:
    """The squared length, and the weight of one standard deviation of a feature with the largest evidence.

    The length is not chosen by evidence: on a few hundred events that prefers the smoothest kernel, which
    then cannot follow thousands (MMLU, three splits: APGR .678 against .682).
    """
    apart, aside = squared_distances(rows, rows), squared_distances(scaled, scaled)
    usual = _median_off_diagonal(apart)
    if not scaled.any():  # no features, or constant ones
        return LENGTH * usual, 0.0
    ratio = usual / _median_off_diagonal(aside)
    same = (route[:, None] == route).astype(np.float32)
    centred = (quality - quality.mean()).astype(np.float64)
    best, bonus = (-np.inf, 0.0), MARGIN
    for weight in FEATURE_WEIGHTS:
        smooth = np.exp(
            (apart + np.float32(weight * ratio) * aside) * np.float32(-0.5 / (LENGTH * (1 + weight) * usual))
        )
        evidence = _log_evidence((0.05 * smooth + (0.02 * smooth + 0.05) * same).astype(np.float64), centred)
        best, bonus = max(best, (evidence + bonus, weight)), 0.0
    return LENGTH * (1 + best[1]) * usual, float((best[1] * ratio) ** 0.5)


def _median_off_diagonal(squared: Floats) -> float:
    """A typical squared distance; 0 without two different rows would make a kernel of no width, so 1 then."""
    off = squared[np.triu_indices(len(squared), 1)]
    off = off[off > 1e-9]
    return float(np.median(off)) if len(off) else 1.0


def _log_evidence(covariance: Doubles, target: Doubles) -> float:
    """log N(target | 0, covariance + noise) without constants; the noise is the targets' variance."""
    covariance[np.diag_indices_from(covariance)] += max(float(target.var()), 1e-3)
    factor = np.linalg.cholesky(covariance)
    whitened = np.linalg.solve(factor, target)
    return float(-0.5 * whitened @ whitened - np.log(np.diag(factor)).sum())
