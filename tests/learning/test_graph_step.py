"""The memory graph learned from sessions: sequences, common uses, bounds, retractions, in any order of the slice."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sona_pg.config.graph_parts import GraphConfig
from sona_pg.domain.memory import EdgeKind, NodeKind
from sona_pg.learning.graph.edges import RATE, GraphEdges, PairUses
from sona_pg.learning.graph.graph_step import LEAST_WEIGHT
from sona_pg.learning.graph.learned_graph import LearnedGraph
from sona_pg.learning.graph.open_sessions import MOST, sessions_from
from tests.learning.graph_slices import (
    BLANK,
    DIM,
    Turn,
    after,
    learned,
    pattern_of,
    slice_of,
    weights,
)

TOGETHER, ALIKE, IN_TURN, DREAMT = (
    int(kind) for kind in (EdgeKind.CO_ACTIVATION, EdgeKind.SIMILARITY, EdgeKind.SEQUENCE, EdgeKind.DREAM)
)
ONCE = pytest.approx(RATE)
TURNS = st.lists(
    st.builds(
        Turn,
        session=st.sampled_from(["a", "b", "c"]),
        about=st.integers(0, DIM - 1),
        answer=st.none() | st.integers(0, DIM - 1),
        quality=st.none() | st.sampled_from([0.0, 0.4, 0.6, 1.0]),
        day=st.floats(0, 3),
    ),
    max_size=30,
)


def test_a_space_without_sessions_has_no_graph():
    assert after(slice_of([Turn(None, 0, 1), Turn(None, 1, 2)])).arrays == {}
    assert after(slice_of([])).arrays == {}


def test_a_single_trajectory_of_a_session_makes_nodes_and_one_edge():
    graph = learned(slice_of([Turn("a", 0, 1)]))
    assert weights(graph) == {("p0", "d1", TOGETHER): ONCE, ("d1", "p0", TOGETHER): ONCE}
    assert graph.accesses.tolist() == [1, 1]
    assert set(graph.created.tolist()) == {1}
    assert len(learned(slice_of([Turn("a", 0)]))) == 1, "an isolated pattern"


def test_a_candidate_has_as_many_uses_as_trajectories_that_use_it_by_what_is_known_now():
    said = [Turn("a", 0, 1, quality=quality) for quality in (None, 1.0, 0.6, 0.0, 0.4, 1.0)]
    state, uses = after(slice_of(said[:1])), []
    for old, new in pairwise(said):
        state = after(slice_of([], [(old, new)]), state)
        uses.append(LearnedGraph.from_arrays(state.arrays["graph"]).accesses.tolist())
    assert uses == [[1, 1], [1, 1], [1, 0], [1, 0], [1, 1]]  # of the pattern, and of the candidate


def test_patterns_and_candidates_of_a_session_follow_each_other():
    found = weights(learned(slice_of([Turn("a", 0, 1), Turn("b", 5), Turn("a", 2, 3)])))
    assert found["p0", "p2", IN_TURN] == ONCE
    assert found["d1", "d3", IN_TURN] == ONCE
    assert found["d1", "d3", TOGETHER] == found["d3", "d1", TOGETHER] == ONCE
    assert ("p2", "p0", IN_TURN) not in found
    assert not any("p5" in (source, target) for source, target, _ in found)


def test_a_session_goes_on_in_the_next_slice_unless_it_has_paused_too_long():
    first = after(slice_of([Turn("a", 0, 1)]))
    assert weights(learned(slice_of([Turn("a", 2, 3, day=0.5)]), first))["p0", "p2", IN_TURN] == ONCE
    assert ("p0", "p2", IN_TURN) not in weights(learned(slice_of([Turn("a", 2, 3, day=1.5)]), first))


def test_answers_to_one_question_are_used_together_and_do_not_follow_each_other():
    claimed = slice_of([Turn("a", 0, 1), Turn("a", 0, 2)])
    claimed.fresh.embeddings[1] = claimed.fresh.embeddings[0]
    found = weights(learned(claimed))
    assert found["d1", "d2", TOGETHER] == ONCE
    assert ("d1", "d2", IN_TURN) not in found


def test_a_weight_comes_to_the_share_of_a_pattern_s_uses():
    state = BLANK
    for day in range(20):
        turns = [Turn(f"s{day}-{row}", 0, 1 if row % 4 else 2, day=day / 10) for row in range(200)]
        state = after(slice_of(turns), state, config=GraphConfig(half_life=36_500))
    found = weights(learned(slice_of([]), state))
    assert found["p0", "d1", TOGETHER] == pytest.approx(0.75, abs=0.01)
    assert found["p0", "d2", TOGETHER] == pytest.approx(0.25, abs=0.01)


def test_candidates_outside_of_the_set_are_not_weakened():
    turns = [Turn("a", 0, 1), *(Turn(f"s{row}", 0, 2, candidates=7) for row in range(50))]
    inside = weights(learned(slice_of(turns), sets={7: ["d1", "d2"]}))
    outside = weights(learned(slice_of(turns), sets={7: ["d2", "d3"]}))
    assert outside["p0", "d1", TOGETHER] == ONCE
    assert inside["p0", "d1", TOGETHER] == pytest.approx(1 / 51 * (1 - (1 - RATE) ** 51), rel=1e-3)


def test_an_answer_in_vain_weakens_its_edges():
    state = after(slice_of([Turn(f"s{row}", 0, 1) for row in range(30)]))
    before = weights(learned(slice_of([]), state))["p0", "d1", TOGETHER]
    bad = weights(learned(slice_of([Turn("x", 0, 1, quality=0.1)]), state))
    corrected = weights(learned(slice_of([Turn("x", 0, 1, quality=0.1, correction="d2")]), state))
    assert bad["p0", "d1", TOGETHER] == pytest.approx(before * (1 - RATE))
    assert corrected["p0", "d1", TOGETHER] == pytest.approx(before * (1 - RATE) ** 2), "retrieved, and not the one used"
    assert corrected["p0", "d2", TOGETHER] > 0


def test_a_use_that_is_taken_back_leaves_the_weight_as_it_was():
    used, retracted = Turn("a", 0, 1), Turn("a", 0, 1, quality=None)
    state = after(slice_of([Turn(f"s{row}", 0, 1) for row in range(9)]))
    one_more = after(slice_of([used]), state)
    back = weights(learned(slice_of([], [(used, retracted)]), one_more))
    assert back["p0", "d1", TOGETHER] == pytest.approx(
        weights(learned(slice_of([]), state))["p0", "d1", TOGETHER], rel=1e-5
    )
    alone = weights(learned(slice_of([], [(used, retracted)]), after(slice_of([used]))))
    assert ("p0", "d1", TOGETHER) not in alone


def test_a_rating_that_comes_late_counts_like_one_at_the_end():
    late = Turn("a", 2, 3, quality=None), Turn("a", 2, 3, quality=1.0)
    state = after(slice_of([Turn("a", 0, 1), late[0]]))
    found = weights(learned(slice_of([], [late]), state))
    assert found["p2", "d3", TOGETHER] == found["d1", "d3", TOGETHER] == ONCE


@settings(max_examples=60, deadline=None)
@given(TURNS, st.randoms())
def test_the_order_of_the_slice_does_not_matter(turns, random):
    claimed = slice_of(turns)
    order = list(range(len(turns)))
    random.shuffle(order)
    rows = np.array(order, np.int64)
    shuffled = dataclasses.replace(
        claimed, fresh=claimed.fresh.take(rows), outcomes=[claimed.outcomes[row] for row in order]
    )
    one, other = after(claimed).arrays, after(shuffled).arrays
    assert one.keys() == other.keys()
    for part, held in one.items():
        for name, values in held.items():
            assert np.array_equal(values, other[part][name]), (part, name)


@settings(max_examples=60, deadline=None)
@given(TURNS, TURNS)
def test_every_graph_is_symmetric_bounded_and_without_loops(first, second):
    config = GraphConfig(nodes=12, degree=3)
    state = after(slice_of(first), config=config)
    graph = learned(slice_of([dataclasses.replace(turn, day=turn.day + 3) for turn in second]), state, config=config)
    edges = graph.edges
    known = {}
    for source, target, kind, weight, at in zip(
        edges.source.tolist(), edges.target.tolist(), edges.kind.tolist(), edges.weight.tolist(),
        edges.reinforced.tolist(), strict=True,
    ):  # fmt: skip
        assert source != target
        assert 0.0 <= weight <= 1.0
        known[source, target, kind] = weight, at
    assert len(known) == len(edges), "no edge twice"
    assert all(known[b, a, kind] == value for (a, b, kind), value in known.items() if not EdgeKind(kind).directed)
    if len(edges):
        per_kind = np.bincount(edges.source.astype(np.int64) * len(EdgeKind) + edges.kind)
        assert per_kind.max() <= config.degree
    patterns = int((graph.kinds == NodeKind.PATTERN).sum())
    assert len(graph) <= max(config.nodes, patterns)
    assert graph.importance.min(initial=0.5) >= 0.0
    assert graph.importance.max(initial=0.5) <= 1.0
    assert len(set(graph.identities())) == len(graph)
    assert np.array_equal(edges.starts, np.searchsorted(edges.source, np.arange(len(graph) + 1)))


def test_a_cycle_and_a_disconnected_part_are_ordinary():
    turns = [Turn("a", topic) for topic in (0, 1, 2, 0)] + [Turn("b", 5), Turn("b", 6)]
    found = weights(learned(slice_of(turns)))
    assert {pair[:2] for pair in found} == {("p0", "p1"), ("p1", "p2"), ("p2", "p0"), ("p5", "p6")}


def test_nodes_used_least_go_first_and_patterns_stay():
    turns = [Turn("a", topic, topic) for topic in (0, 0, 0, 1, 1, 2)]
    graph = learned(slice_of(turns), config=GraphConfig(nodes=5))
    names = [name for _, name, kind in weights(graph) if kind == TOGETHER]
    assert "d2" not in names
    assert {"d0", "d1"} <= set(names)
    assert int((graph.kinds == NodeKind.PATTERN).sum()) == 3


def test_edges_that_nobody_uses_fade_and_go():
    state = after(slice_of([Turn("a", 0, 1), Turn("a", 2, 3)]), config=GraphConfig(half_life=10))
    days = 10 * np.log2(RATE / LEAST_WEIGHT)
    soon, late = (
        weights(learned(slice_of([Turn("z", 7, day=day)]), state, config=GraphConfig(half_life=10)))
        for day in (days - 1, days + 1)
    )
    assert ("p0", "p2", IN_TURN) in soon
    assert ("p0", "p2", IN_TURN) not in late


def test_a_merged_pattern_leaves_its_edges_to_its_heir_and_a_pruned_one_takes_them_along():
    state = after(slice_of([Turn("a", 0, 1), Turn("a", 2, 3), Turn("b", 4, 5)]))
    heir = pattern_of(7, merged_from=(pattern_of(0).id,))
    left = [heir, *(pattern_of(topic) for topic in (2, 3))]
    found = weights(learned(slice_of([]), state, patterns=left), left)
    assert found["p7", "p2", IN_TURN] == found["p7", "d1", TOGETHER] == ONCE
    assert not any("p4" in pair or "p0" in pair for pair in found)
    both = [pattern_of(2, merged_from=(pattern_of(0).id,)), pattern_of(4)]
    joined = weights(learned(slice_of([]), state, patterns=both), both)
    assert {("p2", "d1", TOGETHER), ("p2", "d3", TOGETHER)} <= set(joined)
    same = after(slice_of([]), state)
    assert same.arrays["graph"] is state.arrays["graph"], "a slice without sessions costs nothing"


def test_a_dreamt_edge_that_use_confirms_becomes_co_activation():
    state = after(slice_of([Turn("a", 0, 1), Turn("b", 2, 3)]))
    graph = learned(slice_of([]), state)
    rows = [graph.slots.tolist().index(slot) for slot in (1, 3)]
    dream = GraphEdges.of(
        len(graph), *(np.array([row], np.int32) for row in rows), EdgeKind.DREAM, np.full(1, 0.1, np.float32), graph.now
    )
    dreaming = dataclasses.replace(graph, edges=graph.edges.united(dream)).to_arrays()
    state = dataclasses.replace(state, arrays={**state.arrays, "graph": dreaming})
    found = weights(learned(slice_of([Turn("c", 5, 1), Turn("c", 6, 3)]), state))
    assert found["d1", "d3", TOGETHER] == pytest.approx(1 - 0.9 * (1 - RATE), rel=1e-5)
    assert not any(kind == DREAMT for _, _, kind in found)


def test_new_nodes_are_joined_to_those_that_are_alike():
    near = [pattern_of(0), pattern_of(1, centroid=np.array([0.8, 0.6] + [0.0] * (DIM - 2), np.float32))]
    found = weights(learned(slice_of([Turn("a", 0), Turn("a", 1)]), patterns=near), near)
    assert found["p0", "p1", ALIKE] == pytest.approx(0.8)
    assert weights(learned(slice_of([Turn("a", 0, 0)])))["p0", "d0", ALIKE] == pytest.approx(1.0)


def test_the_ends_of_sessions_are_bounded():
    state = after(slice_of([Turn(f"s{row}", 0, day=row / 10_000) for row in range(MOST + 50)]))
    assert len(sessions_from(state.arrays["sessions"])) == MOST
    state = after(slice_of([Turn("new", 0, day=9)]), state)
    assert len(sessions_from(state.arrays["sessions"])) == 1


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 4), st.integers(0, 4)), max_size=30),
    st.sampled_from(list(EdgeKind)),
)
def test_uses_move_a_weight_towards_their_share_and_can_be_taken_back(counted, kind):
    columns = np.array(counted, np.int64).reshape(-1, 4).T
    uses = PairUses(columns[0].astype(np.int32), columns[1].astype(np.int32), columns[2], columns[3])
    everything = np.array([(a, b) for a in range(6) for b in range(6) if a != b], np.int32).T
    edges = GraphEdges.of(6, *everything, kind, np.full(30, 0.3, np.float32), 1.0)
    learned_edges = edges.learned(uses, kind, 1.0, 30.0)
    for source, target, weight in zip(
        learned_edges.source.tolist(), learned_edges.target.tolist(), learned_edges.weight.tolist(), strict=True
    ):
        ends = {(source, target)} if kind.directed else {(source, target), (target, source)}
        ups = sum(up for a, b, up, _ in counted if (a, b) in ends)
        downs = sum(down for a, b, _, down in counted if (a, b) in ends)
        towards = ups / max(ups + downs, 1)
        assert weight == pytest.approx(towards + (0.3 - towards) * (1 - RATE) ** (ups + downs), abs=1e-6)
    back = learned_edges.learned(uses, kind, 1.0, 30.0, reverse=True)
    assert back.weight == pytest.approx(edges.weight, abs=1e-5)
    assert np.array_equal(back.target, edges.target)


def test_a_year_of_weeks_keeps_nodes_edges_and_sessions_within_their_bounds():
    rng, config, state = np.random.default_rng(8), GraphConfig(nodes=10, degree=3), BLANK
    for week in range(52):
        patterns = [pattern_of(int(topic)) for topic in rng.permutation(DIM)[:5]]
        turns = [
            Turn(f"{week}-{row % 12}", int(about), int(answer), float(quality), day=7.0 * week + row / 100)
            for row, (about, answer, quality) in enumerate(
                zip(rng.integers(0, DIM, 40), rng.integers(0, DIM, 40), rng.random(40), strict=True)
            )
        ]
        state = after(slice_of(turns), state, patterns=patterns, config=config)
        graph = learned(slice_of([]), state, patterns=patterns, config=config)
        assert len(graph) <= config.nodes
        assert len(graph.edges) <= len(graph) * config.degree * len(EdgeKind)
        assert len(sessions_from(state.arrays["sessions"])) <= 12
        assert len(state.arrays["seasons"]["keys"]) <= len(patterns)
        bounds = sum(values.nbytes for part in state.arrays.values() for values in part.values())
        assert bounds < 20_000
