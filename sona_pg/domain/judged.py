"""Judged queries: a query, the answer that was shown, and all that was said of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Fact(NamedTuple):
    """One row of the ledger of feedback."""

    source: str
    sequence: int
    quality: float | None
    correction: str | None
    new: bool  # no version has learned it: of a slice, whether the cycle claims it
    paid: float | None = None  # real cost


def standing(facts: Iterable[Fact]) -> dict[str, Fact]:
    """Return the latest fact of each source, without those of sources that have taken back what they said."""
    latest = {fact.source: fact for fact in sorted(facts, key=lambda fact: fact.sequence)}
    return {
        source: fact for source, fact in sorted(latest.items())
        if (fact.quality, fact.correction, fact.paid) != (None, None, None)
    }  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class JudgedQuery:
    """One query that was answered with a candidate, as the ledger has it."""

    trajectory: bytes  # its id
    query: NDArray[np.float16]  # (dim,) as it is stored
    route: str | None  # the candidate that was shown
    quality: float | None  # told at its end
    quality_is_new: bool  # no version has learned the trajectory
    facts: tuple[Fact, ...]
    is_ranking: bool = True  # the query was answered from candidates, and not by a routing decision
    decided: bool = False  # it was answered by a routing decision
    features: NDArray[np.float32] | None = None  # (f,) of that decision
    session: str | None = None  # label of its session
    candidate_set: int = 0  # number of the set that it was answered from
    among: tuple[str, ...] | None = None  # ids of that set, none of them for all candidates; None: not read
