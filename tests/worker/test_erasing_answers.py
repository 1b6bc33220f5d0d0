"""Erasure: answers that the user wrote are named, and those that others know are not."""

from __future__ import annotations

import json

import numpy as np
import psycopg
import pytest
from fix_erasure import CONFIG, DIM, NAMES

from sona_pg import SonaEngine
from sona_pg.domain.ids import uuid7

pytestmark = pytest.mark.no_vectors


def test_answers_that_the_user_wrote_are_named_and_their_texts_dropped_if_asked(engine, database_url, key):
    documents = np.eye(DIM, dtype=np.float32)
    known, written, shared = ["shipping", "returns"], "ann's answer", "bob's answer"
    engine.remember(known, documents[:2])
    engine.flush()
    asked = []
    for person in ("ann", "ann", "bob"):
        ranking = engine.rank(documents[0], documents[:2], ids=known)
        handle = engine.begin_trajectory(documents[0], ranking=ranking)
        engine.add_trajectory_context(handle, f"user:{person}")
        engine.end_trajectory(handle)
        asked.append(handle)
    engine.flush()
    engine.remember([written, shared], documents[2:4])
    engine.keep_contents({name: {"text": name} for name in (*known, written, shared)})
    for handle, told in zip(asked, (written, "returns", shared), strict=True):
        engine.feedback(handle, correction=told)
    engine.flush()
    assert engine.forget_plan(user="ann").candidates == (written,)
    receipt = engine.forget(user="ann", drop_contents=True, key=key)
    assert receipt.facts["removed"]["candidate_contents"] == 1
    assert any("embeddings of candidates" in what for what in receipt.facts["not_reached"])
    assert written not in json.dumps(receipt.as_dict())
    assert {one.id for one in engine.contents([*known, written, shared])} == {*known, shared}
    receipt = engine.forget(user="bob", key=key)
    assert "candidate_contents" not in receipt.facts["removed"]
    assert [one.id for one in engine.contents([shared])] == [shared]


def told_by(engine: SonaEngine, person: str, answer: str, *, at: float | None = None, **shown: object) -> None:
    """Record a decision of ``person``, commit it, and say that ``answer`` would have been right."""
    id_ = None if at is None else uuid7(int(at * 1000))
    handle = engine.begin_trajectory(np.ones(DIM, np.float32), id=id_, **shown)
    engine.add_trajectory_context(handle, f"user:{person}")
    engine.end_trajectory(handle)
    engine.flush()
    engine.feedback(handle, correction=answer)
    engine.flush()


def stored(engine: SonaEngine, *names: str, scale: float = 1.0) -> None:
    engine.remember(list(names), scale * np.eye(DIM, dtype=np.float32)[: len(names)])
    engine.flush()


def test_an_answer_of_the_catalog_whose_embedding_is_stored_anew_keeps_its_text(engine, key):
    stored(engine, *NAMES)
    engine.keep_contents({name: {"text": name} for name in NAMES})
    told_by(engine, "ann", NAMES[3], candidates=NAMES[:2])
    stored(engine, *NAMES, scale=2.0)
    assert engine.forget_plan(user="ann").candidates == ()
    engine.forget(user="ann", drop_contents=True, key=key)
    assert len(engine.contents(NAMES)) == len(NAMES)


def test_an_answer_that_was_stored_anew_without_a_text_is_not_named(engine):
    stored(engine, *NAMES)
    told_by(engine, "ann", NAMES[3], candidates=NAMES[:2])
    stored(engine, *NAMES, scale=2.0)
    assert engine.forget_plan(user="ann").candidates == ()


def test_a_text_that_is_older_than_the_decision_is_not_named(engine):
    stored(engine, "known")
    engine.keep_contents({"terms": {"text": "official"}})
    told_by(engine, "ann", "terms", candidates=["known"])
    told_by(engine, "ann", "mine", candidates=["known"])
    stored(engine, "terms", "mine")
    assert engine.forget_plan(user="ann").candidates == ("mine",)


def test_an_answer_that_others_name_is_not_named(engine):
    stored(engine, "known")
    for answer in ("told", "chosen", "mine"):
        told_by(engine, "ann", answer, candidates=["known"])
    told_by(engine, "bob", "told", candidates=["known"])
    handle = engine.begin_trajectory(np.ones(DIM, np.float32))
    engine.set_trajectory_route(handle, "chosen")
    engine.end_trajectory(handle)
    stored(engine, "told", "chosen", "mine")
    assert engine.forget_plan(user="ann").candidates == ("mine",)


def test_an_answer_that_an_earlier_decision_could_choose_is_not_named(engine):
    stored(engine, "known")
    told_by(engine, "bob", "known", candidates=["known", "offered"])
    for answer in ("offered", "mine"):
        told_by(engine, "ann", answer, candidates=["known"])
    stored(engine, "offered", "mine")
    assert engine.forget_plan(user="ann").candidates == ("mine",)


def test_an_answer_told_on_a_decision_with_unknown_candidates_is_not_named(engine, database_url):
    stored(engine, "known")
    told_by(engine, "ann", "without")
    told_by(engine, "ann", "empty", candidates=["known", "other"])
    told_by(engine, "ann", "mine", candidates=["known"])
    with psycopg.connect(database_url) as connection:  # as the set of a very large catalog is
        connection.execute("UPDATE sona.candidate_sets SET candidate_ids = '{}' WHERE cardinality(candidate_ids) = 2")
    stored(engine, "without", "empty", "mine")
    assert engine.forget_plan(user="ann").candidates == ("mine",)


def test_an_answer_told_on_an_imported_decision_is_not_named(engine):
    stored(engine, "known")
    told_by(engine, "ann", "imported", at=1_700_000_000.0, candidates=["known"])
    told_by(engine, "ann", "mine", candidates=["known"])
    stored(engine, "imported", "mine")
    assert engine.forget_plan(user="ann").candidates == ("mine",)


def test_a_copy_of_a_space_names_only_answers_stored_in_itself(database_url):
    with SonaEngine(DIM, database_url, "copy", config=CONFIG) as engine:
        stored(engine, "known")
        for answer in ("before", "since"):
            told_by(engine, "ann", answer, candidates=["known"])
        stored(engine, "before")
        assert engine.forget_plan(user="ann").candidates == ("before",)
    with psycopg.connect(database_url) as connection:  # as the copy of a space is
        connection.execute("UPDATE sona.spaces SET predecessor = 7, created_at = statement_timestamp()")
    with SonaEngine(DIM, database_url, "copy", config=CONFIG) as engine:
        stored(engine, "since")
        assert engine.forget_plan(user="ann").candidates == ("since",)
