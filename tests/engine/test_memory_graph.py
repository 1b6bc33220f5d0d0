"""The memory graph in the store: learned from sessions, kept with versions, rebuilt and restored to the bit."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psycopg
import pytest

from sona_pg import InvalidValue, SonaConfig, SonaEngine
from sona_pg.config import LoopConfig, MaintenanceConfig, PatternConfig
from sona_pg.domain.ids import uuid7
from sona_pg.domain.memory import EdgeKind, NodeKind
from sona_pg.learning.graph.edges import RATE
from sona_pg.learning.graph.learned_graph import LearnedGraph
from sona_pg.learning.graph.mixing import Mixing

DIM = 8
QUIET = SonaConfig(
    loops=LoopConfig(automatic=False, poll_interval=60),
    maintenance=MaintenanceConfig(automatic=False),
    patterns=PatternConfig(clusters=4, min_size=1),
)
TOPICS = np.eye(4, DIM, dtype=np.float32)
NAMES = ["a", "b", "c", "d"]


@pytest.fixture
def engine(database_url: str) -> Iterator[SonaEngine]:
    with SonaEngine(DIM, database_url, config=QUIET) as engine:
        engine.remember(NAMES, TOPICS + 0.1)
        yield engine


def talk(engine: SonaEngine, sessions: int, *about: list[int], seed: int = 0, ranked: bool = True) -> None:
    """Record sessions that ask about topics in turn, as each of ``about`` says; the topic's candidate answers."""
    rng = np.random.default_rng(seed)
    for number in range(sessions * len(about)):
        for topic in about[number % len(about)]:
            query = TOPICS[topic] + 0.05 * rng.standard_normal(DIM).astype(np.float32)
            t = engine.begin_trajectory(query, ranking=engine.rank(query) if ranked else None)
            engine.add_trajectory_context(t, f"session:{seed}-{number}")
            engine.set_trajectory_route(t, NAMES[topic])
            engine.end_trajectory(t, quality=1.0)
    engine.force_learn()


def arrays(engine: SonaEngine) -> dict[str, bytes]:
    """Return the bytes of the served graph, by array."""
    state = engine._session.serving.state
    return {name: values.tobytes() for name, values in state.arrays.get("graph", {}).items()}


def keys(graph: dict[str, bytes]) -> list[str]:
    return [graph["keys"][start : start + 16].hex() for start in range(0, len(graph["keys"]), 16)]


def live_nodes(url: str) -> list[uuid.UUID]:
    with psycopg.connect(url) as connection:
        return [row[0] for row in connection.execute("SELECT node_id FROM sona.memory_nodes ORDER BY node_id")]


def next_query(url: str) -> list[int]:
    """Return the topic that comes most surely after the first one."""
    query = """
        SELECT f.centroid::text FROM sona.next_patterns n
        JOIN sona.patterns p ON p.pattern_id = n.pattern_id
        JOIN sona.patterns f ON f.pattern_id = n.next_id
        WHERE n.space = 'default' AND (p.centroid::real[])[1] > 0.9 AND n.confidence > 0.5
        ORDER BY n.confidence DESC
    """
    with psycopg.connect(url) as connection:
        return [int(np.argmax(json.loads(row[0]))) for row in connection.execute(query)]


def test_a_graph_is_learned_from_sessions_rebuilt_and_rolled_back_to_the_bit(
    engine: SonaEngine, database_url: str
) -> None:
    query = TOPICS[0]
    t = engine.begin_trajectory(query, ranking=engine.rank(query))
    engine.set_trajectory_route(t, "a")
    engine.end_trajectory(t, quality=1.0)
    engine.force_learn()
    assert not arrays(engine), "a trajectory without a session"
    talk(engine, 4, [0, 1, 2], seed=1)
    first = arrays(engine)
    version = engine._session.serving.version
    assert len(first["kinds"]) == 6
    talk(engine, 4, [3, 0], seed=2)
    second = arrays(engine)
    assert second != first
    assert engine.rebuild().equal
    nodes = live_nodes(database_url)
    assert nodes == sorted(uuid.UUID(hex=key) for key in keys(second))
    assert next_query(database_url) == [1], "what usually comes after the first topic"
    engine.rollback(version)
    assert arrays(engine) == first
    assert live_nodes(database_url) == sorted(uuid.UUID(hex=key) for key in keys(first)) != nodes
    assert engine.rebuild().equal


def test_edges_do_not_depend_on_which_server_recorded_and_in_which_order(engine: SonaEngine, database_url: str) -> None:
    """Used together: up; retrieved and not used: down, whichever server tells it first."""
    at = 1_790_000_000_000
    turns = [(number, turn, (number + turn) % 4, turn != 2) for number in range(6) for turn in range(4)]
    told = [(*turn, uuid7(at + 60_000 * place)) for place, turn in enumerate(turns)]

    def record(server: SonaEngine, number: int, topic: int, good: bool, id_: uuid.UUID) -> None:
        t = server.begin_trajectory(TOPICS[topic], candidates=NAMES, id=id_)
        server.add_trajectory_context(t, f"session:{number}")
        server.set_trajectory_route(t, NAMES[topic])
        server.end_trajectory(t, quality=float(good))
        server.flush()

    for number, _, topic, good, id_ in told:
        record(engine, number, topic, good, id_)
    engine.force_learn()
    with (
        SonaEngine(DIM, database_url, "fleet", config=QUIET) as one,
        SonaEngine(DIM, database_url, "fleet", config=QUIET) as other,
    ):
        one.remember(NAMES, TOPICS + 0.1)
        one.flush()
        other.refresh()
        for number, turn, topic, good, id_ in reversed(told):
            record(one if turn % 2 else other, number, topic, good, id_)
        one.force_learn()
        ours, theirs = arrays(engine), arrays(one)
    assert ours == theirs
    graph = LearnedGraph.from_arrays(engine._session.serving.state.arrays["graph"])
    edges, row = graph.edges, graph.slots.tolist().index(0)
    of_pattern = (edges.target == row) & (edges.kind == EdgeKind.CO_ACTIVATION)
    of_pattern &= (graph.kinds[edges.source] == NodeKind.PATTERN) & (edges.weight > 0)
    ups, downs = (sum(topic == 0 and good == used for _, _, topic, good, _ in told) for used in (True, False))
    expected = ups / (ups + downs) * (1 - (1 - RATE) ** (ups + downs))
    assert edges.weight[of_pattern].tolist() == pytest.approx([expected], rel=1e-5)


