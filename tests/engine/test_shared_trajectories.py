"""Trajectories that another process goes on with, handles and decisions on their way there, and imported logs."""

from __future__ import annotations

import asyncio
import json
import pickle
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import msgpack
import numpy as np
import psycopg
import pytest
from fix_ledger import Ledger

from sona_pg import AsyncSonaEngine, Decision, Ranking, SonaConfig, SonaEngine
from sona_pg.config import IngestConfig, LoopConfig, MaintenanceConfig
from sona_pg.domain.ids import made_at
from sona_pg.engine import shared_trajectories
from sona_pg.errors import DatabaseUnavailable, InvalidValue, TrajectoryError
from sona_pg.ingest.writer import Writer
from sona_pg.store.admin.maintenance import Maintenance

pytestmark = pytest.mark.no_vectors

DIM = 8
X = np.ones(DIM, np.float32)
CONFIG = SonaConfig(loops=LoopConfig(automatic=False))
NARROW = IngestConfig(buffer_bytes=1 << 16)


@pytest.fixture
def engine(database_url):
    with SonaEngine(DIM, database_url, config=CONFIG) as opened:
        yield opened


@pytest.fixture
def other(database_url):
    """An engine of another process: it knows no handle of ``engine``, once that has shared it."""
    with SonaEngine(DIM, database_url, config=CONFIG) as opened:
        yield opened


def rows(url, query):
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchall()


def test_a_trajectory_begun_by_one_server_is_continued_and_ended_by_others(engine, other, database_url):
    decision = engine.route(X, ["small", "big"], costs={"small": 1.0, "big": 2.0}, query="where is it?")
    t = engine.begin_trajectory(X, query="where?", decision=decision)
    engine.add_step(t, X, reward=0.25)
    id_ = engine.share_trajectory(t)
    other.add_step(id_, X, X[:3], reward=-0.5)
    other.add_trajectory_context(str(id_), "user:1")
    engine.set_trajectory_parameters(t, {"top_k": 3})  # the handle names the shared one
    assert not t.ended
    other.end_trajectory(id_, quality=0.75, latency=1.5)
    with pytest.raises(TrajectoryError, match="nor shared"):
        engine.end_trajectory(t, 1.0)
    other.flush()
    told = "SELECT id, quality, route, query, context, parameters, latency_us, step_count, propensity IS NULL"
    assert rows(database_url, f"{told} FROM sona.trajectories") == [
        (id_, 0.75, decision.route, "where?", ["user:1"], {"top_k": 3}, 1_500_000, 2, False)
    ]
    steps = rows(database_url, "SELECT ordinal, reward, offset_us > 0 FROM sona.steps ORDER BY ordinal")
    assert steps == [(0, 0.25, True), (1, -0.5, True)]
    assert rows(database_url, "SELECT FROM sona.shared_trajectories") == []


def test_one_that_is_begun_twice_under_the_callers_id_is_one(engine, other, database_url):
    at = datetime.now(UTC)
    first, again = (
        server.share_trajectory(server.begin_trajectory(X, query=query, id="request 7", started_at=at))
        for server, query in ((engine, "first"), (other, "first"))
    )
    assert first == again
    with pytest.raises(TrajectoryError, match="other contents"):
        other.share_trajectory(other.begin_trajectory(X, query="again", id="request 7", started_at=at))
    other.end_trajectory(first, 0.5)
    other.flush()
    assert rows(database_url, "SELECT query FROM sona.trajectories") == [("first",)]


def test_calls_that_the_recorder_would_refuse_at_the_end_are_refused_at_once(engine, other):
    id_ = engine.share_trajectory(engine.begin_trajectory(X))
    for wrong in (
        lambda: other.add_step(id_, [np.nan]),
        lambda: other.add_step(id_, reward=1e9),
        lambda: other.add_step(id_, np.ones((2, 2))),
        lambda: other.set_trajectory_route(id_, ""),
        lambda: other.add_trajectory_context(id_, "a\0b"),
        lambda: other.add_trajectory_context(id_, "\ud800"),
        lambda: other.set_trajectory_route(id_, "\ud800"),
        lambda: other.set_trajectory_parameters(id_, {"top": "k"}),
        lambda: other.end_trajectory(id_, 1.5),
        lambda: other.end_trajectory(id_, latency=-1.0),
    ):
        with pytest.raises(InvalidValue):
            wrong()
    other.end_trajectory(id_, 0.5)


