"""Ids that are made up for each request: a space takes so many candidates and no more."""

from __future__ import annotations

import logging

import numpy as np
import psycopg
import pytest
from fix_ingest import DIM as SPACE_DIM
from fix_ingest import SPACE, Space

from sona_pg import SonaConfig, SonaEngine, limits
from sona_pg.config import IngestConfig, LoopConfig
from sona_pg.errors import InvalidValue
from sona_pg.ingest import candidate_log
from sona_pg.ingest.candidate_rows import Candidates
from sona_pg.ingest.commit import Origin
from sona_pg.serving.overlay import Overlay

DIM = 8
MOST = 5
ROWS = np.random.default_rng(0).standard_normal((8, DIM))
NAMES = [f"id-{number}" for number in range(8)]
QUIET = SonaConfig(loops=LoopConfig(automatic=False, poll_interval=60.0))


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_CANDIDATES", MOST)


def stored(url: str) -> int:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT count(*) FROM sona.candidates").fetchone()[0]


def test_new_candidates_beyond_the_bound_are_refused_by_name(database_url: str) -> None:
    with SonaEngine(DIM, database_url, config=QUIET) as engine:
        engine.remember(NAMES[:3], ROWS[:3])
        with pytest.raises(InvalidValue, match="3 candidates are new, 'id-3' first"):
            engine.remember(NAMES[:6], ROWS[:6])
        engine.flush()
        engine.end_trajectory(engine.begin_trajectory(ROWS[0], ranking=engine.rank(ROWS[0], ids=NAMES[:3])), 0.5)
        engine.force_learn()
        engine.remember(NAMES[:5], ROWS[:5])
        with pytest.raises(InvalidValue, match="id-5"):
            engine.rank(ROWS[0], ROWS[4:6], ids=NAMES[4:6])
        with pytest.raises(InvalidValue, match="id-6"):
            engine.begin_trajectory(ROWS[0], candidates={NAMES[6]: ROWS[6]})
        engine.remember(NAMES[:5], ROWS[3:])  # known ones get new embeddings
        assert engine.rank(ROWS[0], ROWS[:5], ids=NAMES[:5]).ids
        engine.flush()
    assert stored(database_url) == MOST


@pytest.mark.parametrize("durability", ["memory", "spool"])
def test_the_limit_holds_for_servers_that_know_nothing_of_each_other(
    database_url: str,
    durability: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(Overlay, "require_room", lambda self, names: None)  # servers that know nothing of each other
    config = SonaConfig(loops=QUIET.loops, ingest=IngestConfig(durability=durability))
    with SonaEngine(DIM, database_url, config=config) as engine:
        engine.remember(NAMES[:4], ROWS[:4])
        engine.flush()
        with caplog.at_level(logging.ERROR, "sona_pg"):
            ranking = engine.rank(ROWS[0], ROWS, ids=NAMES)
            for _ in range(3):
                trajectory = engine.begin_trajectory(ROWS[0], ranking=ranking)
                engine.set_trajectory_route(trajectory, NAMES[7])
                engine.end_trajectory(trajectory, 1.0)
            engine.flush()
        assert "3 candidates are left out" in caplog.text
        assert stored(database_url) == MOST
        assert engine.force_learn().learned
        assert engine.rebuild().equal


def test_a_replay_adds_no_more(space: Space) -> None:
    rows = [Candidates(tuple(NAMES[at : at + 4]), np.ones((4, SPACE_DIM), np.float32)) for at in (0, 4)]
    with psycopg.connect(space.url) as raw:
        for number in (1, 2):
            candidate_log.store(raw, Origin(SPACE, space.server_id), number, rows)
            raw.commit()
    assert space.rows("SELECT candidate_id FROM sona.candidates ORDER BY 1") == [(name,) for name in NAMES[:MOST]]
