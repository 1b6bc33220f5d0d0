"""Verdicts on trajectories, and their counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

Verdict = Literal["success", "recovered", "partial", "failure"]
VERDICTS: tuple[Verdict, ...] = ("success", "recovered", "partial", "failure")  # from the best to the worst


@dataclass(frozen=True, slots=True)
class VerdictCounts:
    """Numbers of trajectories by verdict; unrated ones are not counted."""

    success: int = 0
    recovered: int = 0
    partial: int = 0
    failure: int = 0

    def __add__(self, other: Self) -> Self:
        return type(self)(*(one + more for one, more in zip(self.counts, other.counts, strict=True)))

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """Numbers in the order of ``VERDICTS``."""
        return self.success, self.recovered, self.partial, self.failure

    @property
    def judged(self) -> int:
        """Number of trajectories with a verdict."""
        return sum(self.counts)

    @property
    def prevailing(self) -> Verdict | None:
        """The most frequent verdict, of equally frequent ones the worse; None while nothing is judged."""
        if not self.judged:
            return None
        return max(reversed(VERDICTS), key=lambda verdict: self.of(verdict))

    def of(self, verdict: Verdict) -> int:
        """Return the number of one verdict."""
        return self.counts[VERDICTS.index(verdict)]

    def revised(self, old: Verdict | None, new: Verdict | None) -> Self:
        """Return the counts after one trajectory's verdict changed; None is no verdict."""
        return type(self)(
            *(
                max(count - (verdict == old), 0) + (verdict == new)
                for verdict, count in zip(VERDICTS, self.counts, strict=True)
            )
        )


NO_VERDICTS = VerdictCounts()
