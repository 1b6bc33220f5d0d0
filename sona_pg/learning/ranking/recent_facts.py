"""Facts of recent ranking in their order, with the features of their queries."""

from __future__ import annotations

import numpy as np

from sona_pg.learning.ranking.ranker_events import NONE, FloatArray, RankEvents


class RecentFacts:
    """Facts so far, in arrays that grow by doubling."""

    def __init__(self, dim: int) -> None:
        """Begin with none."""
        self.count = 0
        self.query = np.zeros((0, dim), np.float32)
        self.features = np.zeros((0, dim + 1), np.float32)  # the last column is the bias, 1
        self.slopes = np.zeros((0, dim + 1), np.float32)  # of the features without the bias
        self.target = np.zeros(0, np.int64)
        self.verdict = np.zeros(0, np.float32)
        self.told = np.zeros(0, np.bool_)  # by a correction

    def add(self, events: RankEvents) -> None:
        """Add judged events."""
        more = self.count + len(events)
        if more > len(self.target):
            room = ((0, 2 * more - len(self.target)),)
            wide = (self.query, self.features, self.slopes)
            self.query, self.features, self.slopes = (np.pad(rows, (*room, (0, 0))) for rows in wide)
            self.target, self.verdict = np.pad(self.target, room), np.pad(self.verdict, room)
            self.told = np.pad(self.told, room)
        rows = slice(self.count, more)
        self.query[rows] = events.query
        self.target[rows], self.verdict[rows] = events.judged, events.verdict
        self.told[rows] = events.correct != NONE
        self.count = more

    def describe(self, row: int, wide: FloatArray, slope: FloatArray) -> None:
        """Keep the features (1, dim) of one fact and their slope (1, dim + 1).

        They are computed for each fact alone: the last bits of a product depend on how many rows it has.
        """
        self.features[row, :-1], self.features[row, -1] = wide[0], 1.0
        self.slopes[row] = slope[0]

    def known(self, count: int, least: int) -> int:
        """Return how many candidates there were after `count` facts, `least` before the first."""
        return max(least, int(self.target[:count].max(initial=-1)) + 1)

    def judged(self, count: int) -> int:
        """Return how many candidates the first `count` facts are about."""
        return len(np.unique(self.target[:count]))
