"""Edges of the memory graph: symmetric, bounded, decayed at read, reinforced in any order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sona_pg.domain.memory import EdgeKind
from sona_pg.learning.graph.edges import RATE, GraphEdges
from sona_pg.learning.graph.pair_uses import PairUses

SYMMETRIC = [kind for kind in EdgeKind if not kind.directed]
PAIRS = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=40)


def edges_of(pairs, kind=EdgeKind.CO_ACTIVATION, weight=0.5, nodes=8, now=0.0):
    source, target = np.array(pairs, np.int32).reshape(-1, 2).T
    return GraphEdges.of(nodes, source, target, kind, np.full(len(source), weight, np.float32), now)


def as_dict(edges):
    keys = zip(edges.source.tolist(), edges.target.tolist(), edges.kind.tolist(), strict=True)
    return dict(zip(keys, edges.weight.tolist(), strict=True))


@given(PAIRS, st.sampled_from(SYMMETRIC))
def test_a_symmetric_edge_is_stored_in_both_directions_with_one_weight(pairs, kind):
    stored = as_dict(edges_of(pairs, kind))
    assert all(stored[target, source, of] == weight for (source, target, of), weight in stored.items())
    assert not any(source == target for source, target, _ in stored)


def test_a_sequence_goes_one_way():
    assert set(as_dict(edges_of([(0, 1)], EdgeKind.SEQUENCE))) == {(0, 1, int(EdgeKind.SEQUENCE))}


@given(PAIRS)
def test_the_edges_of_a_node_are_one_slice(pairs):
    edges = edges_of(pairs)
    for node in range(8):
        assert (edges.source[edges.starts[node] : edges.starts[node + 1]] == node).all()
    assert edges.degrees().sum() == len(edges)


def test_a_weight_halves_in_a_half_life_and_no_row_is_rewritten():
    edges = edges_of([(0, 1)], weight=0.8)
    assert edges.weights_at(30.0, 30.0) == pytest.approx([0.4, 0.4])
    assert edges.weights_at(-5.0, 30.0) == pytest.approx([0.8, 0.8]), "a clock that steps back adds no weight"
    assert edges.weight == pytest.approx([0.8, 0.8])


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), min_size=1, max_size=30), st.randoms())
def test_the_order_of_reports_does_not_matter(pairs, random):
    known = edges_of([(0, 1), (2, 3)])
    shuffled = list(pairs)
    random.shuffle(shuffled)

    def folded(reports):
        source, target = np.array(reports, np.int32).reshape(-1, 2).T
        return as_dict(known.reinforced_by(source, target, EdgeKind.CO_ACTIVATION, 0.0, 30.0))

    assert folded(pairs) == folded(shuffled)


def test_a_weight_stays_in_bounds_however_often_it_is_used_or_retrieved_in_vain():
    many = np.zeros(5000, np.int32), np.ones(5000, np.int32)
    edges = edges_of([(0, 1)])
    assert 0.999 < edges.reinforced_by(*many, EdgeKind.CO_ACTIVATION, 0.0, 30.0).weight.max() <= 1.0
    assert 0.0 <= edges.reinforced_by(*many, EdgeKind.CO_ACTIVATION, 0.0, 30.0, up=False).weight.max() < 0.001


def test_one_use_moves_a_weight_by_the_rate_and_makes_an_edge_where_there_was_none():
    pair = np.array([0], np.int32), np.array([1], np.int32)
    made = GraphEdges.empty(2).reinforced_by(*pair, EdgeKind.CO_ACTIVATION, 3.0, 30.0)
    assert made.weight == pytest.approx([RATE, RATE])
    assert made.reinforced.tolist() == [3.0, 3.0]
    again = made.reinforced_by(*pair, EdgeKind.CO_ACTIVATION, 3.0, 30.0)
    assert again.weight == pytest.approx([1 - (1 - RATE) ** 2] * 2)
    in_vain = GraphEdges.empty(2).reinforced_by(*pair, EdgeKind.CO_ACTIVATION, 3.0, 30.0, up=False)
    assert len(in_vain) == 0, "what was retrieved in vain makes no edge"


@given(PAIRS, st.integers(1, 4))
def test_no_node_has_more_edges_than_the_cap_and_symmetry_is_kept(pairs, cap):
    random = np.random.default_rng(len(pairs))
    source, target = np.array(pairs, np.int32).reshape(-1, 2).T
    weights = random.random(len(source)).astype(np.float32)
    edges = GraphEdges.of(8, source, target, EdgeKind.DREAM, weights, 0.0).capped(cap, 0.0, 30.0)
    assert edges.degrees().max(initial=0) <= cap
    stored = as_dict(edges)
    assert all((target, source, kind) in stored for source, target, kind in stored)


@given(PAIRS, PAIRS)
def test_uniting_does_not_depend_on_the_order(first, second):
    one, other = edges_of(first, weight=0.3), edges_of(second, weight=0.6, now=2.0)
    assert as_dict(one.united(other)) == as_dict(other.united(one))


def test_weak_edges_go():
    edges = edges_of([(0, 1)], weight=0.9).united(edges_of([(2, 3)], weight=0.1))
    assert {key[:2] for key in as_dict(edges.without_weak(0.2, 0.0, 30.0))} == {(0, 1), (1, 0)}


@given(st.lists(PAIRS, min_size=1, max_size=4))
def test_edges_stay_in_order_and_single_whatever_is_learned(slices):
    edges, used = GraphEdges.empty(8), set()
    for now, pairs in enumerate(slices):
        source, target = np.array(pairs, np.int32).reshape(-1, 2).T
        ones = np.ones(len(pairs), np.int64)
        uses = PairUses(source, target, ones, 0 * ones)
        edges = edges.learned(uses, EdgeKind.CO_ACTIVATION, float(now), 30.0)
        used |= {pair for first, second in pairs if first != second for pair in ((first, second), (second, first))}
    stored = list(zip(edges.source.tolist(), edges.target.tolist(), strict=True))
    assert stored == sorted(used)
    assert edges.starts.tolist() == np.searchsorted(edges.source, np.arange(9)).tolist()


def test_of_edges_stored_out_of_order_those_whose_opposite_agrees_count():
    right = edges_of([(0, 1), (0, 2), (1, 2)], weight=0.5)
    as_stored = right.starts, right.target, right.kind, right.weight, right.reinforced
    assert as_dict(GraphEdges.stored(*as_stored)) == as_dict(right)
    doubled = np.repeat(right.target, [2, 1, 1, 1, 1, 1])  # 0 to 1 twice, and the last of each node is the next one's
    columns = (np.repeat(column, [2, 1, 1, 1, 1, 1]) for column in (right.kind, right.weight, right.reinforced))
    wrong = GraphEdges.stored(np.array([0, 2, 4, 7, 7, 7, 7, 7, 7]), doubled, *columns)
    kind = int(EdgeKind.CO_ACTIVATION)
    assert as_dict(wrong) == {(0, 1, kind): 0.5, (1, 0, kind): 0.5, (1, 2, kind): 0.5, (2, 1, kind): 0.5}
    assert (np.diff(wrong.source) >= 0).all()
