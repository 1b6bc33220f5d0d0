"""Judged answers of sessions move the memory graph at once, on every server, until a version has learned them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import numpy as np
import pytest

from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import LoopConfig, MaintenanceConfig, PatternConfig
from sona_pg.domain.ids import uuid7
from sona_pg.domain.memory import EdgeKind
from sona_pg.learning.graph.edges import RATE
from sona_pg.learning.graph.graph_step import LEAST_WEIGHT

DIM = 8
QUIET = SonaConfig(
    loops=LoopConfig(automatic=False, poll_interval=60),
    maintenance=MaintenanceConfig(automatic=False),
    patterns=PatternConfig(clusters=4, min_size=1),
)
TOPICS = np.eye(4, DIM, dtype=np.float32)
NAMES = ["a", "b", "c", "d"]
AT = 1_790_000_000_000  # milliseconds since 1970
Weights = dict[tuple[str, str], float]


@pytest.fixture
def engine(database_url: str) -> Iterator[SonaEngine]:
    with SonaEngine(DIM, database_url, config=QUIET) as engine:
        engine.remember(NAMES, TOPICS + 0.1)
        for number in range(12):
            turn(engine, f"learned-{number}", number % 4, NAMES[number % 4])
        engine.force_learn()
        assert len(engine.find_patterns(TOPICS[0], 9)) == 4
        yield engine


def turn(
    engine: SonaEngine,
    session: str,
    topic: int,
    answer: str,
    quality: float | None = 1.0,
    *,
    id: uuid.UUID | None = None,
    ids: list[str] | None = None,
) -> uuid.UUID:
    """Record one turn of a session: a topic is asked about, and answered."""
    query = TOPICS[topic]
    t = engine.begin_trajectory(query, ranking=engine.rank(query, ids=ids), id=id)
    engine.add_trajectory_context(t, f"session:{session}")
    engine.set_trajectory_route(t, answer)
    engine.end_trajectory(t, quality=quality)
    return t.id


def used(engine: SonaEngine) -> Weights:
    """Return the weights of common use that answers count now, by the names of both nodes."""
    session = engine._session
    view = session.graph.of(session.held.serving)
    if view is None:
        return {}
    graph = view.expectation.graph
    names, edges = graph.names(view.catalog), graph.edges
    rows = np.flatnonzero(edges.kind == EdgeKind.CO_ACTIVATION).tolist()
    weights = {(names[edges.source[row]], names[edges.target[row]]): float(edges.weight[row]) for row in rows}
    return {pair: weight for pair, weight in weights.items() if weight >= LEAST_WEIGHT}


def together(engine: SonaEngine, first: str, second: str) -> float:
    return used(engine).get((f"candidate/{first}", f"candidate/{second}"), 0.0)


def pattern_of(engine: SonaEngine, topic: int) -> str:
    return f"pattern/{engine.find_patterns(TOPICS[topic], 1)[0].id}"


def test_what_a_session_used_together_is_joined_before_any_version_has_learned_it(engine: SonaEngine) -> None:
    version = engine.version
    assert together(engine, "a", "c") == 0.0
    turn(engine, "s", 0, "a")
    turn(engine, "s", 2, "c")
    assert together(engine, "a", "c") == pytest.approx(RATE)
    assert engine.version == version
    between, alone = TOPICS[1] + TOPICS[2], engine.find_patterns(TOPICS[0], 4)
    spread = engine.find_patterns(TOPICS[0], 4, graph=True)
    assert [one.id for one in spread][:2] == [alone[0].id, engine.find_patterns(TOPICS[2], 1)[0].id]
    assert engine.recall(between, k=4).ids, "an answer over the graph with evidence"
    told = used(engine)
    engine.force_learn()
    assert used(engine) == pytest.approx(told, abs=1e-5), "as the version has it"
    assert engine._session.graph.of(engine._session.held.serving) is engine._session.held.serving.graph


def test_a_session_joins_candidates_before_there_is_a_version(database_url: str) -> None:
    with SonaEngine(DIM, database_url, "new", config=QUIET) as engine:
        engine.remember(NAMES, TOPICS + 0.1)
        turn(engine, "s", 0, "a")
        turn(engine, "s", 2, "c")
        assert engine.version == 0
        assert together(engine, "a", "c") == pytest.approx(RATE)
        ids = engine.recall(TOPICS[0], ids=NAMES, k=4).ids
        assert ids[0] == "a"
        features = engine._session.recaller._graphs  # the edge takes part in the answer
        [of_set] = features.values()
        assert len(of_set.graph.edges) == 2
        engine.force_learn()
        assert together(engine, "a", "c") == pytest.approx(RATE)


def test_a_thumb_down_weakens_and_a_retraction_leaves_the_version_s_weights(engine: SonaEngine) -> None:
    before, pattern = used(engine), pattern_of(engine, 0)
    edge = (pattern, "candidate/a")
    told = turn(engine, "s", 0, "a", 0.0)
    assert used(engine)[edge] == pytest.approx(before[edge] * (1 - RATE), rel=1e-4)
    engine.feedback(told, quality=1.0)
    assert used(engine)[edge] > before[edge]
    engine.feedback(told, correction="b")
    assert used(engine)[edge] < before[edge], "retrieved and not used"
    assert used(engine)[pattern, "candidate/b"] == pytest.approx(RATE, rel=1e-4)
    silent = turn(engine, "t", 0, "a", None)
    weights = used(engine)
    engine.feedback(silent, quality=1.0)
    assert used(engine) != weights
    engine.feedback(silent, retract=True)
    assert used(engine) == weights


def test_what_a_version_has_learned_is_taken_back_when_it_is_judged_anew(engine: SonaEngine) -> None:
    pattern = pattern_of(engine, 0)
    told = turn(engine, "s", 0, "d")
    turn(engine, "s", 1, "b")
    engine.force_learn()
    assert used(engine)[pattern, "candidate/d"] == pytest.approx(RATE, rel=1e-4)
    engine.feedback(told, quality=0.0)
    weights = used(engine)
    assert (pattern, "candidate/d") not in weights
    assert engine.version == 2
    engine.force_learn()
    assert used(engine) == pytest.approx(weights, abs=1e-5)


def test_what_the_version_is_found_to_have_learned_counts_as_revised_from_then_on(engine: SonaEngine) -> None:
    told = turn(engine, "s", 0, "d", None)
    turn(engine, "s", 1, "b")
    engine.feedback(told, quality=1.0)
    assert used(engine)
    session = engine._session
    last = session.graph._weighed
    assert last is not None
    session.evidence.query(told.bytes).is_new = False  # as a row of the ledger may say, which changes no quality
    assert session.graph._weigh(last.serving, last.catalog, last) is not last


def test_sessions_of_several_answers_are_learned_cycle_after_cycle(engine: SonaEngine) -> None:
    for cycle in range(3):
        for topic in (0, 1, 2):
            turn(engine, f"of-{cycle}", topic, NAMES[topic])
        engine.force_learn()
    assert together(engine, "b", "c") == pytest.approx(1 - (1 - RATE) ** 3, rel=1e-3)
    assert together(engine, "c", "b") == together(engine, "b", "c")
    assert engine.rebuild().equal


def test_an_erased_session_counts_no_longer(engine: SonaEngine) -> None:
    before = used(engine)
    turn(engine, "erased", 0, "a")
    turn(engine, "erased", 2, "c")
    assert used(engine) != before
    engine.flush()
    engine.forget(session="erased")
    assert ("candidate/a", "candidate/c") not in used(engine)
    assert used(engine) == pytest.approx(before, abs=1e-5)


def test_a_neighbour_is_weakened_only_by_questions_that_it_could_have_answered(engine: SonaEngine) -> None:
    pattern = pattern_of(engine, 0)
    before = used(engine)[pattern, "candidate/a"]
    turn(engine, "s", 0, "b", ids=["b", "c"])
    assert used(engine)[pattern, "candidate/a"] == pytest.approx(before, rel=1e-4)
    turn(engine, "t", 0, "b", ids=["a", "b"])
    assert used(engine)[pattern, "candidate/a"] == pytest.approx(before * (1 - RATE), rel=1e-4)


TURNS = [
    (f"s{number % 3}", number % 4, NAMES[(number + number // 4) % 4], float(number % 5 != 0)) for number in range(12)
]


def test_servers_count_the_same_facts_alike_whatever_their_order_and_however_often_they_are_told(
    engine: SonaEngine, database_url: str
) -> None:
    """Facts are told on two servers; a third is opened when all is committed; the next version counts the same."""
    with SonaEngine(DIM, database_url, config=QUIET) as other:
        ids = [uuid7(AT + 60_000 * place) for place in range(len(TURNS))]
        told = list(zip(TURNS, ids, strict=True))
        for place, ((session, topic, answer, quality), id_) in enumerate(reversed(told)):
            server = (engine, other)[place % 2]
            turn(server, session, topic, answer, quality, id=id_, ids=NAMES[: 2 + place % 3])
            server.feedback(id_, quality=quality, sequence=1, source="judge")
        for server in (engine, other):
            server.flush()
        for server in (engine, other):
            server.refresh()
        for id_ in ids:  # told again on the other server: the ledger refuses it
            other.feedback(id_, quality=TURNS[ids.index(id_)][3], sequence=1, source="judge")
        other.flush()
        with SonaEngine(DIM, database_url, config=QUIET) as third:
            for server in (engine, other, third):
                server.refresh()
            weighed = [used(server) for server in (engine, other, third)]
            assert weighed[0] == weighed[1] == weighed[2]
            assert weighed[0] != {}
            engine.force_learn()
            for server in (engine, other, third):
                server.refresh()
                assert used(server) == pytest.approx(weighed[0], abs=1e-5)
                assert server._session.graph.of(server._session.held.serving) is server._session.held.serving.graph


def test_without_sessions_or_without_a_graph_nothing_is_prepared(database_url: str) -> None:
    off = SonaConfig(loops=QUIET.loops, maintenance=QUIET.maintenance)
    with SonaEngine(DIM, database_url, "plain", config=off) as engine:
        engine.remember(NAMES, TOPICS + 0.1)
        t = engine.begin_trajectory(TOPICS[0], ranking=engine.rank(TOPICS[0]))
        engine.set_trajectory_route(t, "a")
        engine.end_trajectory(t, quality=1.0)
        assert engine._session.graph.of(engine._session.held.serving) is None
        engine.set_settings({"graph.nodes": 0})
        turn(engine, "s", 0, "a")
        assert engine._session.graph.of(engine._session.held.serving) is None
