"""The gate on a real database: a worse version is rolled back, a candidate is held until it is not worse."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator

import numpy as np
import psycopg
import pytest

from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import BaseConfig, GateConfig, LoopConfig, MaintenanceConfig
from sona_pg.domain.gate import Canary
from sona_pg.domain.ids import uuid7
from sona_pg.errors import SonaError
from sona_pg.store.database import Database
from sona_pg.worker.gatekeeper import Gatekeeper
from sona_pg.worker.learner import Learner

DIM = 16
IDS = [f"d{number}" for number in range(6)]
ROWS = np.eye(6, DIM, dtype=np.float32)
LOOPS = LoopConfig(automatic=False, recent=0)
Open = Callable[..., SonaEngine]


@pytest.fixture
def opened(database_url: str) -> Iterator[Open]:
    engines: list[SonaEngine] = []

    def open_one(**gate: object) -> SonaEngine:
        config = SonaConfig(
            base=BaseConfig(rank=4),
            gate=GateConfig(**gate),
            loops=LOOPS,
            maintenance=MaintenanceConfig(automatic=False),
        )
        engines.append(SonaEngine(DIM, database_url, config=config))
        return engines[-1]

    yield open_one
    for engine in engines:
        engine.close()


class People:
    """People who ask for a document, and say whether the first answer was it, or which one would have been."""

    def __init__(self, engine: SonaEngine, seed: int = 0) -> None:
        self.engine = engine
        self.rng = np.random.default_rng(seed)

    def ask(self, count: int, *, moved: int | None = None) -> float:
        """Ask ``count`` questions; return the share answered rightly.

        ``moved``: they name the right answers, moved by so many places; else they rate the one that is shown.
        """
        right = 0
        for _ in range(count):
            meant = int(self.rng.integers(6))
            query = (ROWS[(meant + 1) % 6] + 0.3 * self.rng.standard_normal(DIM)).astype(np.float32)
            ranking = self.engine.rank(query, ROWS, ids=IDS)
            handle = self.engine.begin_trajectory(query, ranking=ranking)
            self.engine.set_trajectory_route(handle, ranking.ids[0])
            is_right = ranking.ids[0] == IDS[meant]
            self.engine.end_trajectory(handle, quality=float(is_right) if moved is None else None)
            if moved is not None:
                self.engine.feedback(handle, correction=IDS[(meant + moved) % 6])
            right += is_right
        self.engine.flush()
        return right / count

    def decide(self, count: int, qualities: tuple[float, float]) -> float:
        """Let ``count`` decisions between two routes turn out with mean qualities; return the share of the first."""
        first = 0
        for _ in range(count):
            query = self.rng.standard_normal(DIM).astype(np.float32)
            decision = self.engine.route(query, ["a", "b"])
            handle = self.engine.begin_trajectory(query, decision=decision)
            quality = float(self.rng.random() < qualities["ab".index(decision.route)])
            self.engine.end_trajectory(handle, quality=quality)
            first += decision.route == "a"
        self.engine.flush()
        return first / count


@pytest.mark.parametrize("largest", [1024, len(IDS) - 1])  # a larger set stands for all, its members are not read
def test_a_worse_version_is_rolled_back_within_200_decisions(
    opened: Open, monkeypatch: pytest.MonkeyPatch, largest: int
) -> None:
    monkeypatch.setattr("sona_pg.store.candidates.LARGEST_TABLE", largest)
    engine = opened()
    people = People(engine)
    people.ask(80, moved=0)
    assert engine.force_learn().learned
    good = engine.version
    people.ask(160, moved=3)  # somebody floods the space with wrong corrections
    assert engine.force_learn().learned
    bad = engine.version
    asked = 0
    while engine.version == bad and asked < 200:
        assert people.ask(20) < 0.6
        asked += 20
        engine.judge()
    assert engine.version > bad
    assert people.ask(40) > 0.6
    [gate] = engine.gates()
    assert (gate.version, gate.reference, gate.judgement) == (bad, good, "rolled back")
    assert gate.high is not None
    assert gate.high <= -gate.margin
    assert engine.metrics()["totals"]["waiting"] == 60  # what the bad version had learned is left out


def test_a_worse_router_is_rolled_back(opened: Open) -> None:
    engine = opened(decisions=500)
    people = People(engine)
    people.decide(100, (0.9, 0.2))
    assert engine.force_learn().learned
    people.decide(300, (0.0, 1.0))  # lies
    assert engine.force_learn().learned
    bad, asked = engine.version, 0
    while engine.version == bad and asked < 200:
        people.decide(25, (0.9, 0.2))
        asked += 25
        engine.judge()
    assert engine.gates()[0].judgement == "rolled back"
    assert people.decide(200, (0.9, 0.2)) > 0.6


def test_a_better_version_is_accepted_and_becomes_what_later_ones_are_compared_with(opened: Open) -> None:
    engine = opened()
    people = People(engine)
    for count in (10, 100):
        people.ask(count, moved=0)
        engine.force_learn()
    people.ask(80, moved=0)
    [gate] = engine.judge()
    assert (gate.version, gate.reference, gate.judgement, gate.closed_at) == (2, 1, "accepted", None)
    engine.force_learn()
    second, first = engine.gates()
    assert (second.version, second.reference, second.judgement) == (3, 2, "open")
    assert first.judgement == "accepted"
    assert first.closed_at is not None


def test_a_held_candidate_goes_live_once_it_is_shown_not_to_be_worse(opened: Open) -> None:
    engine = opened(mode="hold")
    people = People(engine)
    people.ask(10, moved=0)
    assert engine.force_learn().version == engine.version == 1  # nothing to compare the first with
    people.ask(100, moved=0)
    assert (engine.force_learn().version, engine.version) == (2, 1)
    assert not engine.force_learn().learned  # until the judgement
    asked = 0
    while engine.version == 1 and asked < 400:
        people.ask(40, moved=0)
        asked += 40
        engine.judge()
    assert engine.version == 2
    watched, held = engine.gates()
    assert (held.mode, held.judgement) == ("hold", "promoted")
    assert held.low is not None
    assert held.low >= -held.margin
    assert (watched.mode, watched.judgement, watched.reference) == ("watch", "open", 1)
    assert engine.force_learn().version == 3  # the facts since are learned next


def test_a_held_candidate_that_is_worse_never_goes_live(opened: Open) -> None:
    engine = opened(mode="hold")
    people = People(engine)
    people.ask(60, moved=0)
    engine.force_learn()
    people.ask(180, moved=3)
    engine.force_learn()
    while engine.gates()[0].closed_at is None:
        people.ask(40, moved=0)
        engine.judge()
    assert engine.gates()[0].judgement == "rejected"
    assert engine.version == 1
    assert [(found.version, found.status) for found in engine.versions()] == [(2, "rejected"), (1, "live")]
    assert engine.force_learn().version == 3  # its facts are not lost


def test_nothing_is_judged_where_the_gate_is_off(opened: Open) -> None:
    engine = opened(mode="off")
    people = People(engine)
    for _ in range(2):
        people.ask(10, moved=0)
        engine.force_learn()
    assert (engine.gates(), engine.judge()) == ([], [])


def test_a_gate_ends_undecided_after_its_decisions_or_with_another_change_of_the_live_version(opened: Open) -> None:
    engine = opened(decisions=10)
    people = People(engine)
    for count in (80, 10):  # the second learns little that is new
        people.ask(count, moved=0)
        engine.force_learn()
    people.ask(12, moved=0)
    assert [gate.judgement for gate in engine.judge()] == ["undecided"]
    engine.force_learn()
    engine.rollback(1)
    assert [(gate.version, gate.judgement) for gate in engine.gates()] == [(3, "ended"), (2, "undecided")]


def test_a_decision_counts_once_when_its_first_outcome_arrives(opened: Open) -> None:
    engine = opened()
    people = People(engine)
    for _ in range(2):
        people.ask(20, moved=0)
        engine.force_learn()
    query = ROWS[1] + 0.01
    handles = []
    for _ in range(5):
        ranking = engine.rank(query, ROWS, ids=IDS)
        handles.append(engine.begin_trajectory(query, ranking=ranking))
        engine.set_trajectory_route(handles[-1], ranking.ids[0])
        engine.end_trajectory(handles[-1])
    engine.flush()
    assert [gate.decisions for gate in engine.judge()] == [0]
    for told in (1.0, 0.0):
        for handle in handles:
            engine.feedback(handle, told, source=str(told))
        engine.judge()
        assert engine.gates()[0].decisions == 5


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE sona.adapters SET a = decode(repeat('0000c07f', length(a) / 4), 'hex') WHERE version = 2",
        "UPDATE sona.adapters SET b = decode(repeat('ecff7f7e', length(b) / 4), 'hex'), "
        "a = decode(repeat('ecff7f7e', length(a) / 4), 'hex') WHERE version = 2",
        "UPDATE sona.version_patterns SET centroid = (centroid::real[] || 1::real)::vector WHERE version = 2",
    ],
)
def test_a_candidate_that_is_not_finite_too_large_or_of_another_dimension_is_not_promoted(
    opened: Open, database_url: str, damage: str
) -> None:
    engine = opened()
    people = People(engine)
    people.ask(10, moved=0)
    engine.force_learn()
    people.ask(10, moved=0)
    engine.stage()
    with psycopg.connect(database_url) as connection:
        assert connection.execute(damage).rowcount > 0
    with pytest.raises(SonaError, match="version 2"):
        engine.promote(2)
    assert engine.version == 1


def test_a_learner_rolls_back_by_itself_and_counts_no_decision_twice(opened: Open, database_url: str) -> None:
    engine = opened()
    people = People(engine)
    people.ask(80, moved=0)
    engine.force_learn()
    people.ask(160, moved=3)
    engine.force_learn()
    people.ask(10)
    session = engine._session
    keepers = [Gatekeeper(session.database) for _ in range(2)]
    [gate] = keepers[0].with_news([session.space.space_id])
    for keeper in keepers:  # both have seen the same news
        keeper.judge(gate, session._background, session.space)
    assert engine.gates()[0].decisions <= 10
    people.ask(60)
    database = Database.open(database_url)
    learner = Learner(database)
    learner.add(learner.coordinator(session.space, uuid7(), SonaConfig()))
    learner.run_due()
    assert engine.gates()[0].judgement == "rolled back"
    assert engine.refresh() == 3  # an automatic cycle runs only later: what the bad version had learned is left out
    assert engine.rebuild().equal
    database.close()


@pytest.fixture
def canary(opened: Open, monkeypatch: pytest.MonkeyPatch) -> SonaEngine:
    """A server that serves the candidates of ``opened(mode="hold", share=0.5)``; no other one does."""
    engine = opened(mode="hold", share=0.5)
    monkeypatch.setattr(Canary, "is_served_by", lambda _, server_id: server_id == engine.server_id)
    return engine


def test_a_canary_serves_the_candidate_and_its_decisions_are_judged(opened: Open, canary: SonaEngine) -> None:
    engine = opened(mode="hold", share=0.5)
    people = People(engine)
    people.ask(10, moved=0)
    engine.force_learn()
    people.ask(100, moved=0)
    assert engine.force_learn().version == 2
    assert (engine.refresh(), canary.refresh()) == (1, 2)
    with psycopg.connect(engine.url) as connection:
        serving = dict(connection.execute("SELECT server_id, serving_version FROM sona.servers").fetchall())
    assert (serving[engine.server_id], serving[canary.server_id]) == (1, 2)
    here, asked = People(canary), 0
    while engine.refresh() == 1 and asked < 400:
        assert here.ask(40, moved=0) > 0.6
        asked += 40
        canary.judge()
    assert (engine.version, canary.refresh()) == (2, 2)
    watched, held = engine.gates()
    assert (held.judgement, held.share, held.decisions > 0) == ("promoted", 0.5, True)
    assert watched.share is None


def test_a_worse_candidate_leaves_its_canaries(opened: Open, canary: SonaEngine) -> None:
    engine = opened(mode="hold", share=0.5)
    people, here = People(engine), People(canary)
    people.ask(60, moved=0)
    engine.force_learn()
    people.ask(180, moved=3)
    engine.force_learn()
    assert canary.refresh() == 2
    asked = 0
    while engine.gates()[0].closed_at is None and asked < 400:
        assert here.ask(40, moved=0) < 0.6
        asked += 40
        canary.judge()
    assert engine.gates()[0].judgement == "rejected"
    assert (engine.refresh(), canary.refresh()) == (1, 1)
    assert here.ask(40, moved=0) > 0.6


def test_a_canary_is_found_by_polling(database_url: str, opened: Open, canary: SonaEngine) -> None:
    engine = opened(mode="hold", share=0.5)
    people = People(engine)
    for _ in range(2):
        people.ask(20, moved=0)
        engine.force_learn()
    deadline = time.monotonic() + 20
    while canary.version != 2:
        assert time.monotonic() < deadline, "no poll has found the candidate"
        time.sleep(0.01)
    engine.rollback(0)
    while canary.version != 3:
        assert time.monotonic() < deadline, "no poll has found its end"
        time.sleep(0.01)


def test_the_stated_share_of_servers_are_canaries() -> None:
    rng = np.random.default_rng(0)
    servers = [uuid.UUID(bytes=rng.bytes(16)) for _ in range(10_000)]
    first, second = Canary(7, 0.1), Canary(8, 0.1)
    chosen = [first.is_served_by(server) for server in servers]
    assert 850 < sum(chosen) < 1150  # five standard deviations
    assert 40 < sum(a and second.is_served_by(server) for a, server in zip(chosen, servers, strict=True)) < 160


def test_a_deep_cycle_waits_for_a_held_candidate(opened: Open) -> None:
    engine = opened(mode="hold")
    people = People(engine)
    for _ in range(2):
        people.ask(20, moved=0)
        engine.force_learn()
    assert not engine.deep_learn().learned
    assert (engine.version, engine.gates()[0].judgement) == (1, "open")
