"""Corrections: of the answers to one query, that which was told prevails over earlier thumbs up for others.

Two answers with thumbs up do not contradict each other: both may be right. A correction contradicts all others, as it
says which one is right; with equal weights the other feedback would decide which of them comes first. Against many
thumbs up their number and age decide. So they do among thumbs up and down for one answer, where thumbs down in a row
are a change rather than noise. Evidence: benchmarks/eval/EVIDENCE.md.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from sona_pg.learning.ranking.ranker_events import NONE, FloatArray, IntArray, RankEvents
from sona_pg.learning.ranking.ranker_repeats import numbers, queries

Mask = npt.NDArray[np.bool_]
Places = npt.NDArray[np.intp]

_TOLD = 5.0  # thumbs up that a correction counts as
_LASTING = 0.9  # share of a judgement that each later one of its query leaves
_OTHERS = 0.1  # most weight of all other answers to a query, of that of the answer which prevails
_RIGHT = 0.5


def disputed(events: RankEvents) -> Mask:
    """Return (n,) which events are about a query with several right answers, of which a correction names one.

    Their number and age decide what holds, not whether a meaning has changed for all queries that are alike.
    """
    told = events.correct != NONE
    if not told.any():
        return np.zeros(len(events), np.bool_)
    query = numbers(queries(events.query))[1]
    right = np.flatnonzero(events.verdict >= _RIGHT)
    answers = right[numbers(query[right], events.judged[right])[0]]
    several = np.bincount(query[answers], minlength=query.max() + 1) > 1
    return np.asarray((several & (np.bincount(query, told) > 0.0))[query], np.bool_)


def corrected(events: RankEvents, fresh: int) -> tuple[RankEvents, Mask]:
    """Return the events, of `disputed` ones those for answers that do not prevail with little weight; (n,) corrections.

    The latter are those for answers that prevail over others. The first `fresh` events are new, and the others in time
    order. What was said where the prevailing answer was no candidate keeps its weight.
    """
    weight, anew = events.weight.copy(), np.zeros(len(events), np.bool_)
    rows = np.flatnonzero(disputed(events))
    if len(rows):
        weight[rows], anew[rows] = _decided(events.take(rows), int((rows < fresh).sum()))
    return replace(events, weight=weight), anew


def prevalence(events: RankEvents) -> FloatArray:
    """Return (n,) by how much the side of each event prevails among thumbs up and down for one answer to one query.

    The events are in time order, and later ones count more. Below 0 the other side prevails, and it is 0 where the
    answer was judged one way only.
    """
    right = events.verdict >= _RIGHT
    query = numbers(queries(events.query))[1]
    answer = numbers(query, events.judged)[1]
    ups = np.bincount(answer, right)[answer]
    both = (ups > 0.0) & (ups < np.bincount(answer)[answer])
    balance = np.bincount(answer, _said(events, query, 0))[answer]
    return np.asarray(np.where(both, np.where(right, balance, -balance), 0.0), np.float32)


def replaced(events: RankEvents, fresh: RankEvents) -> Mask:
    """Return (n,) which events correct an answer whose thumb up `fresh` takes back: both on one trajectory."""
    taken = fresh.take((fresh.weight < 0.0) & (fresh.judged != NONE) & (fresh.verdict >= _RIGHT))
    told = (events.correct != NONE) & (events.shown != events.correct)
    if not len(taken) or not told.any():
        return np.zeros(len(events), np.bool_)
    return np.asarray(told & np.isin(queries(events.query), queries(taken.query)), np.bool_)


def _decided(events: RankEvents, fresh: int) -> tuple[FloatArray, Mask]:
    """Return the weights (n,) of disputed events, and (n,) which corrections prevail."""
    told, right = events.correct != NONE, events.verdict >= _RIGHT
    query = numbers(queries(events.query))[1]
    first, answer = numbers(query, events.judged)
    balance = np.bincount(answer, _said(events, query, fresh))
    order = np.lexsort((balance, query[first]))  # the last answer of each query prevails
    prevailing = order[np.cumsum(np.bincount(query[first])) - 1][query]
    others = right & (answer != prevailing) & _offered(events, events.judged[first[prevailing]])
    weight = events.weight.astype(np.float64)
    most = _OTHERS * np.bincount(answer, weight * right)[prevailing]
    total = np.bincount(query, weight * others)[query]
    factor = np.where(others, np.minimum(most / np.where(others, total, 1.0), 1.0), 1.0)
    return (weight * factor).astype(np.float32), told & (answer == prevailing)


def _said(events: RankEvents, query: Places, fresh: int) -> FloatArray:
    """Return (n,) how much each event says for its answer: the later, the more."""
    for_it = np.where(events.correct != NONE, _TOLD, 2.0 * events.verdict - 1.0)
    return np.asarray(for_it * _LASTING ** _later(query, fresh))


def _later(query: Places, fresh: int) -> Places:
    """Return (n,) how many events of the same query are later."""
    order = np.roll(np.arange(len(query)), -fresh)
    order = order[np.argsort(query[order], kind="stable")]
    later = np.empty(len(query), np.intp)
    later[order] = np.cumsum(np.bincount(query))[query[order]] - 1 - np.arange(len(query))
    return later


def _offered(events: RankEvents, rows: IntArray) -> Mask:
    """Return (n,) whether each event could have shown the candidate of `rows` (n,)."""
    if events.candidates is None:
        return np.ones(len(events), np.bool_)
    every = (events.candidates == NONE).all(axis=1)
    return np.asarray(every | (events.candidates == rows[:, None]).any(axis=1), np.bool_)
