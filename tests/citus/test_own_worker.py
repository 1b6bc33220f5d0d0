"""Recording to the worker that has the space, while its shards move, and while another worker is dead."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np
import psycopg
import pytest
from sqlalchemy import make_url

from docker import from_env
from sona_pg import IngestConfig, LoopConfig, SonaConfig, SonaEngine
from sona_pg.errors import DatabaseUnavailable

pytestmark = pytest.mark.citus

DIM = 16
QUERIES = np.random.default_rng(0).standard_normal((100, DIM)).astype(np.float32)
NODE_OF = """
SELECT n.nodename FROM pg_dist_placement p JOIN pg_dist_node n USING (groupid)
WHERE p.shardid = get_shard_id_for_distribution_column('sona.trajectories', %s)
"""


def engine_at(url: str, space: str) -> SonaEngine:
    config = SonaConfig(hidden_dim=DIM, loops=LoopConfig(automatic=False), ingest=IngestConfig(when_full="wait"))
    return SonaEngine(DIM, url, space, config=config)


def record(engine: SonaEngine, n: int) -> None:
    for row in range(n):
        trajectory = engine.begin_trajectory(QUERIES[row % len(QUERIES)])
        engine.add_step(trajectory, QUERIES[row % len(QUERIES)], None, 0.5)
        engine.end_trajectory(trajectory, 0.5)


def number_of(engine: SonaEngine) -> int:
    with psycopg.connect(engine.url) as connection:
        name = engine.metrics()["space"]
        row = connection.execute("SELECT space_id FROM sona.spaces WHERE name = %s", [name]).fetchone()
        assert row is not None
        return int(row[0])


def node_of(url: str, space_id: int) -> str:
    with psycopg.connect(url) as connection:
        row = connection.execute(NODE_OF, [space_id]).fetchone()
        assert row is not None
        return str(row[0])


def stored(url: str, space_id: int) -> tuple[int, int, int, int]:
    """Trajectories, steps, trajectories by batches, trajectories by the server's counter."""
    with psycopg.connect(url) as connection:
        asked = [
            "SELECT count(*) FROM sona.trajectories",
            "SELECT count(*) FROM sona.steps",
            "SELECT sum(trajectories) FROM sona.batches",
            "SELECT sum(trajectories) FROM sona.servers",
        ]
        rows = [connection.execute(f"{query} WHERE space_id = %s", [space_id]).fetchone() for query in asked]
        return tuple(int(row[0]) for row in rows if row is not None)  # type: ignore[return-value]


def test_a_batch_goes_to_the_worker_of_its_space(database_url: str) -> None:
    with engine_at(database_url, "direct") as engine:
        record(engine, 50)
        engine.flush()
        space = number_of(engine)
        assert stored(database_url, space) == (50, 50, 50, 50)
        there = make_url(database_url).set(host=node_of(database_url, space))
        with psycopg.connect(there.render_as_string(hide_password=False)) as worker:
            used = worker.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND application_name LIKE 'sona-pg%' AND pid <> pg_backend_pid()"
            ).fetchone()
        assert used is not None
        assert used[0] >= 1


@pytest.mark.parametrize("mode", ["force_logical", "block_writes"])
def test_nothing_is_lost_while_shards_move(database_url: str, mode: str) -> None:
    with engine_at(database_url, "moving") as engine, psycopg.connect(database_url, autocommit=True) as administrator:
        space = number_of(engine)
        record(engine, 10)
        engine.flush()
        done, recorded = threading.Event(), [10]

        def load() -> None:
            while not done.is_set():
                with suppress(DatabaseUnavailable):  # not taken: on a busy machine a move holds writes up for long
                    record(engine, 1)
                    recorded[0] += 1
                time.sleep(0.0002)

        thread = threading.Thread(target=load)
        thread.start()
        try:
            for _ in range(2):
                before = node_of(database_url, space)
                row = administrator.execute(
                    "SELECT nodename FROM pg_dist_node WHERE shouldhaveshards AND nodename <> %s", [before]
                ).fetchone()
                assert row is not None
                administrator.execute(
                    "SELECT citus_move_shard_placement(get_shard_id_for_distribution_column('sona.spaces', %s),"
                    " %s, 5432, %s, 5432, shard_transfer_mode => %s)",
                    [space, before, row[0], mode],
                )
                assert node_of(database_url, space) == row[0]
        finally:
            done.set()
            thread.join()
        engine.flush(60)
        assert stored(database_url, space) == (recorded[0],) * 4


@contextmanager
def killed(address: str) -> Iterator[None]:
    """A container that is dead while the block runs, and answers again after it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        client = from_env(timeout=60)
        [node] = [
            container
            for container in client.containers.list()
            if address in {of["IPAddress"] for of in container.attrs["NetworkSettings"]["Networks"].values()}
        ]
        node.kill()
        try:
            yield
        finally:
            node.start()
            deadline = time.monotonic() + 60
            while node.exec_run(["pg_isready", "-q", "-h", address]).exit_code:
                assert time.monotonic() < deadline, f"{address} does not answer again"
                time.sleep(0.1)
            client.close()


def test_a_dead_worker_harms_no_space_of_another_and_its_records_wait(database_url: str) -> None:
    engines = [engine_at(database_url, f"s{number}") for number in range(6)]
    try:
        numbers = [number_of(engine) for engine in engines]
        nodes = [node_of(database_url, number) for number in numbers]
        dead = nodes[0]
        assert len(set(nodes)) == 2
        for engine in engines:
            record(engine, 10)
            engine.flush(30)
        with killed(dead):
            for engine in engines:
                record(engine, 30)
            for engine, number, node in zip(engines, numbers, nodes, strict=True):
                if node != dead:
                    engine.flush(30)
                    assert stored(database_url, number) == (40,) * 4
                    assert engine.force_learn().version == 1
            with pytest.raises(DatabaseUnavailable):
                engines[0].flush(1)
        for engine, number in zip(engines, numbers, strict=True):
            engine.flush(60)
            assert stored(database_url, number) == (40,) * 4
        assert engines[0].force_learn().version == 1
    finally:
        for engine in engines:
            engine.close()
