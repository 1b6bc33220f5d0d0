"""Repeated judgements: the same query judged in the same way many times is one query that is well known.

Evidence: benchmarks/eval/EVIDENCE.md.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from sona_pg.learning.ranking.ranker_events import RankEvents

_GRID = 8192.0  # steps of a coordinate below which two unit queries are the same: half precision has as many
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd, of Fibonacci hashing (Knuth 1973, section 6.4)
_RIGHT = 0.5
_BEYOND_DOUBT = 5  # equal judgements of one query


def weighed_once(events: RankEvents) -> tuple[RankEvents, npt.NDArray[np.bool_]]:
    """The events, `n` repeated ones weighing `1 + ln n` together, and (n,) which of them are beyond doubt.

    They say little about other queries, but so many do not err in the same way.
    """
    if not len(events):
        return events, np.zeros(0, np.bool_)
    group = _groups(events)[1]
    total = np.bincount(group, events.weight)
    factor = np.where(total > 1.0, (1.0 + np.log(np.maximum(total, 1.0))) / np.maximum(total, 1.0), 1.0)
    weighed = replace(events, weight=(events.weight * factor[group]).astype(np.float32))
    return weighed, np.asarray(np.bincount(group)[group] >= _BEYOND_DOUBT, np.bool_)


def distinct(events: RankEvents) -> RankEvents:
    """The first event of each repeated one, in their order: a measurement counts a judgement once."""
    return events.take(np.sort(_groups(events)[0])) if len(events) else events


def _groups(events: RankEvents) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the first event of each group, and the group (n,) of each event."""
    cells = np.rint(events.query * np.float32(_GRID)).astype(np.int64).view(np.uint64)
    factors = np.arange(1, 2 * events.dim, 2, dtype=np.uint64) * _MULTIPLIER
    key = (cells * (factors ^ (factors >> np.uint64(29)))).sum(axis=1, dtype=np.uint64)
    said = np.stack([key.view(np.int64), events.judged.astype(np.int64), (events.verdict >= _RIGHT).astype(np.int64)])
    order = np.lexsort(said)
    sorted_ = said[:, order]
    new = np.concatenate([[True], (sorted_[:, 1:] != sorted_[:, :-1]).any(axis=0)])
    group = np.empty(len(events), np.intp)
    group[order] = np.cumsum(new) - 1
    return order[new], group
