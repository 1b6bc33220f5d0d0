"""Repeated judgements: the same query judged in the same way many times is one query that is well known.

Evidence: benchmarks/eval/EVIDENCE.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sona_pg.learning.ranking.ranker_events import FloatArray, RankEvents

_GRID = 8192.0  # steps of a coordinate below which two unit queries are the same: half precision has as many
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd, of Fibonacci hashing (Knuth 1973, section 6.4)
_RIGHT = 0.5
_BEYOND_DOUBT = 5  # equal judgements of one query


def weighed_once(events: RankEvents) -> tuple[RankEvents, npt.NDArray[np.bool_]]:
    """The events, `n` of one query and candidate weighing `1 + ln n` together, and (n,) which of them are beyond doubt.

    They say little about other queries, but so many do not err in the same way. Thumbs up and down share that weight by
    their number: with a logarithm each, 100 up would count nearly as much as 400 down.
    """
    if not len(events):
        return events, np.zeros(0, np.bool_)
    first, group = _groups(events)
    # Only a query and candidate that were judged both ways are in two groups.
    about = numbers(queries(events.query[first]), events.judged[first])[1][group]
    total = np.bincount(about, events.weight)
    factor = np.where(total > 1.0, (1.0 + np.log(np.maximum(total, 1.0))) / np.maximum(total, 1.0), 1.0)
    weighed = replace(events, weight=(events.weight * factor[about]).astype(np.float32))
    return weighed, np.asarray(np.bincount(group)[group] >= _BEYOND_DOUBT, np.bool_)


def distinct(events: RankEvents) -> RankEvents:
    """The first event of each repeated one, in their order: a measurement counts a judgement once."""
    return events.take(np.sort(_groups(events)[0])) if len(events) else events


def repeated(events: RankEvents) -> npt.NDArray[np.intp]:
    """Return (n,) a number of each event that all its repetitions share."""
    return _groups(events)[1]


@dataclass(frozen=True, slots=True, eq=False)
class Gathered:
    """Some events in time order, of which each row stands for successive ones that say the same."""

    rows: npt.NDArray[np.intp]  # (r,) the last event of each
    count: FloatArray  # (r,) how many it stands for
    members: npt.NDArray[np.intp]  # (n,) all events
    of: npt.NDArray[np.intp]  # (n,) place in `rows` of each one's

    def counted(self, signs: FloatArray) -> FloatArray:
        """Return how much (r, r) the events of each column contradict a row, by the `signs` of single ones.

        The others that a row stands for agree with it.
        """
        several = np.flatnonzero(self.count > 1.0)
        if not len(several):
            return signs
        weighed = signs * self.count
        weighed[several, several] = 1.0 - self.count[several]
        return weighed


def gathered(rows: npt.NDArray[np.intp], same: npt.NDArray[np.intp], most: int) -> Gathered:
    """Return the latest of the events `rows`, ascending, in `most` rows; repetitions, of one `same`, share rows.

    Otherwise the older events of a query that is judged a thousand times would be out of sight of those that overrule
    them. Each row is the last of its events; without repetitions they are the latest `most` events.
    """
    count = np.unique(same[rows], return_counts=True)[1] if len(rows) > most else np.ones(1, np.intp)
    if count.max() == 1:
        rows = rows[-most:]
        return Gathered(rows, np.ones(len(rows), np.float32), rows, np.arange(len(rows)))
    size = -(-len(rows) // most)
    if (-(-count // size)).sum() > most:
        size *= 2  # never more, or rare repetitions would share a row over too long a time
    order = np.argsort(same[rows], kind="stable")
    turn = np.empty(len(rows), np.intp)
    turn[order] = np.arange(len(rows)) - np.repeat(np.cumsum(count) - count, count)  # how many of the same are before
    part = numbers(same[rows], turn // size)[1]
    last = np.zeros(part.max() + 1, np.intp)
    np.maximum.at(last, part, np.arange(len(rows)))
    latest = np.sort(last)[-most:]
    kept = last[part] >= latest[0]
    of = np.searchsorted(latest, last[part[kept]])
    return Gathered(rows[latest], np.bincount(of).astype(np.float32), rows[kept], of)


def _groups(events: RankEvents) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the first event of each group, and the group (n,) of each event."""
    return numbers(queries(events.query), events.judged, events.verdict >= _RIGHT)


def queries(query: FloatArray) -> npt.NDArray[np.int64]:
    """Return (n,) a hash of each query, which those that are the same share."""
    cells = np.rint(query * np.float32(_GRID)).astype(np.int64).view(np.uint64)
    factors = np.arange(1, 2 * query.shape[1], 2, dtype=np.uint64) * _MULTIPLIER
    key = (cells * (factors ^ (factors >> np.uint64(29)))).sum(axis=1, dtype=np.uint64)
    return np.asarray(key.view(np.int64))


def numbers(*columns: npt.NDArray[Any]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the first row of each distinct combination of `columns` (n,), and the number (n,) of each row's one."""
    said = np.stack([column.astype(np.int64) for column in columns])
    order = np.lexsort(said)
    sorted_ = said[:, order]
    new = np.concatenate([[True], (sorted_[:, 1:] != sorted_[:, :-1]).any(axis=0)])
    number = np.empty(said.shape[1], np.intp)
    number[order] = np.cumsum(new) - 1
    return order[new], number
