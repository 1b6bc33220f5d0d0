"""Seasons: the hours of the day and the days of the week (UTC) at which each pattern is asked about.

Counts fade by the half-life of the graph's edges. A pattern has a season only where the data show it: its counts differ
from those of all patterns together by a chi-squared test (Pearson 1900) at the level ``LEVEL``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.catalog import UNKNOWN
from sona_pg.domain.pattern import LearnedPattern
from sona_pg.domain.state import Arrays
from sona_pg.learning.graph.session_events import Activation

LEVEL = 3.09  # standard deviations of a normal quantile: 1 in 1,000 patterns without a season is taken for one
LEAST = 30.0  # activations before a season is looked for
SHRINK = 10.0  # activations at the times of all patterns that are added to a pattern's own
PERIODS = {"hours": 24, "weekdays": 7}

Counts = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Seasons:
    """Faded counts of activations of each pattern, by hour and by weekday."""

    at: float  # days: the moment of the counts
    counts: Mapping[bytes, Mapping[str, Counts]]  # pattern id -> period -> counts

    @classmethod
    def from_arrays(cls, arrays: Arrays | None) -> Self:
        """Restore from ``to_arrays``; nothing without arrays."""
        if arrays is None:
            return cls(0.0, {})
        keys = [key.tobytes() for key in np.asarray(arrays["keys"])]
        tables = {period: np.asarray(arrays[period], np.float64) for period in PERIODS}
        return cls(
            float(np.asarray(arrays["at"])),
            {key: {period: tables[period][row] for period in PERIODS} for row, key in enumerate(keys)},
        )

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the counts as named arrays, patterns in the order of their ids."""
        keys = sorted(self.counts)
        tables = {
            period: np.array([self.counts[key][period] for key in keys], np.float64).reshape(len(keys), length)
            for period, length in PERIODS.items()
        }
        return {"at": np.array(self.at), "keys": np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 16), **tables}

    def after(
        self, activations: Sequence[Activation], patterns: Sequence[LearnedPattern], now: float, half_life: float
    ) -> Seasons:
        """Return the counts faded to ``now``, with those of a slice; a merged pattern's go to its heir."""
        faded = 2.0 ** (-max(now - self.at, 0.0) / half_life)
        heirs = {merged.bytes: pattern.id.bytes for pattern in patterns for merged in pattern.merged_from}
        heirs |= {pattern.id.bytes: pattern.id.bytes for pattern in patterns}
        counts: dict[bytes, dict[str, Counts]] = {}
        for key in sorted(self.counts):
            if key in heirs:
                own = counts.setdefault(heirs[key], _nothing())
                for period in PERIODS:
                    own[period] = own[period] + faded * self.counts[key][period]
        for activation in activations:
            if activation.pattern != UNKNOWN:
                own = counts.setdefault(patterns[activation.pattern].id.bytes, _nothing())
                for period, place in places_of(activation.at).items():
                    own[period][place] += 1.0
        return Seasons(max(now, self.at), counts)

    def lifts(self, now: float) -> dict[bytes, float]:
        """Return how many times as often as usual each pattern with a season is asked about at ``now``."""
        found: dict[bytes, float] = {}
        for period, place in places_of(now).items():
            total = sum((self.counts[key][period] for key in sorted(self.counts)), np.zeros(PERIODS[period]))
            if not total.sum() or not total[place]:
                continue
            usual = total / total.sum()
            for key in sorted(self.counts):
                own = self.counts[key][period]
                if own.sum() >= LEAST and _differs(own, usual):
                    shrunk = (own[place] + SHRINK * usual[place]) / ((own.sum() + SHRINK) * usual[place])
                    found[key] = found.get(key, 1.0) * float(shrunk)
        return found


def places_of(days: float) -> dict[str, int]:
    """Return hour and weekday (Monday is 0) of a moment."""
    return {"hours": int(days * 24) % 24, "weekdays": (int(days) + 3) % 7}  # 1970 began on a Thursday


def _nothing() -> dict[str, Counts]:
    return {period: np.zeros(length) for period, length in PERIODS.items()}


def _differs(own: Counts, usual: Counts) -> bool:
    """Return whether chance makes counts differ so much from shares in fewer cases than ``LEVEL`` says.

    The quantile of chi-squared is that of Wilson and Hilferty (1931).
    """
    there = usual > 0.0
    free = int(there.sum()) - 1
    if free < 1:
        return False
    expected = own.sum() * usual[there]
    squares = float(((own[there] - expected) ** 2 / expected).sum())
    spread = 2.0 / (9.0 * free)
    return bool(squares > free * (1.0 - spread + LEVEL * spread**0.5) ** 3)
