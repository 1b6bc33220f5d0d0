"""A store that is replaced under a running engine, by one in which another space has its number."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psycopg
import pytest

from sona_pg import SonaConfig, SonaEngine, Store
from sona_pg.config import IngestConfig, LoopConfig, MaintenanceConfig
from sona_pg.errors import SpaceRemoved, TrajectoryError
from sona_pg.store.database import Database
from sona_pg.worker.store_worker import StoreWorker

DIM = 8
X = np.ones(DIM, np.float32)
# What a restore leaves of spaces 1 and 2 whose dump has them in the other order.
SWAPPED = """
UPDATE sona.space_names SET name = name || '~';
UPDATE sona.space_names SET name = CASE name WHEN 'acme~' THEN 'globex' ELSE 'acme' END;
UPDATE sona.spaces AS s SET name = s.name || '~';
UPDATE sona.spaces AS s SET name = CASE s.name WHEN 'acme~' THEN 'globex' ELSE 'acme' END, created_at = o.created_at
FROM sona.spaces AS o WHERE o.space_id <> s.space_id;
"""


def quiet(poll: float, durability: str = "memory") -> SonaConfig:
    return SonaConfig(
        loops=LoopConfig(automatic=False, poll_interval=poll),
        maintenance=MaintenanceConfig(automatic=False),
        ingest=IngestConfig(flush_interval=60, durability=durability),  # type: ignore[arg-type]
    )


def record(engine: SonaEngine, n: int = 3) -> None:
    for _ in range(n):
        engine.end_trajectory(engine.begin_trajectory(X), 0.5)


def swap(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(SWAPPED)


def rows(url: str) -> dict[str, int]:
    with psycopg.connect(url) as connection:
        counted = (
            "SELECT s.name, count(t.id) FROM sona.spaces s LEFT JOIN sona.trajectories t USING (space_id) GROUP BY 1"
        )
        return dict(connection.execute(counted).fetchall())


def until(condition: Callable[[], bool]) -> None:
    while not condition():
        threading.Event().wait(0.005)


@pytest.mark.parametrize("durability", ["memory", "spool"])
def test_records_of_a_replaced_space_are_kept_and_never_another_ones(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durability: str
) -> None:
    monkeypatch.setenv("SONA_PG_HOME", str(tmp_path))
    with SonaEngine(DIM, database_url, "globex", config=quiet(60)):
        pass
    config = quiet(60, durability)  # no poll comes before the writer
    engine = SonaEngine(DIM, database_url, "acme", config=config)
    record(engine)
    engine.remember(["secret of acme"], X[None])
    swap(database_url)
    with pytest.raises(SpaceRemoved, match="'acme' is not in this store any more: a restore gave its number"):
        engine.flush()
    with pytest.raises(TrajectoryError, match="a restore gave its number"):
        record(engine)
    with pytest.raises(SpaceRemoved, match=r"3 records that waited are kept: they are in .*spool"):
        engine.close()
    assert rows(database_url) == {"acme": 0, "globex": 0}
    swap(database_url)  # the right store is back
    with SonaEngine(DIM, database_url, "acme", config=config) as again:
        again.flush()
        assert rows(database_url) == {"acme": 3, "globex": 0}
    with psycopg.connect(database_url) as connection:
        asked = "SELECT s.name, c.candidate_id FROM sona.candidates c JOIN sona.spaces s USING (space_id)"
        assert connection.execute(asked).fetchall() == [("acme", "secret of acme")]


def test_a_poll_stops_an_engine_whose_number_another_space_has(database_url: str) -> None:
    with Store(database_url) as store:
        globex, acme = (store.space(name, DIM, config=quiet(0.02)) for name in ("globex", "acme"))
        record(globex)
        globex.flush()
        follower = acme._session.runtime.follower
        until(lambda: follower.follows(acme._session))
        swap(database_url)
        until(lambda: not follower.follows(acme._session))
        for asked in (lambda: acme.search(X, 1), acme.force_learn, acme.budget, acme.refresh):
            with pytest.raises(SpaceRemoved, match="a restore gave its number"):
                asked()
        with pytest.raises(TrajectoryError, match="a restore gave its number"):
            record(acme)


def test_a_store_gives_the_space_of_a_name_and_not_of_its_old_number(database_url: str) -> None:
    with Store(database_url) as store:
        globex, acme = (store.space(name, DIM, config=quiet(60)) for name in ("globex", "acme"))
        swap(database_url)
        new = store.space("acme", DIM, config=quiet(60))
        assert new not in (globex, acme)
        assert new.space_id == 1
        record(new)
        new.flush()
    assert rows(database_url) == {"acme": 3, "globex": 0}


def test_a_worker_begins_anew_with_a_space_that_is_another_one(database_url: str) -> None:
    with Store(database_url) as store:
        for name in ("kept", "replaced"):
            store.space(name, DIM, config=quiet(60)).close()
    database = Database.open(database_url)
    worker = StoreWorker(database)
    try:
        worker.list_spaces()
        before = {space.name: coordinator for space, coordinator in worker._spaces.values()}
        with psycopg.connect(database_url) as connection:
            connection.execute("UPDATE sona.spaces SET created_at = '2020-01-01' WHERE name = 'replaced'")
        worker.list_spaces()
        after = {space.name: coordinator for space, coordinator in worker._spaces.values()}
        assert after["kept"] is before["kept"]
        assert after["replaced"] is not before["replaced"]
    finally:
        worker.end()
        database.close()
