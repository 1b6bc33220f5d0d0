"""Regions of the query space that lost their answer, and the candidates that may be the new one.

Where a meaning has changed, thumbs down only say what is wrong now. The likeliest new answers are candidates that lost
their own queries. Each region without an answer keeps a tally of those tried in it since the change, from which
`ranker_explore` draws.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sona_pg.learning.ranking.ranker import centre
from sona_pg.learning.ranking.ranker_change import LEAST_LOST, Standing, evidence_since, standing
from sona_pg.learning.ranking.ranker_corrections import prevalence
from sona_pg.learning.ranking.ranker_events import FloatArray, IntArray, RankEvents, unit_rows

Mask = npt.NDArray[np.bool_]

_MOST_LOST = 64  # regions
_MOST_HOMES = 256  # candidates
_FOUND = 3  # net thumbs up for one candidate since the change: the answer is found
_PRECISION = 0.6  # least share of the queries within the reach of a region that belong to it
_NOWHERE = 2.0  # a reach no cosine has
_MOVED = 0.5  # share of the earlier neighbours of an event that is overruled
_SMALL = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Search:
    """Lost regions, candidates without queries, and the feedback for each pair since the change."""

    lost: FloatArray  # (l, dim) unit directions of centred queries
    reach: FloatArray  # (l,) least cosine of a query that belongs to the region
    homes: IntArray  # (h,) rows of candidates that lost their queries
    tally: (
        FloatArray  # (l, h) feedback for the candidate in the region, minus that against it and that for it elsewhere
    )

    @classmethod
    def over(cls, dim: int) -> Search:
        """Nothing is lost."""
        blank = np.zeros((0, dim), np.float32)
        return cls(blank, np.zeros(0, np.float32), np.zeros(0, np.int32), np.zeros((0, 0), np.float32))


@dataclass(frozen=True, slots=True, eq=False)
class Changes:
    """Changed meanings among some events."""

    holds: Mask  # (n,) False: overruled by later events
    outlived: Mask  # (n,) overruled by later events about the same answer to the same query
    moved: Mask  # (n,) most of the earlier events about the same are overruled
    lost: npt.NDArray[np.float64]  # (m,) share of the positive feedback for each candidate that is overruled
    search: Search


def find_changes(events: RankEvents, fresh: int, known: int, noise: float = 0.0) -> Changes:
    """Return what has changed by `events`, the first `fresh` of which are new and the others in time order.

    There are `known` candidates, and a share `noise` of the feedback contradicts sure answers.
    """
    count = len(events)
    none = np.zeros(count, np.bool_)
    unchanged = Changes(~none, none, none, np.zeros(known), Search.over(events.dim))
    if not count:
        return unchanged
    order = np.roll(np.arange(count), -fresh)
    ordered = events.take(order)
    directions = unit_rows(ordered.query - centre(ordered.query.mean(axis=0)))
    found = standing(ordered, directions, noise)
    if found.holds.all():
        return unchanged
    back = np.argsort(order, kind="stable")
    total = np.bincount(ordered.judged, ordered.verdict, known)
    gone = np.bincount(ordered.judged, ordered.verdict * ~found.holds, known)
    return Changes(
        holds=found.holds[back],
        outlived=(~found.holds & (prevalence(ordered) < 0.0))[back],
        moved=(found.changed > _MOVED)[back],
        lost=gone / np.maximum(total, _SMALL),
        search=search_for(ordered, directions, found, known),
    )


def search_for(events: RankEvents, directions: FloatArray, found: Standing, known: int) -> Search:
    """Return what is lost after `events`, in time order, of which `found` says what holds; of `known` candidates."""
    right = events.verdict >= 0.5
    gone = right & ~found.holds
    homes, again = _homes(events.judged, right, found, known)
    count = np.bincount(found.region[gone], minlength=len(found.prototypes))
    places = np.argsort(-count, kind="stable")[:_MOST_LOST]
    places = places[count[places] >= LEAST_LOST]
    if not len(homes) or not len(places):
        return Search.over(directions.shape[1])
    similar = directions @ found.prototypes[places].T
    kept, reach, tallies = [], [], []
    for column, place in enumerate(places):
        inside = found.region == place
        least = _reach(similar[:, column], inside)
        change = np.median(found.since[gone & inside])
        here = np.flatnonzero(inside & found.holds & (similar[:, column] >= least))
        before, since = here[here < change], here[here >= change]
        tally = np.bincount(events.judged[since], np.where(right[since], 1.0, -1.0), known)
        earlier = events.judged[before[right[before]]]  # of neighbouring regions: no new answers
        if np.delete(tally, np.setdiff1d(earlier, homes)).max(initial=0.0) >= _FOUND:
            continue
        here_right = np.bincount(events.judged[since[right[since]]], minlength=known)
        kept.append(place)
        reach.append(least)
        tallies.append((tally - again + here_right)[homes])
    if not kept:
        return Search.over(directions.shape[1])
    return Search(found.prototypes[kept], np.array(reach, np.float32), homes, np.array(tallies, np.float32))


def _homes(judged: IntArray, right: Mask, found: Standing, known: int) -> tuple[IntArray, npt.NDArray[np.intp]]:
    """Return the candidates most of whose evidence is gone and not replaced; (known,) later evidence for each."""
    moved, lost, again, _ = evidence_since(judged, right, found.holds, found.since, known)
    homes = np.flatnonzero(moved & (again < _FOUND))
    first = np.argsort(-lost[homes], kind="stable")[:_MOST_HOMES]
    return np.sort(homes[first]).astype(np.int32), again


def _reach(similar: FloatArray, inside: Mask) -> float:
    """Return the least similarity above which a share `_PRECISION` of the queries is inside."""
    order = np.argsort(-similar, kind="stable")
    share = np.cumsum(inside[order]) / np.arange(1, len(order) + 1)
    enough = np.flatnonzero(share >= _PRECISION)
    return float(similar[order[enough[-1]]]) if len(enough) else _NOWHERE
