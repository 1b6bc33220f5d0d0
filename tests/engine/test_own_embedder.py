"""A space knows its embedder by the vector of a fixed text, and refuses another model of the same dimension."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import LoopConfig
from sona_pg.engine import text_calls
from sona_pg.errors import EmbedderChanged
from sona_pg.store.database import Database
from sona_pg.text import CallableEmbedder
from sona_pg.worker.reembedding import reembed

DIM = 16
CONFIG = SonaConfig(loops=LoopConfig(automatic=False))


def first(texts: list[str]) -> np.ndarray:
    return np.stack([np.random.default_rng(sum(text.encode())).standard_normal(DIM) for text in texts])


def second(texts: list[str]) -> np.ndarray:
    """Embed as another model of the same dimension."""
    return first(texts)[:, ::-1]


def retrained(texts: list[str]) -> np.ndarray:
    """Embed as ``first`` does on other hardware, with longer vectors."""
    return 3.0 * first(texts).astype(np.float16)


def open_with(url: str, function, **how) -> SonaEngine:
    return SonaEngine(DIM, url, config=CONFIG, embedder=CallableEmbedder(function, DIM), **how)


def test_an_engine_with_another_model_is_refused(database_url):
    with open_with(database_url, first) as engine:
        engine.process("where is my parcel?")
    with pytest.raises(EmbedderChanged, match=r"space 'default' learns with another embedding model.*space reembed"):
        open_with(database_url, second)
    with open_with(database_url, retrained) as engine:
        engine.process("where is my parcel?")


def test_after_a_reembedding_the_new_model_is_the_spaces_own(database_url):
    with open_with(database_url, first) as engine:
        engine.process("where is my parcel?")
    database = Database.open(database_url, "check")
    reembed(database, "default", second, DIM)
    database.close()
    with open_with(database_url, second) as engine:
        assert engine.embed(["a"]).shape == (1, DIM)
    with pytest.raises(EmbedderChanged):
        open_with(database_url, first)


def test_a_reembedding_begun_with_one_model_is_not_ended_with_another(database_url):
    def breaks(texts: list[str]) -> np.ndarray:
        if "where is my parcel?" in texts:
            raise ConnectionError("the model went away")
        return second(texts)

    with open_with(database_url, first) as engine:
        engine.process("where is my parcel?")
    database = Database.open(database_url, "check")
    with pytest.raises(ConnectionError):
        reembed(database, "default", breaks, DIM)
    with pytest.raises(EmbedderChanged, match="default~next"):
        reembed(database, "default", lambda texts: first(texts) ** 3, DIM)
    assert reembed(database, "default", second, DIM).trajectories == 1
    database.close()


def test_without_an_embedder_nothing_is_compared_but_text_is_refused(database_url, monkeypatch):
    monkeypatch.setattr(text_calls, "default_embedder", lambda: CallableEmbedder(second, DIM))
    with open_with(database_url, first):
        pass
    with SonaEngine(DIM, database_url, config=CONFIG) as engine:
        engine.end_trajectory(engine.begin_trajectory(np.ones(DIM)))
        for _ in range(2):
            with pytest.raises(EmbedderChanged):
                engine.process("where is my parcel?")


def test_the_default_embedder_is_a_new_spaces_own_and_never_that_of_learned_vectors(database_url, monkeypatch):
    monkeypatch.setattr(text_calls, "default_embedder", lambda: CallableEmbedder(first, DIM))
    with SonaEngine(DIM, database_url, "texts", config=CONFIG) as engine:
        engine.process("where is my parcel?")
        engine.force_learn()
    with pytest.raises(EmbedderChanged):
        open_with(database_url, second, space="texts")
    with SonaEngine(DIM, database_url, "vectors", config=CONFIG) as engine:
        engine.end_trajectory(engine.begin_trajectory(np.ones(DIM)))
        engine.force_learn()
        engine.embed(["where is my parcel?"])
        engine.refresh()
    with open_with(database_url, second, space="vectors"):
        pass


def test_an_engine_opened_without_the_database_says_later_that_its_model_is_another_one(database_url, proxy, caplog):
    with open_with(database_url, first):
        pass
    proxy.refuse()
    with open_with(proxy.url, second) as engine:
        engine.process("where is my parcel?")
        proxy.accept()
        with caplog.at_level(logging.ERROR):
            engine.refresh()
        assert "learns with another embedding model" in caplog.text
