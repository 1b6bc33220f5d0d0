"""The live tables of the memory graph: equal to the arrays after any change, and asked in SQL like in NumPy."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from uuid import UUID

import numpy as np
import pytest
from fix_ledger import NOW, Ledger

from sona_pg.domain.memory import EdgeKind, NodeKind, days_of
from sona_pg.domain.space import Space
from sona_pg.domain.state import Arrays
from sona_pg.learning.graph.edges import GraphEdges
from sona_pg.learning.graph.graph_nodes import selected
from sona_pg.learning.graph.learned_graph import LearnedGraph, has_vector
from sona_pg.store import graph_rows
from sona_pg.store.graph_rows import EDGE_KINDS
from sona_pg.store.transactions import transaction

DIM = 4
TODAY = days_of(NOW)
HALF_LIFE = 30.0


def random_graph(rng: np.random.Generator, count: int, pairs: int, candidates: int = 0) -> LearnedGraph:
    """Return queries, and candidates by slot, joined at random by edges of every kind."""
    kinds = np.array([NodeKind.CANDIDATE] * candidates + [NodeKind.TRAJECTORY] * (count - candidates), np.uint8)
    edges = GraphEdges.empty(count)
    for kind in EdgeKind:
        ends = rng.integers(0, count, (2, pairs)).astype(np.int32)
        weight = rng.random(pairs).astype(np.float32)
        edges = edges.united(GraphEdges.of(count, *ends, kind, weight, TODAY - float(rng.integers(0, 90))))
    return LearnedGraph(
        kinds=kinds,
        keys=rng.integers(0, 256, (count, 16)).astype(np.uint8),
        slots=np.where(kinds == NodeKind.CANDIDATE, np.arange(count), -1).astype(np.int32),
        importance=rng.random(count).astype(np.float32),
        accesses=rng.integers(0, 9, count),
        accessed=TODAY - rng.random(count),
        created=np.ones(count, np.int64),
        communities=rng.integers(0, 4, count).astype(np.int32),
        vectors=rng.standard_normal((int(has_vector(kinds).sum()), DIM)).astype(np.float16),
        edges=edges,
    )


def follow(
    ledger: Ledger, space: Space, version: int, after: Arrays | None, known: tuple[int, Arrays | None] = (0, None)
) -> None:
    with transaction(ledger.database.engine, "test") as connection:
        graph_rows.follow(connection, space.space_id, version, after, NOW, known)


def require_equal(ledger: Ledger, space: Space, graph: LearnedGraph) -> None:
    """Require that the tables hold exactly this graph."""
    ids = [UUID(bytes=key.tobytes()) for key in graph.keys]
    nodes = ledger.rows(
        "SELECT node_id, kind, importance, access_count, last_accessed, degree, strength, created_version, "
        "embedding::text FROM sona.memory_nodes WHERE space_id = %s",
        space.space_id,
    )
    assert {row[0] for row in nodes} == set(ids)
    own = np.cumsum(has_vector(graph.kinds)) - 1
    for id_, kind, importance, accesses, accessed, degree, strength, created, embedding in nodes:
        row = ids.index(id_)
        assert kind == ("query" if graph.kinds[row] == NodeKind.TRAJECTORY else "candidate")
        assert importance == graph.importance[row]
        assert accesses == graph.accesses[row]
        assert abs(days_of(accessed) - graph.accessed[row]) < 1e-9
        assert degree == graph.edges.degrees()[row]
        of_row = slice(int(graph.edges.starts[row]), int(graph.edges.starts[row + 1]))
        assert strength == pytest.approx(float(graph.edges.weight[of_row].sum()), rel=1e-5)
        assert created == graph.created[row]
        if kind == "query":
            assert np.fromstring(embedding.strip("[]"), np.float32, sep=",") == pytest.approx(
                graph.vectors[own[row]].astype(np.float32), rel=1e-6
            )
    standing = ledger.rows(
        "SELECT node_id, strength, community FROM sona.memory_standing WHERE space_id = %s", space.space_id
    )
    assert {row[0]: row[1] for row in standing} == {row[0]: row[6] for row in nodes}
    assert {row[0]: row[2] or 0 for row in standing} == dict(zip(ids, graph.communities.tolist(), strict=True))
    edges = graph.edges
    expected = {
        (ids[source], ids[target], EDGE_KINDS[EdgeKind(kind)]): (weight, at)
        for source, target, kind, weight, at in zip(
            edges.source.tolist(), edges.target.tolist(), edges.kind.tolist(), edges.weight.tolist(),
            edges.reinforced.tolist(), strict=True,
        )
    }  # fmt: skip
    found = {
        row[:3]: row[3:]
        for row in ledger.rows(
            "SELECT source_id, target_id, kind, weight, reinforced_at FROM sona.memory_edges WHERE space_id = %s",
            space.space_id,
        )
    }
    assert found.keys() == expected.keys()
    for pair, (weight, at) in found.items():
        assert weight == expected[pair][0]
        assert abs(days_of(at) - expected[pair][1]) < 1e-9


def changed(rng: np.random.Generator, graph: LearnedGraph) -> LearnedGraph:
    """Return the graph without some nodes, with new ones, and with some edges moved."""
    count = len(graph)
    place = np.arange(count)
    place[rng.choice(count, 5, replace=False)] = -1
    left = selected(graph, place)
    more = random_graph(rng, 6, 10)
    total = len(left) + len(more)
    weight = np.where(left.edges.source % 3 == left.edges.target % 3, 0.5, left.edges.weight)
    moved = GraphEdges.joined(
        total,
        np.concatenate([left.edges.source, more.edges.source + np.int32(len(left))]),
        np.concatenate([left.edges.target, more.edges.target + np.int32(len(left))]),
        np.concatenate([left.edges.kind, more.edges.kind]),
        np.concatenate([weight, more.edges.weight]).astype(np.float32),
        np.concatenate([left.edges.reinforced, more.edges.reinforced]),
    )  # fmt: skip
    accesses = np.concatenate([left.accesses, more.accesses])
    accesses[::4] += 1
    return LearnedGraph(
        kinds=np.concatenate([left.kinds, more.kinds]),
        keys=np.concatenate([left.keys, more.keys]),
        slots=np.concatenate([left.slots, more.slots]),
        importance=np.concatenate([left.importance, more.importance]),
        accesses=accesses,
        accessed=np.concatenate([left.accessed, more.accessed]),
        created=np.concatenate([left.created, more.created + 1]),
        communities=np.concatenate([left.communities[::-1], more.communities]),
        vectors=np.concatenate([left.vectors, more.vectors]),
        edges=moved,
    )


def test_the_tables_follow_any_change_of_the_graph(ledger: Ledger) -> None:
    rng = np.random.default_rng(3)
    space, other = ledger.space("one", DIM), ledger.space("other", DIM)
    for slot in range(4):
        ledger.execute(
            "INSERT INTO sona.candidates (space_id, candidate_id, slot, recorded_at, embedding) "
            "VALUES (%s, %s, %s, %s, '[1,0,0,1]')",
            space.space_id, f"d{slot}", slot, NOW,
        )  # fmt: skip
    first = random_graph(rng, 30, 40, candidates=4)
    follow(ledger, other, 1, random_graph(rng, 5, 5).to_arrays())
    follow(ledger, space, 1, first.to_arrays())
    require_equal(ledger, space, first)
    named = ledger.rows("SELECT candidate_id, embedding::text FROM sona.memory_nodes WHERE candidate_id IS NOT NULL")
    assert sorted(named) == [(f"d{slot}", "[1,0,0,1]") for slot in range(4)]
    second = changed(rng, first)
    follow(ledger, space, 2, second.to_arrays(), (1, first.to_arrays()))
    require_equal(ledger, space, second)
    assert ledger.rows("SELECT graph_version FROM sona.spaces WHERE name = 'one'") == [(2,)]
    third = changed(rng, second)
    follow(ledger, space, 4, third.to_arrays(), (3, first.to_arrays()))  # published by a release that has no graph
    require_equal(ledger, space, third)
    follow(ledger, space, 5, None, (4, third.to_arrays()))
    assert ledger.rows("SELECT count(*) FROM sona.memory_nodes WHERE space_id = %s", space.space_id) == [(0,)]
    assert ledger.rows("SELECT graph_version FROM sona.spaces WHERE name = 'one'") == [(None,)]
    assert ledger.rows("SELECT count(*) FROM sona.memory_nodes WHERE space_id = %s", other.space_id) == [(5,)]
    empty = LearnedGraph.empty(DIM)
    follow(ledger, space, 6, empty.to_arrays())
    follow(ledger, space, 7, first.to_arrays(), (6, empty.to_arrays()))
    require_equal(ledger, space, first)


@pytest.fixture(scope="module")
def graph() -> LearnedGraph:
    return random_graph(np.random.default_rng(5), 40, 25)


@pytest.fixture
def asked(ledger: Ledger, graph: LearnedGraph) -> Ledger:
    follow(ledger, ledger.space("asked", DIM), 1, graph.to_arrays())
    return ledger


def weights(graph: LearnedGraph, days: float = 0.0) -> np.ndarray:
    """Return the heaviest weight between two nodes (n, n), along edges that leave, so many days from now."""
    dense = np.zeros((len(graph), len(graph)))
    now = graph.edges.weights_at(TODAY + days, HALF_LIFE)
    np.maximum.at(dense, (graph.edges.source, graph.edges.target), now)
    return dense


def names(graph: LearnedGraph) -> list[UUID]:
    return [UUID(bytes=key.tobytes()) for key in graph.keys]


@pytest.mark.parametrize("days", [0, 45])
def test_neighbors_are_those_of_the_arrays_as_of_a_time(asked: Ledger, graph: LearnedGraph, days: int) -> None:
    ids, edges, row = names(graph), graph.edges, 7
    now = edges.weights_at(TODAY + days, HALF_LIFE)
    expected = {}
    for edge in range(len(edges)):
        source, target, kind = int(edges.source[edge]), int(edges.target[edge]), EdgeKind(int(edges.kind[edge]))
        if source == row:
            expected[ids[target], EDGE_KINDS[kind], "out" if kind.directed else "both"] = now[edge]
        if target == row and kind.directed:
            expected[ids[source], EDGE_KINDS[kind], "in"] = now[edge]
    at = NOW + timedelta(days=days)
    found = asked.rows(
        "SELECT node_id, edge, direction, weight FROM sona.neighbors('asked', %s, at => %s)", ids[row], at
    )
    assert {tuple(line[:3]): line[3] for line in found} == pytest.approx(expected, rel=1e-5)
    assert [line[3] for line in found] == sorted((line[3] for line in found), reverse=True)
    dreams = asked.rows("SELECT edge FROM sona.neighbors('asked', %s, 'dream')", ids[row])
    assert len(dreams) == sum(kind == "dream" for _, kind, _ in expected)


def test_a_neighborhood_is_walked_hop_by_hop(asked: Ledger, graph: LearnedGraph) -> None:
    ids, dense, row = names(graph), weights(graph), 3
    hop, strength = {row: 0}, {row: 1.0}
    frontier = [row]
    for step in (1, 2, 3):
        reached = {
            target: max(strength[source] * dense[source, target] for source in frontier)
            for target in range(len(graph))
            if target not in hop and any(dense[source, target] > 0 for source in frontier)
        }
        hop.update(dict.fromkeys(reached, step))
        strength.update(reached)
        frontier = list(reached)
    found = asked.rows("SELECT node_id, hop, strength FROM sona.neighborhood('asked', %s, 3, at => %s)", ids[row], NOW)
    assert {line[0]: line[1] for line in found} == {ids[node]: steps for node, steps in hop.items()}
    assert {line[0]: line[2] for line in found} == pytest.approx(
        {ids[node]: value for node, value in strength.items()}, rel=1e-5
    )
    few = asked.rows("SELECT hop FROM sona.neighborhood('asked', %s, 2, most => 1)", ids[row])
    assert few == [(0,), (1,), (2,)]
    assert asked.rows("SELECT * FROM sona.neighborhood('asked', %s)", UUID(int=1)) == []


def test_communities_are_those_of_the_version_and_one_is_asked_by_its_node(asked: Ledger, graph: LearnedGraph) -> None:
    ids, own = names(graph), graph.communities.tolist()
    found = asked.rows("SELECT community, node_id, size FROM sona.communities('asked')")
    assert {node: community for community, node, _ in found} == {
        id_: community for id_, community in zip(ids, own, strict=True) if community
    }
    assert all(size == own.count(community) for community, _, size in found)
    assert [size for *_, size in found] == sorted((size for *_, size in found), reverse=True)
    inside = int(np.flatnonzero(graph.communities)[0])
    around = asked.rows("SELECT community, node_id, size FROM sona.communities('asked', %s)", ids[inside])
    assert around == sorted(line for line in found if line[0] == own[inside])
    outside = int(np.flatnonzero(graph.communities == 0)[0])
    assert asked.rows("SELECT * FROM sona.communities('asked', %s)", ids[outside]) == []


def test_the_hierarchy_is_walked_from_its_top_and_from_a_node(ledger: Ledger) -> None:
    parents = {0: 4, 1: 4, 2: 5, 3: 6, 4: 6, 5: 6}  # 7 is in no group
    graph = random_graph(np.random.default_rng(6), 8, 0)
    ends = np.array(list(parents.items()), np.int32).T
    edges = GraphEdges.of(8, *ends, EdgeKind.ABSTRACTION, np.full(6, 0.5, np.float32), TODAY)
    others = GraphEdges.of(8, *ends[::-1], EdgeKind.SEQUENCE, np.full(6, 0.5, np.float32), TODAY)
    tree = dataclasses.replace(graph, edges=edges.united(others))
    follow(ledger, ledger.space("tree", DIM), 1, tree.to_arrays())
    ids = names(tree)
    found = ledger.rows("SELECT depth, node_id, parent_id, path FROM sona.hierarchy('tree')")
    depths = {6: 0, 3: 1, 4: 1, 5: 1, 0: 2, 1: 2, 2: 2}
    assert {line[1]: line[0] for line in found} == {ids[node]: depth for node, depth in depths.items()}
    assert {line[1]: line[2] for line in found if line[0]} == {ids[child]: ids[of] for child, of in parents.items()}
    assert next(line[3] for line in found if line[1] == ids[0]) == [ids[6], ids[4], ids[0]]
    below = ledger.rows("SELECT node_id, depth FROM sona.hierarchy('tree', %s)", ids[4])
    assert sorted(below) == sorted([(ids[4], 0), (ids[0], 1), (ids[1], 1)])


def test_hubs_and_dreams_are_listed(asked: Ledger, graph: LearnedGraph) -> None:
    strength = np.bincount(graph.edges.source, graph.edges.weight, len(graph))
    (best,) = asked.rows("SELECT node_id FROM sona.graph_hubs WHERE space = 'asked' ORDER BY strength DESC LIMIT 1")
    assert best == (names(graph)[int(strength.argmax())],)
    hubs = asked.rows("SELECT node_id, strength, community FROM sona.hubs('asked', 7)")
    order = np.argsort(-strength)[:7].tolist()
    assert [line[0] for line in hubs] == [names(graph)[row] for row in order]
    assert [line[1] for line in hubs] == pytest.approx(strength[order].tolist(), rel=1e-5)
    assert [line[2] or 0 for line in hubs] == graph.communities[order].tolist()
    dreams = asked.rows("SELECT source_id, target_id, weight FROM sona.dream_edges WHERE space = 'asked'")
    edges = graph.edges
    rows = np.flatnonzero((edges.kind == EdgeKind.DREAM) & (edges.source < edges.target))
    assert len(dreams) == len(rows)
    now = edges.weights_at(days_of(datetime.now(UTC)), HALF_LIFE)
    assert sorted(line[2] for line in dreams) == pytest.approx(sorted(now[rows].tolist()), rel=1e-3)


def test_an_unknown_space_is_named(ledger: Ledger) -> None:
    calls = ("neighbors('nobody', %s)", "neighborhood('nobody', %s)", "communities('nobody', %s)")
    for call in (*calls, "hierarchy('nobody', %s)"):
        with pytest.raises(Exception, match="there is no space 'nobody'"):
            ledger.rows(f"SELECT * FROM sona.{call}", UUID(int=0))
    with pytest.raises(Exception, match="there is no space 'nobody'"):
        ledger.rows("SELECT * FROM sona.hubs('nobody')")


def test_nodes_join_the_index_by_maintenance_and_again_after_they_have_moved(ledger: Ledger) -> None:
    rng = np.random.default_rng(12)
    space, graph = ledger.space("waiting", DIM), random_graph(rng, 8, 5, candidates=2)
    for slot in range(2):
        ledger.execute(
            "INSERT INTO sona.candidates (space_id, candidate_id, slot, recorded_at, embedding) "
            "VALUES (%s, %s, %s, %s, '[1,0,0,1]')",
            space.space_id, f"d{slot}", slot, NOW,
        )  # fmt: skip
    follow(ledger, space, 1, graph.to_arrays())
    waiting = "SELECT count(*) FROM sona.memory_nodes WHERE NOT indexed AND space_id = %s"
    assert ledger.rows(waiting, space.space_id) == [(8,)]
    assert [done[:2] for done in ledger.database.index_nodes()] == [(space.space_id, 8)]
    assert ledger.rows(waiting, space.space_id) == [(0,)]
    assert ledger.database.index_nodes() == []
    scored = dataclasses.replace(graph, importance=graph.importance[::-1].copy())
    follow(ledger, space, 2, scored.to_arrays(), (1, graph.to_arrays()))
    assert ledger.rows(waiting, space.space_id) == [(0,)], "another importance moves nothing in the index"
    ledger.execute(
        "UPDATE sona.candidates SET embedding = '[0,1,0,0]', changed_at = %s WHERE candidate_id = 'd1'",
        NOW + timedelta(days=1),
    )
    follow(ledger, space, 3, graph.to_arrays(), (2, scored.to_arrays()))
    assert ledger.rows(waiting, space.space_id) == [(1,)]


@pytest.mark.parametrize("many", [False, True])
def test_nearest_nodes_are_found_among_those_indexed_and_those_that_wait(ledger: Ledger, many: bool) -> None:
    rng = np.random.default_rng(13)
    space, graph = ledger.space("near", DIM), random_graph(rng, 40, 5)
    follow(ledger, space, 1, graph.to_arrays())
    query = rng.standard_normal(DIM)
    vectors = graph.vectors.astype(np.float64)
    nearest = np.argsort(-(vectors @ query) / np.linalg.norm(vectors, axis=1))[:6]
    ids = [names(graph)[row] for row in nearest]
    ledger.execute("UPDATE sona.memory_nodes SET indexed = true WHERE node_id = ANY(%s)", ids[::2])
    if many:  # too many to be compared one by one; all point the other way
        ledger.execute(
            "INSERT INTO sona.memory_nodes (space_id, dim, node_id, kind, importance, access_count, updated_at, "
            "embedding, indexed) SELECT %s, %s, gen_random_uuid(), 'query', 0, 0, %s, %s::vector, false "
            "FROM generate_series(1, 20000)",
            space.space_id, DIM, NOW, str((-query).tolist()),
        )  # fmt: skip
    found = ledger.rows("SELECT node_id, similarity FROM sona.nearest_nodes('near', %s, 6)", str(query.tolist()))
    assert [line[0] for line in found] == ids
    few = "UPDATE sona.memory_nodes SET kind = 'abstraction' WHERE node_id = ANY(%s)"
    ledger.execute(few, ids[1::2])
    for kind, of_kind in (("abstraction", ids[1::2]), ("query", ids[::2])):
        of = ledger.rows("SELECT node_id FROM sona.nearest_nodes('near', %s, 3, %s)", str(query.tolist()), kind)
        assert [line[0] for line in of] == of_kind
    assert found[0][1] == pytest.approx(
        float(vectors[nearest[0]] @ query / np.linalg.norm(vectors[nearest[0]]) / np.linalg.norm(query)), rel=1e-3
    )


def test_a_graph_written_whole_has_edges_of_every_kind_and_moment(ledger: Ledger) -> None:
    """Written by COPY; the parts are encoded a kind at a time."""
    space, rng = ledger.space("whole", DIM), np.random.default_rng(15)
    graph = random_graph(rng, 20, 30)
    before_2000 = dataclasses.replace(graph.edges, reinforced=graph.edges.reinforced - 12_000.0)
    for version, edges in enumerate((graph.edges, before_2000, GraphEdges.empty(20)), 1):
        shown = dataclasses.replace(graph, edges=edges)
        follow(ledger, space, version, None)
        follow(ledger, space, version, shown.to_arrays())
        require_equal(ledger, space, shown)
