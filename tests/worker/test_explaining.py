"""Why: the effect of a fact is what a rebuild without it changes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psycopg
import pytest
from fix_erasure import CONFIG, DIM, NAMES, History, knowledge_of
from typer.testing import CliRunner

from sona_pg import SonaEngine
from sona_pg.cli.commands import app
from sona_pg.errors import Conflict, InvalidValue, UnknownCandidate
from sona_pg.learning.answer_value import value_of
from sona_pg.worker import left_out


@pytest.fixture
def history() -> History:
    return History.drawn(3)


@pytest.fixture
def engine(database_url: str, history: History) -> Iterator[SonaEngine]:
    with SonaEngine(DIM, database_url, "asked", config=CONFIG) as opened:
        history.record(opened)
        yield opened


def value_now(engine: SonaEngine, kind: str, name: str, query: np.ndarray) -> float:
    return value_of(knowledge_of(engine), engine._session.serving.catalog, engine.config, kind, name, query)


@pytest.mark.parametrize(("kind", "name"), [("candidate", "d1"), ("route", "small")])
def test_an_effect_is_what_forgetting_the_fact_changes(engine, history, tmp_path, kind, name):
    query = history.documents[1]
    found = engine.why(query, **{kind: name}, k=50, near=9)
    assert (found.complete, found.since_version, found.tried) == (True, 0, 9)
    assert found.value == value_now(engine, kind, name, query)
    assert abs(found.influences[0].effect) > 1e-3
    effects = [abs(one.effect) for one in found.influences]
    assert effects == sorted(effects, reverse=True)
    key = tmp_path / "key"
    key.write_text("k" * 32)
    strongest = found.influences[0]
    engine.forget(trajectories=[strongest.trajectory], key=key)
    assert value_now(engine, kind, name, query) == pytest.approx(strongest.without, abs=1e-6)


def test_a_ranking_and_a_decision_are_explained(engine, history, database_url):
    query = history.documents[2]
    ranking, decision = engine.rank(query, ids=NAMES), engine.route(query, ["small", "big"])
    ranked, decided = engine.why(query, ranking, near=4, k=2), engine.why(query, decision, near=4)
    assert (ranked.kind, ranked.name, len(ranked.influences)) == ("candidate", ranking.ids[0], 2)
    assert ranked.value == pytest.approx(ranking.scores[0], abs=1e-5)
    assert (decided.kind, decided.name, decided.tried) == ("route", decision.route, 4)
    with psycopg.connect(database_url) as connection:
        outcomes = dict(connection.execute("SELECT trajectory_id, quality FROM sona.outcomes").fetchall())
    for one in (*ranked.influences, *decided.influences):
        known = outcomes[one.trajectory]
        assert one.quality == (None if known is None else pytest.approx(known))


def test_time_ends_the_search_and_it_says_so(engine, history):
    found = engine.why(history.documents[0], candidate="d0", seconds=0)
    assert (found.tried, found.complete) == (1, False)


def test_a_long_history_is_explained_from_a_kept_version_on(engine, history, monkeypatch):
    monkeypatch.setattr(left_out, "MOST_FACTS", 30)
    found = engine.why(history.documents[0], candidate="d0", near=40, seconds=0.5)
    assert (found.since_version, found.near) == (1, 24)
    assert found.value == value_now(engine, "candidate", "d0", history.documents[0])
    monkeypatch.setattr(left_out, "MOST_FACTS", 3)
    with pytest.raises(Conflict, match="more than 3"):
        engine.why(history.documents[0], candidate="d0")


def test_a_deep_cycle_and_changed_settings_are_part_of_the_past(engine, history):
    engine.deep_learn(1.0)
    engine.set_settings({"base.learning_rate": 0.05, "loops.replay": 10})
    handle = engine.begin_trajectory(history.documents[0])
    engine.set_trajectory_route(handle, "small")
    engine.end_trajectory(handle, 1.0)
    engine.force_learn()
    found = engine.why(history.documents[0], route="small", near=3)
    assert found.value == value_now(engine, "route", "small", history.documents[0])
    assert found.influences[0].started_at.tzinfo is not None


def test_what_cannot_be_explained_is_refused(engine, history):
    query = history.documents[0]
    for wrong in ({}, {"candidate": "d0", "route": "small"}, {"answer": "d0"}, {"route": "none"}):
        with pytest.raises(InvalidValue):
            engine.why(query, **wrong)
    with pytest.raises(UnknownCandidate):
        engine.why(query, candidate="none")


def test_the_command_prints_the_facts(engine, history, database_url: str, tmp_path: Path):
    query = json.dumps(history.documents[1].tolist())
    options = ["--space", "asked", "--url", database_url, "--near", "3"]
    told = json.loads(CliRunner().invoke(app, ["why", query, *options], catch_exceptions=False).stdout)
    assert (told["kind"], told["tried"], told["complete"]) == ("candidate", 3, True)
    routed = CliRunner().invoke(app, ["why", query, "--route", "big", *options], catch_exceptions=False)
    assert json.loads(routed.stdout)["name"] == "big"