def test_a_graph_is_saved_and_loaded_with_its_version(engine: SonaEngine, database_url: str, tmp_path: Path) -> None:
    talk(engine, 3, [0, 1])
    engine.save(tmp_path / "version")
    with SonaEngine(DIM, database_url, space="other", config=QUIET) as other:
        other.remember(["0", *NAMES], np.eye(5, DIM, dtype=np.float32))
        other.end_trajectory(other.begin_trajectory(TOPICS[0]), quality=1.0)
        other.force_learn()  # gives the candidates their slots
        other.load(tmp_path / "version", publish=True)
        other.refresh()
        moved, ours = arrays(other), arrays(engine)
        assert {name for name in ours if ours[name] != moved[name]} == {"slots"}
        assert other.rebuild().equal


def test_what_usually_comes_next_decides_between_equal_answers(engine: SonaEngine) -> None:
    talk(engine, 6, [0, 1], [2, 3], ranked=False)  # the ranker learns nothing, and scores are cosines
    between = TOPICS[1] + TOPICS[3]  # equally near to both
    for before, topic in ((0, 1), (2, 3)):
        assert engine.recall(between, context=[TOPICS[before]]).ids[0] == NAMES[topic]
        found = engine.find_patterns(between, 2, graph=True, context=[TOPICS[before]])
        assert int(found[0].centroid.argmax()) == topic
        assert found[0].similarity == pytest.approx(0.7, abs=0.05), "the cosine"
    plain, spread = engine.find_patterns(TOPICS[0], 4), engine.find_patterns(TOPICS[0], 4, graph=True)
    assert spread[0].id == plain[0].id
    assert int(spread[1].centroid.argmax()) == 1, "joined to the first by its sessions"
    with pytest.raises(InvalidValue, match="ask with graph as well"):
        engine.find_patterns(TOPICS[0], context=[TOPICS[1]])
    with pytest.raises(InvalidValue, match="all 0"):
        engine.find_patterns(TOPICS[0], graph=True, context=[np.zeros(DIM)])
    assert not engine.find_patterns(TOPICS[0], graph=True, verdict="failure")


def test_an_answer_depends_on_version_and_question_and_not_on_the_time_or_the_clock_of_a_server(
    engine: SonaEngine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk(engine, 6, [0, 1], [2, 3])
    engine.deep_learn()
    between, context = TOPICS[1] + TOPICS[3], [TOPICS[0]]

    def answers(of: SonaEngine) -> tuple[list[str], list[float], list[float]]:
        recalled = of.recall(between, context=context)
        found = of._session.serving.graph.pattern_scores(between / 2**0.5, TOPICS[:1], of._session.member.now / 86_400)
        return list(recalled.ids), recalled.scores.tolist(), found.tolist()

    told, real = answers(engine), time.time
    for off in (400.0 * 86_400, -400.0 * 86_400):
        monkeypatch.setattr(time, "time", lambda off=off: real() + off)
        with SonaEngine(DIM, database_url, config=QUIET) as other:
            other.recall(between)
            assert other._session.member.now == pytest.approx(real(), abs=3600)
            assert answers(other) == told
    monkeypatch.setattr(time, "time", real)
    monkeypatch.setattr(type(engine._session.member), "now", real() + 90 * 86_400)
    assert answers(engine) == told


def test_the_mixing_of_recall_is_learned_kept_and_served(engine: SonaEngine) -> None:
    engine.remember(NAMES, TOPICS + 0.1, group="talk")
    default = Mixing.initial().weights
    for seed in (1, 2):
        talk(engine, 8, [0, 1], [1, 2], seed=seed)
    engine.refresh()
    served = engine._session.serving
    assert int(served.state.arrays["mixing"]["queries"]) >= 50
    assert not np.array_equal(served.mixing.weights, default)
    assert engine.recall(TOPICS[0], k=2).ids[0] == "a"
    assert engine.rebuild().equal


def test_a_pattern_s_drift_is_told_in_sql(engine: SonaEngine, database_url: str) -> None:
    talk(engine, 3, [0], [1])
    then = {pattern.id: pattern.centroid for pattern in engine.find_patterns(TOPICS[0], 9)}
    for number in range(6):
        engine.end_trajectory(engine.begin_trajectory(TOPICS[0] + 0.1 * TOPICS[3] * number), quality=1.0)
    engine.force_learn()
    now = {pattern.id: pattern.centroid for pattern in engine.find_patterns(TOPICS[0], 9)}
    moved = {id_: 1.0 - float(now[id_] @ before) for id_, before in then.items() if id_ in now}
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("SELECT pattern_id, moved, days FROM sona.pattern_drift('default')").fetchall()
    told = {id_: value for id_, value, _ in rows if id_ in moved}
    assert told == pytest.approx(moved, abs=1e-5)
    assert max(told.values()) > 1e-4
    assert [value for _, value, _ in rows] == sorted((value for _, value, _ in rows), reverse=True)
