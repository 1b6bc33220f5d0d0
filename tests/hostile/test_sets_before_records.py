"""A record is committed after the candidates and the set it names, or names none: learning and rebuild agree."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import psycopg
import pytest
from fix_ingest import DIM, Space
from fix_proxy import Proxy

from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import IngestConfig, LoopConfig, MaintenanceConfig
from sona_pg.ingest import Writer
from sona_pg.recorder import HotPath

OpenWriter = Callable[..., Writer]
Record = Callable[..., uuid.UUID]

WITHOUT_SET = """
SELECT count(*) FROM sona.trajectories t
LEFT JOIN sona.candidate_sets s ON s.space_id = t.space_id AND s.set_id = t.candidate_set
CROSS JOIN LATERAL (SELECT * FROM unnest(coalesce(s.candidate_ids, ARRAY['none'])) AS u (candidate_id)) AS named
LEFT JOIN sona.candidates c ON c.space_id = t.space_id AND c.candidate_id = named.candidate_id
WHERE t.candidate_set IS NOT NULL AND (s.set_id IS NULL OR c.candidate_id IS NULL)
"""
X = np.ones(DIM, np.float32)


def record_with_a_set(hot: HotPath, writer: Writer, number: int) -> None:
    """Do as a ranking does: queue the candidates and their set, then the record that names it."""
    assert writer.enqueue_candidates([f"c{number}"], X[None])
    assert writer.enqueue_candidate_set(number, [f"c{number}"])
    ranking = SimpleNamespace(version=0, candidate_set=number)
    hot.end_trajectory(hot.begin_trajectory(X, ranking=ranking), 0.5)


def test_records_made_while_a_batch_is_taken_wait_for_their_set(
    hot: HotPath, space: Space, open_writer: OpenWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = open_writer(hot, flush_interval=60)
    take, committed, missing = writer._source.take, writer._source.committed, []
    numbers = iter(range(1, 6))

    def take_what_has_just_come(batch: int) -> object:
        if (number := next(numbers, None)) is not None:
            record_with_a_set(hot, writer, number)
        return take(batch)

    def look(batch: object) -> None:
        missing.append(space.rows(WITHOUT_SET)[0][0])
        committed(batch)  # type: ignore[arg-type]

    monkeypatch.setattr(writer._source, "take", take_what_has_just_come)
    monkeypatch.setattr(writer._source, "committed", look)
    for _ in range(5):
        record_with_a_set(hot, writer, 100)
        writer.flush(10)
    assert missing
    assert set(missing) == {0}


def test_the_batch_encoded_ahead_waits_for_its_set_too(space: Space, open_writer: OpenWriter, proxy: Proxy) -> None:
    """During the first batch's write so many records arrive that the next is taken before its commit."""
    hot = HotPath(DIM, 20_000, 8 << 20)
    writer = open_writer(hot, url=proxy.url, flush_interval=60)
    missing = []

    def meanwhile() -> None:
        for number in range(1, 1500):
            record_with_a_set(hot, writer, number)

    proxy.on(b"COPY sona.trajectories", meanwhile)
    committed = writer._source.committed

    def look(batch: object) -> None:
        missing.append(space.rows(WITHOUT_SET)[0][0])
        committed(batch)  # type: ignore[arg-type]

    writer._source.committed = look  # type: ignore[method-assign]
    record_with_a_set(hot, writer, 0)
    writer.flush(20)
    writer.flush(20)  # records from the first batch's wait
    assert set(missing) == {0}
    assert space.count("trajectories") == space.count("candidate_sets") == 1500


def test_learners_never_meet_a_set_that_is_missing(database_url: str) -> None:
    config = SonaConfig(
        loops=LoopConfig(automatic=False, poll_interval=60),
        maintenance=MaintenanceConfig(automatic=False),
        ingest=IngestConfig(flush_interval=0.001),
    )
    rng = np.random.default_rng(0)
    missing: list[int] = []
    stop = threading.Event()
    with SonaEngine(DIM, database_url, config=config) as engine, SonaEngine(DIM, database_url, config=config) as other:

        def record(name: str) -> None:
            turn = 0
            while not stop.is_set():
                turn += 1
                ids = [f"{name}-{turn}-{row}" for row in range(4)]
                rows = rng.standard_normal((4, DIM)).astype(np.float32)
                ranking = engine.rank(rows[0], rows, ids=ids)
                trajectory = engine.begin_trajectory(rows[0], ranking=ranking)
                engine.set_trajectory_route(trajectory, ranking.ids[0])
                engine.end_trajectory(trajectory, 1.0)
                stop.wait(0.02)

        def look() -> None:
            with psycopg.connect(database_url, autocommit=True) as looking:
                while not stop.wait(0.01):
                    missing.extend(row[0] for row in looking.execute(WITHOUT_SET))

        threads = [threading.Thread(target=record, args=[name]) for name in "ab"]
        threads.append(threading.Thread(target=look))
        for thread in threads:
            thread.start()
        try:
            for _ in range(4):
                other.force_learn()
                stop.wait(0.1)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        engine.force_learn()
        assert set(missing) == {0}
        assert engine.rebuild().equal


def test_where_there_is_no_room_a_record_names_no_set(database_url: str, proxy: Proxy) -> None:
    config = SonaConfig(
        loops=LoopConfig(automatic=False, poll_interval=60),
        maintenance=MaintenanceConfig(automatic=False),
        ingest=IngestConfig(buffer_bytes=1 << 16, flush_interval=0.01),
    )
    rows = np.eye(4, DIM, dtype=np.float32)
    with SonaEngine(DIM, proxy.url, config=config) as engine:
        proxy.refuse()
        rankings = [engine.rank(rows[0], rows, ids=[f"{turn}-{row}" for row in range(4)]) for turn in range(200)]
        decision = engine.route(rows[0], [f"{'x' * 900}-{row}" for row in range(10)])
        assert rankings[0].candidate_set is not None
        assert (rankings[-1].candidate_set, decision.candidate_set) == (None, None)
        for ranking in rankings[-20:]:
            engine.end_trajectory(engine.begin_trajectory(rows[0], ranking=ranking), 0.5)
        candidates = {f"more-{row}": rows[row] for row in range(4)}
        engine.end_trajectory(engine.begin_trajectory(rows[0], candidates=candidates), 0.5)
        proxy.accept()
        engine.flush(20)
        with psycopg.connect(database_url) as connection:
            named = connection.execute("SELECT count(*), count(candidate_set) FROM sona.trajectories").fetchone()
        assert named == (21, 0)
        assert engine.rank(rows[0], rows, ids=[f"199-{row}" for row in range(4)]).candidate_set is not None


def test_a_reused_set_is_updated_once_a_day(
    hot: HotPath, space: Space, open_writer: OpenWriter
) -> None:  # fmt: skip
    writer = open_writer(hot)
    age = "SELECT now() - named_at < interval '1 hour' FROM sona.candidate_sets"

    def name() -> bool:
        writer.enqueue_candidate_set(1, ["a"])
        writer.flush(5)
        return bool(space.rows(age)[0][0])

    assert name()
    before = space.rows("SELECT named_at FROM sona.candidate_sets")
    assert name()
    assert space.rows("SELECT named_at FROM sona.candidate_sets") == before
    space.execute("UPDATE sona.candidate_sets SET named_at = now() - interval '1 day'")
    assert name()
