"""Earlier ratings of an answer to questions like one that is asked, and how probably it would be rated right."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

LEAST_ALIKE = 0.5  # cosine similarity from which on a question counts
PRIOR = 1.0  # ratings of this very question that the confidence of a ranking counts as


class RatedBefore(NamedTuple):
    """How probably an answer would be rated right, by a ranking's confidence and by what people said of it."""

    probability: float
    confidence: float  # of the ranking: as probable as answers like this one are right
    rated: int  # ratings of this answer to questions like it
    quality: float | None  # their mean, the nearest questions weighing most; None without any

    @classmethod
    def of(cls, confidence: float, ratings: Iterable[tuple[float, float]]) -> RatedBefore:
        """Weigh the ``confidence`` and the ``ratings`` of an answer, each a similarity with a quality.

        The confidence is that of all answers with such scores. It does not learn that all of one question's answers are
        wrong: then it believes the next best one again and again (`benchmarks/eval/EVIDENCE.md`). This is the kernel
        regression of what was said of the answer (Nadaraya 1964, Watson 1964), shrunk to the confidence.
        """
        weighed = [(weight_of(similarity), quality) for similarity, quality in ratings if similarity > LEAST_ALIKE]
        total = sum(weight for weight, _ in weighed)
        told = sum(weight * quality for weight, quality in weighed)
        probability = (PRIOR * confidence + told) / (PRIOR + total)
        return cls(probability, confidence, len(weighed), told / total if total else None)


def weight_of(similarity: float) -> float:
    """Return how many ratings of the same question one of a question with this cosine similarity counts as."""
    return min(max((similarity - LEAST_ALIKE) / (1.0 - LEAST_ALIKE), 0.0), 1.0) ** 2
