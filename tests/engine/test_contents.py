"""Contents of candidates: kept by id, found by the beginning of the id, on every server."""

from __future__ import annotations

import numpy as np
import pytest

from sona_pg import InvalidValue, SonaConfig, SonaEngine, Store
from sona_pg.config import LoopConfig, MaintenanceConfig
from sona_pg.errors import SpaceRemoved
from sona_pg.limits import LONGEST_CONTENT
from sona_pg.store import content_rows
from sona_pg.worker.reembedding import reembed

pytestmark = pytest.mark.no_vectors

DIM = 8
QUIET = SonaConfig(loops=LoopConfig(automatic=False), maintenance=MaintenanceConfig(automatic=False))


@pytest.fixture
def engine(database_url):
    with SonaEngine(DIM, database_url, config=QUIET) as opened:
        yield opened


def test_a_content_is_read_where_it_was_not_kept_and_replaced_by_a_later_one(engine, database_url):
    engine.keep_contents({"b": {"text": "Ünicode ☃", "n": [1, None]}, "a": {"text": "first"}})
    with SonaEngine(DIM, database_url, config=QUIET) as other:
        assert [(one.id, one.content) for one in other.contents(["a", "nobody", "b", "a"])] == [
            ("a", {"text": "first"}),
            ("b", {"text": "Ünicode ☃", "n": [1, None]}),
        ]
        before = other.contents(["a"])[0]
        other.keep_contents({"a": {"text": "second"}})
        after = engine.contents(["a"])[0]
        assert after.content == {"text": "second"}
        assert (after.created_at, after.updated_at > before.updated_at) == (before.created_at, True)
        assert engine.drop_contents(["a", "nobody"]) == 1
        assert [one.id for one in other.find_contents()] == ["b"]
        assert (engine.contents([]), engine.drop_contents([])) == ([], 0)


def test_contents_are_found_by_the_beginning_of_their_id_and_by_what_they_contain(engine):
    for id_ in ("x/2", "x/1", "x%", "X/3", "y"):
        engine.keep_contents({id_: {"of": id_[0], "deep": {"n": len(id_)}}})
    assert [one.id for one in engine.find_contents("x/")] == ["x/1", "x/2"]  # the latest first
    assert [one.id for one in engine.find_contents("x/", limit=1, offset=1)] == ["x/2"]
    assert [one.id for one in engine.find_contents(containing={"of": "x", "deep": {"n": 2}})] == ["x%"]
    assert engine.content_ids("x") == ["x%", "x/1", "x/2"]
    assert engine.content_ids() == ["X/3", "x%", "x/1", "x/2", "y"]


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda engine: engine.keep_contents([("a", {})]), "expected {id"),
        (lambda engine: engine.keep_contents({"a": "text"}), "expected a dictionary"),
        (lambda engine: engine.keep_contents({"a": {"x": float("nan")}}), "not JSON"),
        (lambda engine: engine.keep_contents({"a": {"x": {1, 2}}}), "not JSON"),
        (lambda engine: engine.keep_contents({"a": {"x": "a\0b"}}), "NUL"),
        (lambda engine: engine.keep_contents({"a": {"x": "\ud800"}}), "surrogate"),
        (lambda engine: engine.keep_contents({"a": {"x": "y" * LONGEST_CONTENT}}), "at most"),
        (lambda engine: engine.keep_contents({"a" * 1001: {}}), "1 to 1000 bytes"),
        (lambda engine: engine.keep_contents({"": {}}), "1 to 1000 bytes"),
        (lambda engine: engine.keep_contents({"\ud800": {}}), "surrogate"),
        (lambda engine: engine.contents("abc"), "expected a list of ids"),
        (lambda engine: engine.find_contents("a\0"), "without NUL"),
        (lambda engine: engine.find_contents(limit=0), "limit=0"),
        (lambda engine: engine.find_contents(offset=-1), "offset=-1"),
    ],
)
def test_a_content_that_cannot_be_stored_is_refused_by_name(engine, call, told):
    with pytest.raises(InvalidValue, match=told):
        call(engine)


def test_a_backslash_before_u0000_is_no_nul(engine):
    engine.keep_contents({"a": {"x": "\\u0000"}})
    assert engine.contents(["a"])[0].content == {"x": "\\u0000"}


def test_contents_of_a_space_have_a_bound(engine, monkeypatch):
    monkeypatch.setattr(content_rows, "MOST_CANDIDATES", 3)
    engine.keep_contents({"a": {}, "b": {}})
    with pytest.raises(InvalidValue, match="more than 3"):
        engine.keep_contents({"c": {}, "d": {}})
    engine.drop_contents(["a"])
    engine.keep_contents({"c": {}, "d": {}})


def test_contents_go_with_their_space_and_come_along_when_it_is_embedded_anew(database_url):
    with Store(database_url) as store:
        engine = store.space("notes", DIM, config=QUIET)
        engine.keep_contents({"a": {"text": "first"}})
        engine.end_trajectory(engine.begin_trajectory(np.ones(DIM), query="what?"), 1.0)
        engine.flush()
        reembed(engine._session.database, "notes", lambda texts: np.ones((len(texts), 4)), 4)
        moved = store.space("notes", 4, config=QUIET)
        assert [one.content for one in moved.contents(["a"])] == [{"text": "first"}]
        with SonaEngine(4, database_url, "notes", config=QUIET) as elsewhere:
            assert store.remove_space("notes")["candidate_contents"] == 1
            with pytest.raises(SpaceRemoved):
                elsewhere.keep_contents({"b": {}})
