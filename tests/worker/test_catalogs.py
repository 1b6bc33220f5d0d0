"""Catalogs: read once, then only new or changed candidates; sets that stand for all candidates are not read."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import psycopg
import pytest

from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import BaseConfig, LoopConfig
from sona_pg.domain.catalog import Catalog
from sona_pg.domain.ids import uuid7
from sona_pg.store import candidates
from sona_pg.worker.cache_shelf import bytes_of

DIM = 8
CONFIG = SonaConfig(hidden_dim=DIM, base=BaseConfig(rank=2, layers=1), loops=LoopConfig(automatic=False, replay=50))
ROWS = np.random.default_rng(0).standard_normal((40, DIM)).astype(np.float32)
IDS = [f"d{row:02}" for row in range(40)]


@pytest.fixture
def engine(database_url: str) -> Iterator[SonaEngine]:
    with SonaEngine(DIM, database_url, config=CONFIG) as opened:
        yield opened


def ask(engine: SonaEngine, n: int = 5, seed: int = 1) -> None:
    for query in np.random.default_rng(seed).standard_normal((n, DIM)).astype(np.float32):
        handle = engine.begin_trajectory(query, ranking=engine.rank(query, ids=IDS[:4]))
        engine.set_trajectory_route(handle, IDS[0])
        engine.end_trajectory(handle, 1.0)


def stored(engine: SonaEngine) -> Catalog:
    session = engine._session
    with session.database.learning_unit(session.space, uuid7()) as unit:
        return unit.candidates()


def test_a_learner_reads_only_candidates_that_are_new_to_it(engine, monkeypatch):
    engine.remember(IDS[:10], ROWS[:10])
    ask(engine)
    engine.force_learn()
    read = []
    usual = candidates._read

    def counted(*arguments):
        read.append(len(found := usual(*arguments)))
        return found

    monkeypatch.setattr(candidates, "_read", counted)
    engine.remember(IDS[10:13], ROWS[10:13])
    ask(engine, seed=2)
    assert engine.force_learn().candidates == 13
    assert sum(read) <= 2 * 3  # by the overlay of the server, then by the learner
    assert engine.rebuild().equal


def test_an_embedding_that_was_replaced_reaches_learners_and_servers(engine, database_url):
    with SonaEngine(DIM, database_url, config=CONFIG) as other:
        engine.remember(IDS, ROWS)
        ask(engine)
        engine.force_learn()
        other.refresh()
        engine.remember(IDS[:1], -ROWS[:1])
        engine.flush()
        ask(engine, seed=2)
        engine.force_learn()
        other.refresh()
        for serving in (engine, other):
            kept = serving._session.serving.catalog
            np.testing.assert_array_equal(kept.halves[kept.index[IDS[0]]], (-ROWS[0]).astype(np.float16))
        fresh = stored(engine)
        ours = engine._session._background.cache.catalog
        assert ours.ids == fresh.ids
        np.testing.assert_array_equal(ours.embeddings, fresh.embeddings)
    with psycopg.connect(database_url) as connection:
        changed = connection.execute("SELECT candidate_id FROM sona.candidates WHERE changed_at IS NOT NULL")
        assert changed.fetchall() == [(IDS[0],)]


def test_server_and_learner_share_the_embeddings_and_only_the_learner_has_unit_rows(engine):
    engine.remember(IDS, ROWS)
    ask(engine)
    engine.force_learn()
    served, learned = engine._session.serving.catalog, engine._session._background.cache.catalog
    assert served.halves is learned.halves
    assert served.ids is learned.ids
    assert "embeddings" in vars(learned)
    assert "embeddings" not in vars(served)
    assert bytes_of(learned) >= bytes_of(served) + learned.embeddings.nbytes


def test_a_catalog_read_in_parts_is_the_same(engine, monkeypatch):
    engine.remember(IDS, ROWS)
    ask(engine)
    engine.force_learn()
    whole = stored(engine)
    monkeypatch.setattr(candidates, "BYTES_AT_ONCE", 1)
    parts = stored(engine)
    assert parts.ids == whole.ids == IDS
    np.testing.assert_array_equal(parts.halves, whole.halves)


def test_ids_of_a_set_that_stands_for_all_are_not_read(engine, database_url, monkeypatch):
    monkeypatch.setattr(candidates, "LARGEST_TABLE", 3)
    engine.remember(IDS, ROWS)
    ask(engine)
    engine.flush()
    session = engine._session
    with psycopg.connect(database_url) as connection:
        sets = [number for (number,) in connection.execute("SELECT set_id FROM sona.candidate_sets")]
    with session.database.learning_unit(session.space, uuid7()) as unit:
        assert list(unit.candidate_sets(sets).values()) == [[]]


def test_slots_are_given_without_nested_loops_whatever_the_planner_knows(engine, database_url):
    """The table may have been empty when it was analysed."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("ANALYZE sona.candidates")
        connection.execute(
            "INSERT INTO sona.candidates (space_id, candidate_id, recorded_at, embedding)"
            " SELECT 1, 'c' || n, now(), '[1,0,0,0,0,0,0,0]' FROM generate_series(1, 1500) n"
        )
        with connection.transaction():
            connection.execute(candidates.NO_NESTED_LOOPS)
            names = [name for (name,) in connection.execute("SELECT candidate_id FROM sona.candidates")]
            values = {"space": 1, "ids": names, "slots": list(range(len(names)))}
            plan = connection.execute("EXPLAIN " + candidates.ASSIGN_SLOTS, values).fetchall()
    assert "Nested Loop" not in str(plan)
    assert len(stored(engine)) == 1500


def test_unit_rows_do_not_depend_on_their_neighbours():
    whole = Catalog.of(IDS, ROWS)
    grown = Catalog.of(IDS[:7], ROWS[:7])
    assert grown.embeddings.shape == (7, DIM)
    grown = grown.followed_by(whole)
    np.testing.assert_array_equal(grown.embeddings[:], whole.embeddings[:])
    np.testing.assert_array_equal(whole.first(9).embeddings[:], whole.embeddings[:9])
    blank = Catalog.of(["zero"], np.zeros((1, DIM)))
    assert not blank.embeddings[:].any()
    np.testing.assert_allclose(np.linalg.norm(whole.embeddings[:], axis=1), 1.0, atol=1e-6)