def test_a_shared_trajectory_stays_open_while_its_end_is_refused(engine, other):
    id_ = engine.share_trajectory(engine.begin_trajectory(X))
    other.close()
    with pytest.raises(TrajectoryError, match="closed"):
        other.end_trajectory(id_, 0.5)
    engine.end_trajectory(id_, 0.5)


def test_an_end_that_the_full_buffer_refuses_leaves_the_trajectory_shared(engine, database_url):
    id_ = engine.share_trajectory(engine.begin_trajectory(X, query="?" * 50_000))
    for _ in range(2):
        engine.add_trajectory_context(id_, "user:1")
        engine.add_step(id_, np.ones(4096, np.float32), reward=0.5)
    with SonaEngine(DIM, database_url, config=CONFIG.replace(ingest=NARROW)) as other:  # it never has that much room
        for _ in range(2):
            with pytest.raises(DatabaseUnavailable, match="buffer is full"):
                other.end_trajectory(id_, 1.0)
        assert other.dropped_count == 2
    assert len(rows(database_url, "SELECT FROM sona.shared_trajectories")) == 5
    engine.end_trajectory(id_, 1.0)  # it is committed when this returns
    assert rows(database_url, "SELECT id, quality, step_count FROM sona.trajectories") == [(id_, 1.0, 2)]
    assert rows(database_url, "SELECT FROM sona.shared_trajectories") == []


def test_sharing_does_not_wait_for_ever_for_the_candidates_before_it(proxy, monkeypatch):
    monkeypatch.setattr(shared_trajectories, "END_TIMEOUT", 0.05)
    with SonaEngine(DIM, proxy.url, config=CONFIG) as engine:
        proxy.stall()
        engine.remember(["new"], X[None, :])
        t = engine.begin_trajectory(X)
        with pytest.raises(DatabaseUnavailable, match="not committed"):
            engine.share_trajectory(t)
        proxy.resume()
        engine.flush()
        assert engine.share_trajectory(t) == t.id


def test_an_end_whose_commit_is_not_known_is_sent_again_and_recorded_once(engine, other, database_url, monkeypatch):
    id_ = engine.share_trajectory(engine.begin_trajectory(X))
    engine.add_step(id_, X, reward=0.5)

    def late(*how, **more):
        Writer.flush(engine._session.writer)
        raise DatabaseUnavailable("the process died after the commit of the record")

    monkeypatch.setattr(engine._session.writer, "flush", late)
    with pytest.raises(DatabaseUnavailable, match="died"):
        engine.end_trajectory(id_, 0.75)
    other.end_trajectory(id_, 0.75)
    assert rows(database_url, "SELECT quality, step_count FROM sona.trajectories") == [(0.75, 1)]
    assert rows(database_url, "SELECT count(*) FROM sona.steps") == [(1,)]
    assert rows(database_url, "SELECT FROM sona.shared_trajectories") == []
    monkeypatch.undo()


def test_a_handle_that_was_pickled_is_the_open_one_here_and_the_shared_one_elsewhere(engine, other):
    t = engine.begin_trajectory(X)
    assert pickle.loads(pickle.dumps(t)) is t
    told = pickle.dumps(t)
    engine.share_trajectory(t)
    del t
    again = pickle.loads(told)
    other.add_step(again, X)
    other.end_trajectory(again, 0.5)


