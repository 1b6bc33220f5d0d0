"""The asynchronous engine has every call of SonaEngine, and never blocks its event loop."""

from __future__ import annotations

import asyncio
import inspect
import threading

import numpy as np
import pytest
from fix_proxy import Proxy

from sona_pg import AsyncSonaEngine, SonaConfig, SonaEngine, Store
from sona_pg.config import IngestConfig, LoopConfig
from sona_pg.errors import ConfigError, TrajectoryError, UnknownVersion
from sona_pg.recorder import HotPath

pytestmark = pytest.mark.no_vectors

DIM = 8
X = np.ones(DIM, np.float32)
CONFIG = SonaConfig(loops=LoopConfig(automatic=False))
OF_THE_WRITER = {
    "attach", "begin_again", "call_space", "drain", "name_sets", "opened_here", "refuse_records", "renewed_by",
    "set_adapters", "set_clock_ahead", "settle", "spill", "trim", "add_step_at", "frame_of", "let_go", "open_frame",
    "shared_by", "keep_judged", "knows_time", "correction", "correction_of", "guessed_since_1970",
}  # fmt: skip


def test_it_has_every_name_of_the_engine():
    names = {name for name in dir(SonaEngine) if not name.startswith("_")}
    missing = names - {name for name in dir(AsyncSonaEngine) if not name.startswith("_")}
    assert missing == {name for name in OF_THE_WRITER if hasattr(HotPath, name)} | {"call_space", "builder"}


def test_a_session_of_plain_and_awaited_calls(database_url):
    async def session():
        async with AsyncSonaEngine(DIM, database_url, config=CONFIG) as engine:
            for _ in range(20):
                t = engine.begin_trajectory(X, query="where?")
                engine.add_step(t, X, reward=0.5)
                engine.set_trajectory_route(t, "big")
                engine.end_trajectory(t, quality=0.9)
            engine.feedback(t, 1.0)
            await engine.flush()
            learned = await engine.force_learn()
            assert learned.trajectories == 20
            assert engine.version == learned.version == 1
            assert engine.find_patterns(X)
            assert engine.route(X, ["big", "small"]).route in ("big", "small")
            assert len(await engine.search(X, k=3)) == 3
            assert (await engine.metrics())["totals"]["trajectories"] == 20
            assert [version.version for version in await engine.versions()] == [1]
            with pytest.raises(UnknownVersion):
                await engine.diff(0, 7)
            return engine, t

    engine, t = asyncio.run(session())
    assert t.ended
    assert engine.is_closed
    with pytest.raises(TrajectoryError, match="closed"):
        engine.begin_trajectory(X)


def test_awaited_calls_run_in_threads_of_the_engine_and_plain_ones_do_not(database_url):
    async def session():
        engine = await AsyncSonaEngine.open(DIM, database_url, config=CONFIG)
        assert inspect.iscoroutinefunction(engine.flush.func)
        assert engine.begin_trajectory.__self__ is engine.engine
        names = await asyncio.gather(*(engine.in_thread(lambda: threading.current_thread().name) for _ in range(9)))
        assert all(name.startswith("sona-pg async") for name in names)
        assert len(set(names)) <= 4
        await engine.close()

    asyncio.run(session())


def test_the_loop_goes_on_while_the_database_is_silent(proxy: Proxy):
    async def session():
        async with AsyncSonaEngine(DIM, proxy.url, config=CONFIG) as engine:
            engine.end_trajectory(engine.begin_trajectory(X), 0.5)
            await engine.flush()
            proxy.stall()
            waiting = [asyncio.create_task(engine.search(X)), asyncio.create_task(engine.flush())]
            waiting += [asyncio.create_task(engine.metrics()) for _ in range(3)]
            for _ in range(200):
                await asyncio.sleep(0)
                engine.end_trajectory(engine.begin_trajectory(X), 0.5)
                engine.feedback(engine.begin_trajectory(X), 1.0)
                engine.rank(X, np.eye(DIM, dtype=np.float32)[:2], ids=["a", "b"])
                engine.route(X, ["a", "b"])
                engine.apply_micro_lora(X)
                engine.find_patterns(X)
            assert not waiting[0].done()
            waiting[1].cancel()
            proxy.resume()
            assert len(await waiting[0]) >= 1
            await asyncio.gather(*waiting[2:])
            await engine.flush()
            assert len(await engine.search(X, k=300)) == 201

    asyncio.run(session())


def test_it_stands_on_an_engine_of_a_store_and_leaves_it_open(database_url):
    async def session(store):
        async with AsyncSonaEngine.of(store.space("one", DIM, config=CONFIG)) as engine:
            engine.end_trajectory(engine.begin_trajectory(X), 0.5)
            await engine.flush()
        assert not engine.is_closed

    with Store(database_url) as store:
        asyncio.run(session(store))


@pytest.mark.parametrize("ingest", [IngestConfig(durability="sync"), IngestConfig(when_full="wait")])
def test_settings_that_would_hold_up_the_loop_are_refused(ingest):
    with pytest.raises(ConfigError, match="event loop"):
        AsyncSonaEngine(DIM, config=SonaConfig(ingest=ingest))


def test_it_is_opened_before_it_is_used():
    with pytest.raises(ConfigError, match="not open yet"):
        AsyncSonaEngine(DIM).begin_trajectory(X)
