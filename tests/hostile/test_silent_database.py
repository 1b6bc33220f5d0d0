"""A connected but silent database delays no close, no figures and no other server."""

from __future__ import annotations

import threading

import numpy as np
import psycopg
import pytest
from fix_proxy import Proxy

from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import LoopConfig
from sona_pg.engine import figures, follower
from sona_pg.errors import DatabaseUnavailable
from sona_pg.store import database

DIM = 8
CONFIG = SonaConfig(loops=LoopConfig(automatic=False, poll_interval=0.1))


def test_figures_say_that_it_is_silent_instead_of_waiting(proxy: Proxy, monkeypatch):
    monkeypatch.setattr(figures, "SILENT_FOR", 0.2)
    monkeypatch.setattr(database, "BRIEF", 0.5)
    with SonaEngine(DIM, proxy.url, config=CONFIG) as engine:
        proxy.stall()
        silent = threading.Event()
        while not silent.wait(0.05):
            if "nothing was heard" in engine.metrics()["database"]:
                silent.set()
        proxy.resume()
        engine.flush()
        while engine.metrics()["database"] != "answers":
            silent.wait(0.01)


def test_a_brief_call_is_given_up(proxy: Proxy, monkeypatch):
    monkeypatch.setattr(database, "BRIEF", 0.3)
    with SonaEngine(DIM, proxy.url, config=CONFIG) as engine:
        proxy.stall()
        with pytest.raises(DatabaseUnavailable):
            engine._session.database.live_version(engine._session.space)
        proxy.resume()


def test_closing_ends_unanswered_calls(proxy: Proxy, monkeypatch):
    monkeypatch.setattr(follower, "PATIENCE", 0.2)
    monkeypatch.setattr(database, "BRIEF", 0.5)
    engine = SonaEngine(DIM, proxy.url, config=CONFIG)
    proxy.stall()
    closed = threading.Thread(target=engine.close)
    closed.start()
    closed.join(30)
    assert not closed.is_alive()
    proxy.resume()


def test_a_lock_on_the_spaces_row_holds_up_no_close(database_url, monkeypatch):
    """As held by a learner of the last release, stopped in the middle of its cycle."""
    monkeypatch.setattr(follower, "PATIENCE", 0.2)
    engine = SonaEngine(DIM, database_url, config=CONFIG)
    engine.end_trajectory(engine.begin_trajectory(np.ones(DIM, np.float32)), 0.5)
    engine.flush()
    with psycopg.connect(database_url) as connection:
        connection.execute("SELECT FROM sona.spaces FOR UPDATE")
        learning = threading.Thread(target=learn_in_vain, args=[engine])
        learning.start()
        while not connection.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone()[0]:
            pass
        engine._session.database.cut()
        learning.join(30)
        assert not learning.is_alive()
        engine.close()


def learn_in_vain(engine: SonaEngine) -> None:
    with pytest.raises(DatabaseUnavailable):
        engine.force_learn()
