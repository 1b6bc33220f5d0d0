"""One store serves many spaces with the connections and threads of one, and ends with the last user."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import psycopg
import pytest
from fix_proxy import Proxy

from sona_pg import ConfigError, SonaConfig, SonaEngine, Store
from sona_pg.config import IngestConfig, LoopConfig, MaintenanceConfig
from sona_pg.engine.process_runtime import runtimes
from sona_pg.errors import DatabaseUnavailable, NotFound, SpaceRemoved, TrajectoryError

pytestmark = pytest.mark.no_vectors

DIM = 8
ONE = np.ones(DIM, np.float32)
QUIET = SonaConfig(
    hidden_dim=DIM, loops=LoopConfig(automatic=False, poll_interval=0.1), maintenance=MaintenanceConfig(automatic=False)
)
DEAF = QUIET.replace(loops=LoopConfig(automatic=False, poll_interval=60.0), ingest=IngestConfig(flush_interval=60.0))


def connections(url: str) -> int:
    with psycopg.connect(url) as connection:
        ours = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'sona-pg%%' AND datname = %s"
        return int(connection.execute(ours, [connection.info.dbname]).fetchone()[0])  # type: ignore[index]


def wait_until_disconnected(url: str) -> None:
    while connections(url):
        threading.Event().wait(0.005)


def ours() -> list[str]:
    names = [thread.name for thread in threading.enumerate() if thread.name.startswith("sona-pg")]
    return [name for name in names if name != "sona-pg deadlines"]  # of the whole process, while a call is watched


def record(engine: SonaEngine, n: int = 1) -> None:
    for _ in range(n):
        engine.end_trajectory(engine.begin_trajectory(ONE), 0.5)


def test_fifty_spaces_take_no_more_threads_and_connections_than_one(database_url: str) -> None:
    with Store(database_url) as store:
        engines = [store.space(f"space {number}", config=DEAF) for number in range(50)]
        for engine in engines:
            record(engine)
        for engine in engines:
            engine.flush()
        assert len(ours()) <= 6
        assert connections(database_url) <= 6
        summaries = store.spaces()
        assert [summary.name for summary in summaries] == sorted(f"space {number}" for number in range(50))
        assert {(summary.trajectories, summary.waiting, summary.servers) for summary in summaries} == {(1, 1, 1)}
    assert ours() == []
    wait_until_disconnected(database_url)


def test_engines_of_one_database_share_its_runtime_and_the_last_ends_it(database_url: str) -> None:
    first = SonaEngine(DIM, database_url, "a", config=DEAF)
    store = Store(database_url)
    second = SonaEngine(DIM, database_url, "a", config=DEAF)
    assert first._session.runtime is second._session.runtime
    assert first.server_id != second.server_id
    first.close()
    store.close()
    record(second)
    second.flush()
    assert connections(database_url) > 0
    second.close()
    assert runtimes._running == {}
    wait_until_disconnected(database_url)


def test_a_store_gives_the_engine_that_is_open(database_url: str) -> None:
    with Store(database_url) as store:
        engine = store.space("a", config=DEAF)
        assert store.space("a", DIM) is engine
        with pytest.raises(ConfigError, match=f"is open in this store with hidden_dim={DIM}"):
            store.space("a", DIM + 1)
        engine.close()
        opened_again = store.space("a", config=DEAF)
        assert opened_again is not engine
    with pytest.raises(TrajectoryError, match="closed"):
        record(opened_again)
    with pytest.raises(ConfigError, match="the store is closed"):
        store.space("a")


def test_one_space_is_removed_while_others_go_on(database_url: str) -> None:
    with Store(database_url) as store:
        kept, removed, elsewhere = (store.space(name, config=QUIET) for name in ("kept", "removed", "elsewhere"))
        for engine in (kept, removed, elsewhere):
            record(engine)
            engine.flush()
        store.remove_space("removed")
        assert removed.is_closed
        with Store(database_url) as other:
            other.remove_space("elsewhere")  # without notice to this store
        record(elsewhere)
        with pytest.raises(SpaceRemoved):
            elsewhere.flush()
        with pytest.raises(SpaceRemoved):
            elsewhere.close()
        record(kept)
        assert kept.force_learn().trajectories == 2
        assert [summary.name for summary in store.spaces()] == ["kept"]
        with pytest.raises(NotFound, match="there is no space 'removed'"):
            store.remove_space("removed")


def test_a_version_reaches_the_other_engine_of_the_process(database_url: str) -> None:
    with SonaEngine(DIM, database_url, config=QUIET) as teacher, SonaEngine(DIM, database_url, config=DEAF) as other:
        record(teacher, 5)
        version = teacher.force_learn().version
        while other.version != version:
            threading.Event().wait(0.005)


def test_learning_is_due_in_many_spaces_and_done_in_all(database_url: str) -> None:
    loops = LoopConfig(min_trajectories=3, shortest_interval=0.0, poll_interval=0.05)
    with Store(database_url) as store:
        engines = [store.space(f"{number}", config=QUIET.replace(loops=loops)) for number in range(6)]
        for engine in engines:
            record(engine, 4)
        while any(engine.version == 0 for engine in engines):
            threading.Event().wait(0.02)


def test_an_outage_is_logged_once_and_all_spaces_attach_when_it_ends(
    proxy: Proxy, database_url: str, caplog: pytest.LogCaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SONA_PG_HOME", str(tmp_path))
    proxy.refuse()
    with caplog.at_level(logging.WARNING, "sona_pg"), Store(proxy.url) as store:
        engines = [store.space(f"space {number}", config=QUIET) for number in range(30)]
        for engine in engines:
            record(engine)
        with pytest.raises(DatabaseUnavailable):
            store.spaces()
        proxy.accept()
        for engine in engines:
            engine.flush()
        assert {summary.trajectories for summary in store.spaces()} == {1}
    said = [entry.message for entry in caplog.records if entry.name.startswith("sona_pg")]
    assert len([text for text in said if "opened without the database" in text]) == 1
    assert len([text for text in said if "the database answers" in text]) == 1
    assert len(said) <= 4, said


def test_a_store_that_requires_its_database_raises_without_it(proxy: Proxy) -> None:
    proxy.refuse()
    with pytest.raises(DatabaseUnavailable, match="does not answer"):
        Store(proxy.url, require_database=True)
    assert ours() == []


FORKED = f"""
import os, sys, threading, numpy as np
from sona_pg import Store
from sona_pg.engine.process_runtime import runtimes
def record(engine, n):
    for _ in range(n):
        engine.end_trajectory(engine.begin_trajectory(np.ones({DIM}, np.float32)), 0.5)