def test_ids_decisions_and_rankings_survive_json_and_msgpack(engine):
    features = np.array([1.0, 2.0], np.float32)
    decision = engine.route(X, ["small", "big"], features=features, costs={"small": 1.0, "big": 2.0})
    ranking = engine.rank(X, np.eye(DIM, dtype=np.float32)[:3], ids=["a", "b", "c"])
    for dumps, loads in ((json.dumps, json.loads), (msgpack.packb, msgpack.unpackb), (pickle.dumps, pickle.loads)):
        made = Decision.from_dict(loads(dumps(decision.as_dict())))
        assert made.as_dict() == decision.as_dict()
        t = engine.begin_trajectory(X, decision=made)
        engine.end_trajectory(loads(dumps(str(t.id))), 1.0)
        shown = Ranking.from_dict(loads(dumps(ranking.as_dict())))
        assert shown.ids == ranking.ids
        engine.end_trajectory(engine.begin_trajectory(X, ranking=shown))
    assert pickle.loads(pickle.dumps(decision)).as_dict() == decision.as_dict()


def test_on_an_event_loop_a_call_about_another_servers_trajectory_is_awaited_in_a_thread(engine):
    async def session():
        asynchronous = AsyncSonaEngine.of(engine)
        id_ = await asynchronous.share_trajectory(asynchronous.begin_trajectory(X))
        with pytest.raises(TrajectoryError, match="in_thread"):
            asynchronous.end_trajectory(id_, 0.5)
        await asynchronous.in_thread(asynchronous.end_trajectory, id_, 0.5)
        await asynchronous.close()

    asyncio.run(session())


def test_a_trajectory_that_is_never_ended_is_deleted_after_a_week(ledger: Ledger):
    with SonaEngine(DIM, ledger.url, config=CONFIG) as engine:
        engine.share_trajectory(engine.begin_trajectory(X))
    for days, left in ((6, 1), (8, 0)):
        at = datetime.now(UTC) + timedelta(days=days)
        list(Maintenance(ledger.database.engine, MaintenanceConfig(), lambda at=at: at).run())
        assert len(ledger.rows("SELECT FROM sona.shared_trajectories")) == left


# -- logs ---------------------------------------------------------------------------------------------------


def test_last_months_logs_land_in_last_month_once(engine, database_url):
    began = datetime.now(UTC) - timedelta(days=30)
    for _ in range(2):
        for line in range(3):
            t = engine.begin_trajectory(X, id=f"request-{line}", started_at=began + timedelta(seconds=line))
            engine.add_step(t, X, reward=1.0)
            engine.end_trajectory(t, 0.5, latency=0.25 if line else None)
        engine.flush()
    found = rows(database_url, "SELECT id, latency_us FROM sona.trajectories ORDER BY id")
    assert [latency for _, latency in found] == [None, 250_000, 250_000]
    for line, (id_, _) in enumerate(found):
        assert id_.version == 7
        assert abs(made_at(id_) - began - timedelta(seconds=line)) < timedelta(milliseconds=2)
    assert rows(database_url, "SELECT count(*) FROM sona.steps") == [(3,)]
    assert engine.force_learn().trajectories == 3


def test_a_callers_own_uuid_is_used_or_refused_with_what_to_do(engine):
    own = UUID("01997a00-0000-7000-8000-000000000001")
    assert engine.begin_trajectory(X, id=own).id == engine.begin_trajectory(X, id=str(own)).id == own
    at = datetime(2026, 10, 1, tzinfo=UTC)
    random = uuid4()
    assert (
        engine.begin_trajectory(X, id=random, started_at=at).id
        == engine.begin_trajectory(X, id=str(random), started_at=at).id
    )
    assert engine.begin_trajectory(X, started_at=at).id != engine.begin_trajectory(X, started_at=at).id
    for wrong, said in (
        ({"id": random}, "no UUIDv7"),
        ({"id": UUID("ffffffff-ffff-7fff-bfff-ffffffffffff")}, "ahead of this machine's clock"),
        ({"id": "line 7"}, "give started_at as well"),
        ({"id": 7}, "expected a UUID or a text"),
        ({"started_at": datetime(2026, 10, 1)}, "time zone"),
        ({"started_at": datetime(1960, 1, 1, tzinfo=UTC)}, "from 1970"),
        ({"started_at": datetime(9999, 1, 1, tzinfo=UTC)}, "ahead of this machine's clock"),
    ):
        with pytest.raises(InvalidValue, match=said):
            engine.begin_trajectory(X, **wrong)
