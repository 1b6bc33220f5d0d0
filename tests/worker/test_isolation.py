"""A poisoned trajectory stops no learning: the second attempt sets it aside, with the reason; it can be retried."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import psycopg
import pytest
from typer.testing import CliRunner

from sona_pg import SonaConfig, SonaEngine
from sona_pg.cli.commands import app
from sona_pg.config import LoopConfig
from sona_pg.domain.ledger_slice import LedgerSlice
from sona_pg.errors import LearningError
from sona_pg.worker import background
from sona_pg.worker.isolation import MOST_TRIALS, poisoned_rows

DIM = 8
QUIET = SonaConfig(loops=LoopConfig(automatic=False))


@pytest.fixture
def engine(database_url: str) -> Iterator[SonaEngine]:
    with SonaEngine(DIM, database_url, config=QUIET) as opened:
        yield opened


def record(engine: SonaEngine, n: int, query: str = "fine") -> list:
    rng = np.random.default_rng(n)
    ids = []
    for _ in range(n):
        handle = engine.begin_trajectory(rng.standard_normal(DIM).astype(np.float32), query=query)
        engine.add_step(handle, np.ones(DIM, np.float32), None, 0.5)
        engine.end_trajectory(handle, 0.5)
        ids.append(handle.id)
    engine.flush()
    return ids


def allergic(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = background.learn

    def learn(before: object, claimed: LedgerSlice, *rest: object) -> object:
        if "poison" in claimed.fresh.queries:
            raise LearningError("a poisoned input")
        return usual(before, claimed, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(background, "learn", learn)


def test_the_second_attempt_sets_poisoned_trajectories_aside_and_learns_the_rest(
    engine: SonaEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(engine, 30)
    poison = record(engine, 2, "poison")
    record(engine, 7)
    with monkeypatch.context() as patch:
        allergic(patch)
        with pytest.raises(LearningError, match="a poisoned input"):
            engine.force_learn()
        result = engine.force_learn()
    assert (result.trajectories, result.set_aside, result.learned) == (37, 2, True)
    assert engine.rebuild().equal
    listed = engine._session.database.set_aside.listing(engine._session.space, 10)
    assert [(row["trajectory_id"], row["reason"]) for row in listed] == [
        (id_, "LearningError: a poisoned input") for id_ in reversed(poison)
    ]
    assert not engine.force_learn().learned


def test_what_was_set_aside_can_be_tried_again(
    engine: SonaEngine, monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    record(engine, 5)
    poison = record(engine, 3, "poison")
    engine.feedback(poison[0], quality=0.9)
    engine.flush()
    with monkeypatch.context() as patch:
        allergic(patch)
        for attempt in range(2):
            if attempt == 0:
                with pytest.raises(LearningError):
                    engine.force_learn()
            else:
                assert engine.force_learn().set_aside == 3
        told = CliRunner().invoke(app, ["set-aside", "retry", str(poison[0]), "--url", database_url])
        assert '"retried": 1' in told.output, told
        with pytest.raises(LearningError):  # still poisoned
            engine.force_learn()
        assert engine.force_learn().set_aside == 1
    assert CliRunner().invoke(app, ["set-aside", "list", "--url", database_url]).output.count("a poisoned input") == 3
    CliRunner().invoke(app, ["set-aside", "retry", "--url", database_url])
    result = engine.force_learn()
    assert (result.trajectories, result.set_aside) == (3, 0)
    assert CliRunner().invoke(app, ["set-aside", "list", "--url", database_url]).output == ""
    assert engine.rebuild().equal
    with psycopg.connect(database_url) as connection:
        sums = connection.execute("SELECT sum(trajectories), sum(steps), sum(feedback) FROM sona.batches").fetchone()
        assert sums == (8, 8, 1)


def test_poison_is_found_by_halving() -> None:
    bad, tried = {3, 700, 701, 19_999}, []

    def learn(rows: np.ndarray) -> None:
        tried.append(len(rows))
        if bad & set(rows.tolist()):
            raise ValueError("bad")

    assert poisoned_rows(20_000, learn) == dict.fromkeys(sorted(bad), "ValueError: bad")
    assert len(tried) < 130


def test_an_error_that_is_no_trajectorys_sets_nothing_aside() -> None:
    def learn(rows: np.ndarray) -> None:
        raise ValueError("always")

    assert poisoned_rows(4, learn) == {}
    assert poisoned_rows(10 * MOST_TRIALS, learn) == {}
