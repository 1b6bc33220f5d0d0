"""The simple methods that run beside ours: frozen embedding, centroid memory, nearest neighbours, logistic regression.

Each is given the right answers (``fit``), or thumbs alone: then it learns from its own confirmed answers. The titles
count as one labelled example each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors

from benchmarks.eval.data import Floats, Labels, Queries, unit

INVERSE_PENALTY = 30.0  # of the logistic regression: chosen on the validation split
NEIGHBOURS = 10
SHARPNESS, RIDGE, STEPS = 20.0, 0.01, 60  # of the softmax over cosines: chosen on the validation split
PRIOR = 1.0  # how many examples a title counts for in the centroid memory


class Method(Protocol):
    """A classifier of queries."""

    name: str

    def fit(self, seen: Queries) -> None:
        """Learn from all of ``seen``, from scratch."""

    def scores(self, queries: Floats) -> Floats:
        """Return (n, m): how well each candidate fits each query."""


class Frozen:
    """Cosine with the titles."""

    name = "frozen embedding"

    def __init__(self, titles: Floats) -> None:
        self._titles = titles

    def fit(self, seen: Queries) -> None:
        """Learn nothing."""

    def scores(self, queries: Floats) -> Floats:
        """Return cosines."""
        return queries @ self._titles.T


class CentroidMemory:
    """Cosine with the mean of each title and its queries."""

    name = "centroid memory"

    def __init__(self, titles: Floats) -> None:
        self._titles = titles
        self._centroids = titles

    def fit(self, seen: Queries) -> None:
        """Move the centroids."""
        sums = PRIOR * self._titles
        np.add.at(sums, seen.labels, seen.embeddings)
        self._centroids = unit(sums)

    def scores(self, queries: Floats) -> Floats:
        """Return cosines."""
        return queries @ self._centroids.T


class Neighbours:
    """Votes of the nearest examples, by cosine."""

    name = "kNN"

    def __init__(self, titles: Floats) -> None:
        self._titles = titles
        self.fit(Queries(titles[:0], np.zeros(0, np.int64)))

    def fit(self, seen: Queries) -> None:
        """Keep the examples."""
        rows = np.concatenate([self._titles, seen.embeddings])
        self._labels = np.concatenate([np.arange(len(self._titles)), seen.labels])
        self._model = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(rows))).fit(rows)

    def scores(self, queries: Floats) -> Floats:
        """Return the votes, the nearer the heavier."""
        far, found = self._model.kneighbors(queries)
        votes = np.zeros((len(queries), len(self._titles)), np.float32)
        np.add.at(votes, (np.arange(len(queries))[:, None], self._labels[found]), np.exp(-10 * far**2))
        return votes


class Logistic:
    """Multinomial logistic regression."""

    name = "logistic regression"

    def __init__(self, titles: Floats) -> None:
        self._titles = titles
        self._model: LogisticRegression | None = None

    def fit(self, seen: Queries) -> None:
        """Fit anew."""
        rows = np.concatenate([self._titles, seen.embeddings])
        labels = np.concatenate([np.arange(len(self._titles)), seen.labels])
        self._model = LogisticRegression(C=INVERSE_PENALTY, max_iter=300).fit(rows, labels)

    def scores(self, queries: Floats) -> Floats:
        """Return probabilities; cosines before the first fit."""
        if self._model is None:
            return queries @ self._titles.T
        return np.asarray(self._model.predict_proba(queries), np.float32)


class CosinePrior:
    """Softmax over the cosine with each title plus a linear function of the query, which thumbs of both kinds move."""

    name = "softmax over cosines"

    def __init__(self, titles: Floats, sharpness: float = SHARPNESS, ridge: float = RIDGE) -> None:
        self._titles, self._ridge = titles, ridge
        self._prior = sharpness * titles
        self._weights = np.zeros_like(titles)

    def fit(self, seen: Queries) -> None:
        """Learn from right answers."""
        self.judge(seen, seen.labels)

    def judge(self, seen: Queries, shown: Labels) -> None:
        """Learn that each of ``shown`` was right, or was not, by the labels of ``seen``."""
        each, right = np.arange(len(seen)), shown == seen.labels
        base = seen.embeddings @ self._prior.T

        def cost(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            weights = flat.reshape(self._titles.shape).astype(np.float32)
            chance = softmax(base + seen.embeddings @ weights.T, axis=1)
            of_shown = np.clip(chance[each, shown], 1e-6, 1 - 1e-6)
            value = -float(np.log(np.where(right, of_shown, 1 - of_shown)).sum())
            pull = np.where(right, 1.0, -of_shown / (1 - of_shown)).astype(np.float32)
            chance *= pull[:, None]
            chance[each, shown] -= pull
            gradient = chance.T @ seen.embeddings + self._ridge * weights
            return value + 0.5 * self._ridge * float((weights**2).sum()), gradient.ravel().astype(np.float64)

        start = self._weights.ravel().astype(np.float64)
        found = minimize(cost, start, jac=True, method="L-BFGS-B", options={"maxiter": STEPS})
        self._weights = found.x.reshape(self._titles.shape).astype(np.float32)

    def scores(self, queries: Floats) -> Floats:
        """Return logits."""
        return np.asarray(queries @ (self._prior + self._weights).T, np.float32)


def methods(titles: Floats) -> list[Method]:
    """Return a new instance of each."""
    return [Frozen(titles), CentroidMemory(titles), Neighbours(titles), Logistic(titles), CosinePrior(titles)]


def told_curve(method: Method, stream: Queries, held_out: Queries, counts: Sequence[int]) -> dict[int, float]:
    """Return the held-out accuracy (%) after each of ``counts`` right answers were told."""
    reached = {}
    for count in counts:
        method.fit(stream.take(slice(0, count)))
        reached[count] = accuracy(method, held_out)
    return reached


def thumbs_curve(
    method: Method, stream: Queries, held_out: Queries, counts: Sequence[int], cycle: int
) -> dict[int, float]:
    """The same from thumbs on its own answers; refitted every ``cycle``.

    Only ``CosinePrior`` learns from those that were not confirmed, too.
    """
    reached = {}
    confirmed = np.zeros(len(stream), bool)
    answers = np.zeros(len(stream), np.int64)
    start = 0
    while start < max(counts):
        # A refit costs the more the more is known: the steps grow with it.
        stop = min(start + max(cycle, start // 2), *(count for count in counts if count > start))
        part = stream.take(slice(start, stop))
        answers[start:stop] = predict(method, part.embeddings)
        confirmed[start:stop] = answers[start:stop] == part.labels
        if isinstance(method, CosinePrior):
            method.judge(stream.take(slice(0, stop)), answers[:stop])
        else:
            method.fit(stream.take(np.flatnonzero(confirmed)))
        if stop in counts:
            reached[stop] = accuracy(method, held_out)
        start = stop
    return reached


def predict(method: Method, queries: Floats) -> Labels:
    """Return the best candidate for each query."""
    return np.asarray(np.argmax(method.scores(queries), axis=1), np.int64)


def accuracy(method: Method, queries: Queries) -> float:
    """Return the share of right answers, in per cent."""
    return 100 * float(np.mean(predict(method, queries.embeddings) == queries.labels))