store = Store()
engines = [store.space(name, {DIM}) for name in "ab"]
for engine in engines:
    record(engine, 5)
child = os.fork()
if child == 0:
    together = threading.Barrier(6)
    threads = [threading.Thread(target=lambda: (together.wait(), store.url)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [runtime.users for runtime in runtimes._running.values()] == [1]
    for engine in engines:
        record(engine, 3)
    record(store.space("c", {DIM}), 2)
    store.close()
    assert not runtimes._running
    sys.exit()
assert os.waitpid(child, 0)[1] == 0
for engine in engines:
    record(engine, 1)
    engine.flush()
print([(summary.name, summary.trajectories) for summary in store.spaces()])
store.close()
"""


def test_a_forked_child_has_a_store_of_its_own(database_url: str, tmp_path: Path) -> None:
    environment = {**os.environ, "SONA_PG_URL": database_url, "SONA_PG_HOME": str(tmp_path)}
    environment["PYTHONWARNINGS"] = "ignore::DeprecationWarning"
    done = subprocess.run([sys.executable, "-c", FORKED], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[('a', 9), ('b', 9), ('c', 2)]"


def test_a_store_changes_renames_and_embeds_its_spaces_anew(database_url: str) -> None:
    def embed(texts: list[str]) -> np.ndarray:
        return np.array([[len(text), 1, 2] for text in texts], np.float32)

    with Store(database_url) as store:
        engine = store.space("a", config=QUIET)
        assert store.set_settings("a", {"base.rank": 6})["base.rank"] == engine.config.base.rank == 6
        store.rename_space("a", "b")
        assert store.space("b", config=QUIET) is engine
        assert engine.metrics()["space"] == "b"
        assert store.settings("b")["base.rank"] == 6
        for query in ("one", "two", None):
            engine.end_trajectory(engine.begin_trajectory(ONE, query=query), 0.5)
        done = store.reembed_space("b", embed, 3)  # the engine holds its records for a minute, unless it is closed
        assert (done.trajectories, done.without_text, done.kept_as) == (2, 1, "b~1")
        assert store.space("b", 3).version == 1
        assert [summary.name for summary in store.spaces()] == ["b", "b~1"]
        with pytest.raises(NotFound, match="'a'"):
            store.set_settings("a", {"base.rank": 7})


def stored(url: str) -> dict[str, int]:
    with Store(url) as store:
        return {summary.name: summary.trajectories for summary in store.spaces()}


def test_a_name_means_the_space_that_is_called_so_now(database_url: str) -> None:
    with Store(database_url) as store, Store(database_url) as other:
        renamed = store.space("x", config=QUIET)
        other.rename_space("x", "y")
        new = other.space("x", config=QUIET)
        assert store.set_settings("x", {"patterns.clusters": 9}) == store.settings("x")
        assert store.settings("y")["patterns.clusters"] != 9
        mine = store.space("x", config=QUIET)
        record(mine, 3)
        record(renamed, 2)  # it stays open for its caller
        record(new)
        new.flush()
        assert store.space("y", config=QUIET) is renamed
        assert store.space("x", config=QUIET) is mine
        assert (renamed.metrics()["space"], mine.metrics()["space"]) == ("y", "x")
        other.rename_space("y", "z")
        store.remove_space("x")
        assert mine.is_closed
        assert not renamed.is_closed
    assert renamed.is_closed
    assert stored(database_url) == {"z": 2}


def test_an_engine_hears_that_its_space_was_renamed_elsewhere(database_url: str) -> None:
    with SonaEngine(DIM, database_url, "a", config=QUIET) as engine, Store(database_url) as other:
        other.rename_space("a", "b")
        while json.loads(engine.get_stats())["space"] != "b":
            threading.Event().wait(0.005)


def test_a_name_that_two_spaces_have_exchanged_means_the_other_one(database_url: str) -> None:
    with Store(database_url) as store, Store(database_url) as other:
        a, b = (store.space(name, config=QUIET) for name in "ab")
        for name, new_name in ("ac", "ba", "cb"):
            other.rename_space(name, new_name)
        assert (store.space("a", config=QUIET), store.space("b", config=QUIET)) == (b, a)
        store.rename_space("a", "c")
        record(store.space("c", config=QUIET))
        assert not a.is_closed
    assert stored(database_url) == {"b": 0, "c": 1}


def test_a_space_that_was_removed_elsewhere_is_opened_anew(database_url: str) -> None:
    with Store(database_url) as store, Store(database_url) as other:
        removed = store.space("a", config=QUIET)
        record(removed)
        removed.flush()
        other.remove_space("a")
        with pytest.raises(NotFound, match="there is no space 'a'"):
            store.space("a", config=QUIET, create=False)
        new = store.space("a", config=QUIET)
        assert new is not removed
        record(new, 2)
        new.flush()
        assert store.space("a", config=QUIET) is new
        other.remove_space("a")  # neither engine has unwritten records: closing the store raises nothing
    assert removed.is_closed
    assert new.is_closed
    assert stored(database_url) == {}


def test_a_space_that_was_removed_elsewhere_long_ago_is_opened_anew(database_url: str) -> None:
    with Store(database_url) as store, Store(database_url) as other:
        removed = store.space("a", config=QUIET)
        other.remove_space("a")
        follower = removed._session.runtime.follower
        while follower.follows(removed._session):
            threading.Event().wait(0.005)
        follower.last_contact -= 60.0  # nothing else is open: the database is asked nothing
        assert store.space("a", config=QUIET) is not removed


def test_a_store_gives_its_engines_while_the_database_is_away(proxy: Proxy) -> None:
    with Store(proxy.url) as store:
        engine = store.space("a", config=QUIET)
        proxy.refuse()
        assert store.space("a", config=QUIET) is engine
        proxy.accept()
