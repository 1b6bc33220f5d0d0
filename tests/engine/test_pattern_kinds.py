"""A space learns from its embedder how to tell kinds of patterns, once; learners and rebuilds need no embedder."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import LoopConfig, PatternConfig
from sona_pg.domain.ids import uuid7
from sona_pg.domain.pattern import KINDS
from sona_pg.errors import LearningConflict
from sona_pg.store.database import Database
from sona_pg.text import CallableEmbedder
from sona_pg.text.kind_examples import EXAMPLES

DIM = 16
CONFIG = SonaConfig(loops=LoopConfig(automatic=False), patterns=PatternConfig(clusters=6, min_size=1))
PLACES = np.linalg.qr(np.random.default_rng(0).standard_normal((DIM, DIM)))[0][:6].astype(np.float32)
KIND_OF = {text: kind for kind, texts in EXAMPLES.items() for text in texts}


def embed(texts: list[str]) -> np.ndarray:
    """Embed the examples beside their kind's place, and "-kind- number" as well, as if it were another language."""
    rows = []
    for text in texts:
        noise = np.random.default_rng(sum(text.encode())).standard_normal(DIM)
        kind = KIND_OF.get(text) or text.split()[0].strip("-")
        rows.append(PLACES[KINDS.index(kind)] + 0.05 * noise)
    return np.array(rows, np.float32)


EMBEDDER = CallableEmbedder(embed, DIM)


def ask(engine: SonaEngine) -> None:
    for kind in KINDS:
        for number in range(4):
            engine.end_trajectory(engine.begin_trajectory(embed([f"-{kind}- {number}"])[0], query="kérdés"))


def kinds(engine: SonaEngine) -> list[str]:
    return [engine.find_patterns(place, 1)[0].kind for place in PLACES]


def test_kinds_are_told_by_the_embedder_and_learned_without_it(database_url):
    with SonaEngine(DIM, database_url, config=CONFIG) as plain:
        ask(plain)
        plain.force_learn()
        assert set(kinds(plain)) == {"general"}
        with SonaEngine(DIM, database_url, config=CONFIG, embedder=EMBEDDER) as taught:
            taught.refresh()
        ask(plain)
        plain.force_learn()
        assert kinds(plain) == list(KINDS)
        assert plain.rebuild().equal


def test_an_embedder_is_asked_for_kinds_once_a_space(database_url):
    asked: list[int] = []

    def counting(texts: list[str]) -> np.ndarray:
        asked.append(len(texts))
        return embed(texts)

    for _ in range(2):
        with SonaEngine(DIM, database_url, config=CONFIG, embedder=CallableEmbedder(counting, DIM)) as engine:
            engine.process("-code- 1")
            engine.force_learn()
    assert asked == [1, 120, 1, 1, 1]  # at each opening the text by which another model is noticed


def test_an_embedder_that_cannot_embed_the_examples_still_embeds_queries(database_url, caplog):
    def narrow(texts: list[str]) -> np.ndarray:
        return np.stack([{"known": PLACES[0]}[text] for text in texts])

    with (
        caplog.at_level(logging.WARNING),
        SonaEngine(DIM, database_url, config=CONFIG, embedder=CallableEmbedder(narrow, DIM)) as engine,
    ):
        assert engine.process("known").version == 0
    assert "told by words alone" in caplog.text


def test_a_cycle_that_began_before_the_kinds_were_told_is_run_again(database_url):
    with SonaEngine(DIM, database_url, config=CONFIG) as engine:
        database = Database.open(database_url, "check")
        space = engine._session.space
        with database.learning_unit(space, uuid7()) as unit:
            assert unit.kinds_at(99) is None
            database.keep_kinds(space, b"weights")
            with pytest.raises(LearningConflict, match="kinds of patterns"):
                unit.pass_over([1], uuid7(), [])
        database.keep_kinds(space, b"later ones")
        with database.learning_unit(space, uuid7()) as unit:
            assert (unit.kinds_at(0), unit.kinds_at(1)) == (None, b"weights")
        database.close()
