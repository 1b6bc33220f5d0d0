"""Expectations of a learned graph: what a query's patterns use, what usually comes next, what activation reaches."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from sona_pg.domain.memory import EdgeKind
from sona_pg.learning.graph.edges import RATE, GraphEdges
from sona_pg.learning.graph.expectation import Expectation, sureness, uses_of
from sona_pg.learning.graph.learned_graph import LearnedGraph
from tests.learning.graph_slices import BLANK, CATALOG, DIM, PATTERNS, Turn, after, learned, slice_of

TOPICS = np.eye(DIM, dtype=np.float32)
DAY = 0.001


def expectation(turns: list[Turn], days: float = 0.0) -> Expectation:
    """Return what a graph that was learned from some turns expects, so many days later."""
    graph = learned(slice_of(turns))
    return Expectation.of(graph, PATTERNS, CATALOG, DAY + days, 30.0)


def of_slots(expected: Expectation, values: np.ndarray) -> dict[int, float]:
    slots, found = expected.slots(values)
    return dict(zip(slots.tolist(), found.tolist(), strict=True))


def of_patterns(expected: Expectation, values: np.ndarray) -> dict[int, float]:
    """Return the values of patterns above 0, by topic."""
    topics = {pattern.id.bytes: topic for topic, pattern in enumerate(PATTERNS)}
    keys = expected.graph.keys
    rows = [row for row in np.flatnonzero(values).tolist() if keys[row].tobytes() in topics]
    return {topics[keys[row].tobytes()]: float(values[row]) for row in rows}


def test_uses_are_told_from_a_weight_and_make_it_sure():
    weights = 1.0 - (1.0 - RATE) ** np.array([0, 1, 2, 10, 1000])
    assert uses_of(weights) == pytest.approx([0, 1, 2, 10, 1000], rel=1e-4)
    assert sureness(weights) == pytest.approx([0, 1 / 3, 1 / 2, 10 / 12, 1000 / 1002], rel=1e-4)
    assert uses_of(np.ones(1))[0] < 2000


def test_a_query_primes_the_candidates_that_its_pattern_uses():
    expected = expectation([*(Turn(f"a{row}", 0, 5) for row in range(6)), Turn("b", 1, 6)])
    found = of_slots(expected, expected.of_query(TOPICS[0]))
    assert max(found, key=found.get) == 5
    assert found[5] > 0.7
    assert found.get(6, 0.0) < 0.01
    assert of_slots(expected, expected.of_query(-TOPICS[0])).get(5, 0.0) < 0.2, "like none of them"


def test_what_usually_comes_next_has_its_share_as_confidence():
    turns = [Turn(f"s{row}", topic) for row in range(8) for topic in (0, 1 if row % 4 else 2)]
    expected = expectation(turns)
    found = of_patterns(expected, expected.after(TOPICS[0]))
    assert found[1] == pytest.approx(6 / 9, rel=0.01)
    assert found[2] == pytest.approx(2 / 9, rel=0.01)
    later = expectation(turns, days=60)
    assert of_patterns(later, later.after(TOPICS[0]))[1] == pytest.approx(6 / 4 / (1 + 8 / 4), rel=0.02)


def test_a_candidate_of_the_next_pattern_and_the_next_candidate_are_expected():
    expected = expectation([Turn("s", topic, slot) for topic, slot in ((0, 3), (1, 4)) for _ in range(1)])
    found = of_slots(expected, expected.after(TOPICS[0]))
    assert found[4] == pytest.approx(1 / 2 * 1 / 3, rel=0.05), "it may be next, and its pattern uses it"
    direct = of_slots(expected, expected.after(TOPICS[3]))
    assert direct[4] == pytest.approx(1 / 2, rel=0.05), "after the candidate itself"


def test_activation_spreads_over_edges_and_keeps_its_mass():
    expected = expectation([Turn("s", 0, 5), Turn("s", 1, 6)])
    spread = expected.spread(TOPICS[0])
    assert 0.9 < spread.sum() <= 1.0 + 1e-9
    found = of_patterns(expected, spread)
    assert found[0] > found[1] > 0.0
    assert (expectation([Turn("s", 0)]).spread(TOPICS[3]) >= 0.0).all()


def test_activation_passes_no_dreamt_edge_until_use_confirms_it():
    graph = learned(slice_of([Turn("s", 0), Turn("t", 3)]))
    first, last = (graph.keys.tolist().index(list(PATTERNS[topic].id.bytes)) for topic in (0, 3))
    ends = np.array([first], np.int32), np.array([last], np.int32)
    for kind, reached in ((EdgeKind.DREAM, False), (EdgeKind.CO_ACTIVATION, True)):
        edges = graph.edges.united(GraphEdges.of(len(graph), *ends, kind, np.ones(1, np.float32), DAY))
        joined = dataclasses.replace(graph, edges=edges)
        expected = Expectation.of(joined, PATTERNS, CATALOG, DAY, 30.0)
        assert bool(of_patterns(expected, expected.spread(TOPICS[0])).get(3, 0.0) > 0.01) is reached


def test_an_empty_graph_expects_nothing():
    empty = Expectation.of(LearnedGraph.empty(DIM), PATTERNS, CATALOG, 0.0, 30.0)
    for values in (empty.of_query(TOPICS[0]), empty.after(TOPICS[0]), empty.spread(TOPICS[0])):
        assert values.shape == (0,)
    assert after(slice_of([])).arrays == BLANK.arrays
