"""Changed meanings: earlier feedback that later feedback about the same queries has overruled.

A wrong thumb contradicts its neighbours of all times. Where a meaning has changed, the feedback since then agrees with
itself and contradicts all that came before. So each event is compared with those in its region of the query space, in
time order: the change point is the place after which they contradict it most (Page 1954), and the event is overruled
when the rate of contradiction differs before and after that point, by a Bayes factor of two beta-binomial rates
against one (Kass and Raftery 1995). A candidate most of whose feedback is overruled has lost its meaning: the rest is
overruled where contradiction merely prevails since then. Evidence for the constants: benchmarks/eval/EVIDENCE.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from sona_pg.learning.ranking.ranker_corrections import prevalence
from sona_pg.learning.ranking.ranker_events import FloatArray, IntArray, RankEvents
from sona_pg.learning.ranking.ranker_repeats import Gathered, gathered, repeated

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.intp]

LEAST_LOST = 2  # overruled events of a region, or for a candidate
LEAST_FACTOR = 3.0  # log Bayes factor from which on an event is overruled
_FACTOR_OF_NOISE = 10.0  # added to it for each part of feedback that contradicts sure answers
_EARLIEST = 16  # events for a candidate that make its prototype: those before any change
_FEWEST = 3  # events for a candidate that has one
_MOST_REGIONS = 512
_MOST_CELLS = 3_000_000  # events times regions
_MOST_COMPARED = 512  # latest events of one region, where repeated ones are gathered
_FEWEST_AGAINST = 2  # contradictions of one event
_SMALL = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Standing:
    """Whether each event still holds, and the regions of the query space in which it was looked at."""

    holds: npt.NDArray[np.bool_]  # (n,) False: overruled
    since: IntArray  # (n,) row of the event from which on it is contradicted, where it is overruled
    changed: FloatArray  # (n,) share of its earlier neighbours that is overruled
    region: IntArray  # (n,) row of its prototype
    prototypes: FloatArray  # (r, dim) unit directions of centred queries

    @classmethod
    def unchanged(cls, events: RankEvents) -> Standing:
        """All events hold."""
        count, dim = events.query.shape
        blank = np.zeros((0, dim), np.float32)
        rows = np.zeros(count, np.int32)
        return cls(np.ones(count, np.bool_), rows, np.zeros(count, np.float32), rows, blank)


def standing(events: RankEvents, directions: FloatArray, noise: float = 0.0) -> Standing:
    """Return which of `events`, in time order, still hold.

    `directions` (n, dim) are their queries, centred, of length 1, and `noise` the share that contradicts sure answers.
    """
    judged, right = events.judged, events.verdict >= 0.5
    most = min(_MOST_REGIONS, _MOST_CELLS // max(len(events), 1))
    prototypes = _prototypes(directions, judged, right, most)
    if not len(prototypes):
        return Standing.unchanged(events)
    region = (directions @ prototypes.T).argmax(axis=1).astype(np.int32)
    holds, changed = np.ones(len(events), np.bool_), np.zeros(len(events), np.float32)
    since = np.zeros(len(events), np.int32)
    regions = _regions(events, region, len(prototypes))
    for part in regions:
        rows = part.rows
        signs = contradictions(judged[rows], right[rows])
        if ((signs > 0.0) @ part.count).max(initial=0.0) < _FEWEST_AGAINST:
            continue
        signs *= _nearness(directions[rows])
        factor, point = _factors(part.counted(signs))
        overruled = factor >= LEAST_FACTOR + _FACTOR_OF_NOISE * noise
        holds[part.members], since[part.members] = ~overruled[part.of], rows[point][part.of]
    if not holds.all():  # of thumbs for one answer to one query, too few later ones are no change yet
        holds |= prevalence(events) > 0.0
    if holds.all():
        return Standing(holds, since, changed, region, prototypes)
    lost, _, _, change = evidence_since(judged, right, holds, since)
    before = np.arange(len(events)) < change[judged]
    left = right & holds & before & lost[judged]
    for part in regions:
        rows, members = part.rows, part.members
        if holds[members].all() and not left[members].any():
            continue
        near = _nearness(directions[rows])
        # Feedback for a candidate that lost its meaning needs no proof of its own: contradiction prevails since then.
        against = contradictions(judged[rows], right[rows]) * near * (rows >= change[judged[rows]][:, None])
        also = members[left[members] & ((against * part.count).sum(axis=1) > 0.0)[part.of]]
        holds[also], since[also] = False, change[judged[also]]
        earlier = np.tril(near, -1) * part.count
        share = (earlier @ ~holds[rows]) / np.maximum(earlier.sum(axis=1), _SMALL)
        changed[members] = share[part.of]
    return Standing(holds, since, changed, region, prototypes)


def _regions(events: RankEvents, region: IntArray, count: int) -> list[Gathered]:
    """Return what is compared in each of `count` regions, by that of each event: the latest, repeated ones gathered."""
    order = np.argsort(region, kind="stable")
    bounds = np.searchsorted(region[order], np.arange(count + 1))
    same = repeated(events) if np.diff(bounds).max() > _MOST_COMPARED else order
    return [gathered(order[start:stop], same, _MOST_COMPARED) for start, stop in pairwise(bounds.tolist())]


def evidence_since(
    judged: IntArray, right: Mask, holds: Mask, since: IntArray, known: int | None = None
) -> tuple[Mask, Counts, Counts, Array]:
    """Return which of the `known` candidates lost their meaning; evidence gone and since then; the row of the change.

    Args:
        judged: (n,) candidates of events in time order.
        right: (n,) whether each was right.
        holds: (n,) whether the event still holds.
        since: (n,) row from which on it is contradicted, where it does not.
        known: number of candidates; by default those judged.
    """
    known = int(judged.max(initial=-1)) + 1 if known is None else known
    gone = right & ~holds
    lost = np.bincount(judged[gone], minlength=known)
    change = np.bincount(judged[gone], since[gone], known) / np.maximum(lost, 1)
    later = np.arange(len(judged)) >= change[judged]
    kept = np.bincount(judged[right & holds & ~later], minlength=known)
    again = np.bincount(judged[right & holds & later], minlength=known)
    return (lost >= LEAST_LOST) & (lost > kept), lost, again, change


def contradictions(judged: IntArray, right: npt.NDArray[np.bool_]) -> FloatArray:
    """Return (n, n): 1 where the event of a column contradicts that of a row, -1 where it agrees, 0 where neither.

    "Not this one" agrees with "another one", but that another one is wrong says next to nothing for this one.
    """
    same = judged[:, None] == judged[None, :]
    says, heard = right[:, None], right[None, :]
    contradicts = np.where(same, says != heard, says & heard)
    agrees = np.where(same, says == heard, ~says & heard)
    return contradicts.astype(np.float32) - agrees.astype(np.float32)


def _prototypes(directions: FloatArray, judged: IntArray, right: npt.NDArray[np.bool_], most: int) -> FloatArray:
    """Return (r, dim) mean directions of the earliest queries that each candidate was right for: one region each.

    They stay where they are when meanings change later, as the ranker's answers do not.
    """
    rows = np.flatnonzero(right)
    order = rows[np.argsort(judged[rows], kind="stable")]
    _, first, count = np.unique(judged[order], return_index=True, return_counts=True)
    kept = np.flatnonzero(count >= _FEWEST)
    kept = np.sort(kept[np.argsort(-count[kept], kind="stable")][:most])
    spans = zip(first[kept], np.minimum(count[kept], _EARLIEST), strict=True)
    earliest = [directions[order[start : start + size]].sum(axis=0) for start, size in spans]
    sums = np.reshape(earliest, (-1, directions.shape[1]))
    length = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.asarray(sums / np.maximum(length, np.float32(_SMALL)), np.float32)


def _nearness(directions: FloatArray) -> FloatArray:
    """Return (n, n): how far each two queries of a region are about the same, in [0, 1]; 0 with itself."""
    near = directions @ directions.T
    usual = np.median(near[np.triu_indices(len(near), 1)]) if len(near) > 1 else 1.0
    near = np.clip(near / max(float(usual), 0.1), 0.0, 1.0)
    np.fill_diagonal(near, 0.0)
    return np.asarray(near, np.float32)


def _factors(signs: FloatArray) -> tuple[Array, npt.NDArray[np.intp]]:
    """Return (n,) log Bayes factors for a change after each event, and its place, by the signed weights (n, n)."""
    count = len(signs)
    since = np.cumsum(signs[:, ::-1], axis=1)[:, ::-1]  # (n, n): of all from a column on
    since[np.tri(count, dtype=np.bool_)] = -np.inf
    point = since.argmax(axis=1)
    against = np.cumsum(np.maximum(signs, 0.0)[:, ::-1], axis=1, dtype=np.float64)[:, ::-1]
    all_of = np.cumsum(np.abs(signs)[:, ::-1], axis=1, dtype=np.float64)[:, ::-1]
    each = np.arange(count)
    later, later_all = against[each, point], all_of[each, point]
    before, before_all = against[:, 0] - later, all_of[:, 0] - later_all
    factor = (
        _log_beta(before, before_all - before)
        + _log_beta(later, later_all - later)
        - _log_beta(before + later, before_all + later_all - before - later)
    )
    factor[(later * before_all <= before * later_all) | (later <= 0.5 * later_all)] = 0.0
    factor[-1] = 0.0  # nothing is later
    return factor, point


def _log_beta(first: Array, second: Array) -> Array:
    """Return the logarithm of the beta function at `first + 1`, `second + 1`."""
    return _log_factorial(first) + _log_factorial(second) - _log_factorial(first + second + 1.0)


def _log_factorial(value: Array) -> Array:
    """Return log Γ(value + 1) to six decimals, for values of 0 or more: Stirling's series, shifted by five."""
    value = np.maximum(value, 0.0)
    shifted = value + 5.0
    series = (shifted + 0.5) * np.log(shifted) - shifted + 0.5 * np.log(2.0 * np.pi) + 1.0 / (12.0 * shifted)
    return np.asarray(series - np.log((value + 1) * (value + 2) * (value + 3) * (value + 4) * (value + 5)))
