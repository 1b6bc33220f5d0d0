"""Recall of the index search against the exact one, measured on stored vectors."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

from sona_pg.domain.space import Space
from sona_pg.errors import DatabaseError
from sona_pg.store.database import Database

TIE = 1e-5  # difference of similarity below which two results count as equally near


@dataclass(frozen=True, slots=True)
class Recall:
    """Result of a measurement."""

    recall: float
    k: int
    queries: int
    incomplete: int  # searches that reported an early stop
    search_ms: float  # median
    exact_ms: float  # median


def measure(database: Database, space: Space, k: int, queries: int, seed: int) -> Recall:
    """Search for about ``queries`` stored vectors, and return the share of the ``k`` nearest found.

    Raises:
        DatabaseError: the space has no trajectories.
    """
    wanted = found = incomplete = 0
    took: tuple[list[float], list[float]] = ([], [])
    for vector in database.sample(space, queries, seed):
        results = []
        for exact, times in enumerate(took):
            started = time.perf_counter()
            results.append(database.search(space, vector, k, exact=bool(exact)))
            times.append(1000 * (time.perf_counter() - started))
        least = min(item.similarity for item in results[1]) - TIE
        wanted += len(results[1])
        found += min(len(results[1]), sum(item.similarity >= least for item in results[0]))
        incomplete += not results[0].complete
    if not wanted:
        raise DatabaseError(f"space {space.name!r} has no trajectories to search for: record some first")
    return Recall(
        recall=round(found / wanted, 4),
        k=k,
        queries=len(took[0]),
        incomplete=incomplete,
        search_ms=round(statistics.median(took[0]), 3),
        exact_ms=round(statistics.median(took[1]), 3),
    )
