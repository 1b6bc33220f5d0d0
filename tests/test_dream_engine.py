"""DreamEngine without a store: nodes, edges, dreams and recall through the public names."""

from __future__ import annotations

import numpy as np
import pytest

from sona_pg import DimensionMismatch, Dream, DreamConfig, DreamEngine, EdgeKind, InvalidValue, MemoryGraphError


@pytest.fixture
def engine():
    engine = DreamEngine(8, DreamConfig(least_quality=0.0, least_integration=0.0), seed=3)
    for row, vector in enumerate(np.random.default_rng(0).standard_normal((30, 8))):
        engine.add_memory_node(vector, id=f"m{row}", group=f"g{row // 10}")
    engine.link_similar()
    return engine


def test_it_dreams_over_what_it_was_given_and_the_best_dream_comes_first(engine):
    dreams = engine.generate_dreams(20)
    assert [dream.quality for dream in dreams] == sorted((dream.quality for dream in dreams), reverse=True)
    assert len(dreams) == 20
    assert {name for dream in dreams for name in dream.path} <= {f"m{row}" for row in range(30)}
    assert engine.generate_dream("m4").path[0] == "m4"


def test_a_dream_that_passes_adds_weak_edges_and_one_that_does_not_adds_none(engine):
    dream = next(dream for dream in engine.generate_dreams(20) if dream.novelty > 0)
    assert engine.integrate_dream(dream)
    dreamt = [edge for edge in engine.edges() if edge.kind is EdgeKind.DREAM]
    assert dreamt
    assert all(edge.weight == pytest.approx(engine.config.edge_weight) for edge in dreamt)
    strict = DreamEngine(8, DreamConfig(least_quality=1.0))
    strict.add_memory_node(np.ones(8), id="one")
    assert not strict.integrate_dream(strict.generate_dream())
    assert strict.edge_count == 0


def test_dream_edges_die_unless_use_confirms_them(engine):
    engine.integrate_dream(next(dream for dream in engine.generate_dreams(20) if dream.novelty > 0))
    first = next(edge for edge in engine.edges() if edge.kind is EdgeKind.DREAM)
    engine.strengthen([first.source, first.target])
    engine.now = 365.0
    engine.strengthen([first.source, first.target])
    engine.consolidate()
    left = {edge.kind for edge in engine.edges()}
    assert EdgeKind.DREAM not in left
    assert EdgeKind.CO_ACTIVATION in left


def test_integration_has_its_sona_name(engine):
    dream = engine.measure_integration(engine.generate_dream())
    assert dream.phi == dream.integration
    assert dream.phi >= 0.0


def test_recall_finds_the_turn_beside_the_match():
    engine = DreamEngine(4)
    vectors = {"question": [1, 0, 0, 0], "answer": [0, 1, 0, 0], "other": [0, 0.2, 1, 0], "far": [0, 0, 0, 1]}
    for name in ("question", "answer"):
        engine.add_memory_node(vectors[name], id=name, group="talk")
    for name in ("other", "far"):
        engine.add_memory_node(vectors[name], id=name)
    engine.link_similar()
    assert [node.id for node in engine.recall([1, 0, 0, 0.1], 2)] == ["question", "answer"]
    assert engine.recall([1, 0, 0, 0], 1)[0].group == "talk"


def test_uses_are_counted_and_edges_between_what_was_used_grow(engine):
    engine.now = 2.0
    engine.strengthen(["m1", "m20", "m1"])
    edge = next(edge for edge in engine.edges() if edge.kind is EdgeKind.CO_ACTIVATION)
    assert {edge.source, edge.target} == {"m1", "m20"}
    assert engine.graph.node(1).access_count == 1
    assert engine.graph.node(1).last_accessed == 2.0
    engine.weaken(["m1", "m20"])
    assert next(e for e in engine.edges() if e.kind is EdgeKind.CO_ACTIVATION).weight < edge.weight


def test_an_engine_without_nodes_dreams_and_recalls_nothing():
    engine = DreamEngine(4)
    assert engine.generate_dream() is None
    assert engine.generate_dreams() == []
    assert engine.recall(np.ones(4)) == []
    engine.consolidate()
    assert (engine.node_count, engine.edge_count) == (0, 0)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda e: e.add_memory_node(np.ones(7)), DimensionMismatch, "8"),
        (lambda e: e.add_memory_node(np.zeros(8)), InvalidValue, "no direction"),
        (lambda e: e.add_memory_node(np.full(8, np.nan)), InvalidValue, "no direction"),
        (lambda e: e.add_memory_node(np.ones(8), importance=2), InvalidValue, r"\[0, 1\]"),
        (lambda e: e.add_memory_node(np.ones(8), id="m1"), MemoryGraphError, "'m1' is there already"),
        (lambda e: e.connect("m1", "nobody"), MemoryGraphError, "no node 'nobody'"),
        (lambda e: e.connect("m1", "m1"), MemoryGraphError, "itself"),
        (lambda e: e.connect("m1", "m2", -1), InvalidValue, r"\[0, 1\]"),
        (lambda e: e.generate_dream("nobody"), MemoryGraphError, "no node 'nobody'"),
        (lambda e: e.integrate_dream(Dream(("nobody",), (), 1, 1, 1, 1)), MemoryGraphError, "no node 'nobody'"),
    ],
)
def test_bad_input_is_refused_by_name_and_changes_nothing(engine, call, error, says):
    before = engine.node_count, engine.edges()
    with pytest.raises(error, match=says):
        call(engine)
    assert (engine.node_count, engine.edges()) == before
