"""Bad input: each refusal names the value, what was expected and what to do, and writes nothing."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psycopg
import pytest

from sona_pg import (
    ConfigError,
    DatabaseError,
    DatabaseUnavailable,
    DimensionMismatch,
    InvalidValue,
    SonaConfig,
    SonaEngine,
    SonaError,
    StorageError,
    TrajectoryError,
)

DIM = 8
GOOD = np.ones(DIM, np.float32)
BAD_NUMBERS = [np.nan, np.inf, -np.inf, 1e6]


@pytest.fixture
def engine(database_url: str) -> Iterator[SonaEngine]:
    """An engine whose ledger must still be empty after the test."""
    with SonaEngine(DIM, database_url) as opened:
        yield opened
        opened.flush()
    with psycopg.connect(database_url) as connection:
        for table in ("trajectories", "steps", "feedback"):
            assert connection.execute(f"SELECT count(*) FROM sona.{table}").fetchone() == (0,), table


def test_a_wrong_dimension_names_both(engine: SonaEngine) -> None:
    for call in (
        lambda: engine.begin_trajectory(np.ones(DIM + 1, np.float32)),
        lambda: engine.apply_micro_lora(np.ones(DIM + 1, np.float32)),
        lambda: engine.find_patterns(np.ones(DIM + 1, np.float32)),
        lambda: engine.rank(np.ones(DIM + 1), [GOOD], ids=["a"]),
        lambda: engine.route(np.ones(DIM + 1), ["a"]),
    ):
        with pytest.raises(DimensionMismatch, match=r"9.*8") as caught:
            call()
        assert (caught.value.expected, caught.value.actual) == (DIM, DIM + 1)


@pytest.mark.parametrize("number", BAD_NUMBERS)
def test_numbers_that_cannot_be_stored_are_refused(engine: SonaEngine, number: float) -> None:
    poisoned = GOOD.copy()
    poisoned[3] = number
    with pytest.raises(InvalidValue, match="embedding"):
        engine.begin_trajectory(poisoned)
    t = engine.begin_trajectory(GOOD)
    with pytest.raises(InvalidValue, match="activations"):
        engine.add_step(t, poisoned)
    with pytest.raises(InvalidValue, match="attention_weights"):
        engine.add_step(t, GOOD, poisoned)


@pytest.mark.parametrize("quality", [-0.01, 1.01, np.nan, np.inf, "good"])
def test_a_quality_outside_its_range_is_refused(engine: SonaEngine, quality: object) -> None:
    t = engine.begin_trajectory(GOOD)
    with pytest.raises(SonaError, match="quality"):
        engine.end_trajectory(t, quality)
    assert not t.ended
    with pytest.raises(SonaError, match="quality"):
        engine.feedback(t, quality=quality)  # type: ignore[arg-type]


@pytest.mark.parametrize("reward", [np.nan, np.inf, 1e7])
def test_a_reward_outside_its_range_is_refused(engine: SonaEngine, reward: float) -> None:
    with pytest.raises(InvalidValue, match="reward"):
        engine.add_step(engine.begin_trajectory(GOOD), GOOD, GOOD, reward)


def test_a_trajectory_that_ended_stays_ended(database_url: str) -> None:
    with SonaEngine(DIM, database_url) as engine:
        t = engine.begin_trajectory(GOOD)
        engine.end_trajectory(t)
        for call in (
            lambda: engine.end_trajectory(t),
            lambda: engine.add_step(t, GOOD),
            lambda: engine.set_trajectory_route(t, "a"),
            lambda: engine.add_trajectory_context(t, "a"),
        ):
            with pytest.raises(TrajectoryError, match=f"{t.id} has ended"):
                call()
        engine.flush()
        with psycopg.connect(database_url) as connection:
            assert connection.execute("SELECT count(*) FROM sona.trajectories").fetchone() == (1,)


def test_a_handle_of_another_engine_is_refused(database_url: str, engine: SonaEngine) -> None:
    with SonaEngine(DIM, database_url, "other") as other, pytest.raises(TrajectoryError, match="another engine"):
        engine.end_trajectory(other.begin_trajectory(GOOD))


@pytest.mark.parametrize("what", ["not-an-id", 42, None, b"x"])
def test_what_is_no_id_is_refused(engine: SonaEngine, what: object) -> None:
    with pytest.raises(InvalidValue, match="UUID"):
        engine.feedback(what, quality=0.5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({}, "says nothing"),
        ({"quality": 0.5, "retract": True}, "retract"),
        ({"correction": ""}, "correction"),
        ({"quality": 0.5, "source": ""}, "source"),
    ],
)
def test_feedback_that_means_nothing_is_refused(engine: SonaEngine, arguments: dict, told: str) -> None:
    with pytest.raises(InvalidValue, match=told):
        engine.feedback(uuid.uuid4(), **arguments)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda e: e.rank(GOOD, [GOOD]), "ids"),
        (lambda e: e.rank(GOOD, [GOOD, GOOD], ids=["a"]), "2 candidates with 1 ids"),
        (lambda e: e.rank(GOOD, [GOOD, GOOD], ids=["a", "a"]), "each once"),
        (lambda e: e.rank(GOOD, [GOOD], ids=[""]), "''"),
        (lambda e: e.rank(GOOD, ids=["never"]), "'never'"),
        (lambda e: e.rank(GOOD), "candidate"),
        (lambda e: e.rank([["x"]], [GOOD], ids=["a"]), "numbers"),
        (lambda e: e.remember(["a"], [GOOD, GOOD]), "one id each"),
        (lambda e: e.route(GOOD, []), "one or more"),
        (lambda e: e.route(GOOD, ["a", "a"]), "each once"),
        (lambda e: e.route(GOOD, ["a"], budget=0.5), "costs"),
        (lambda e: e.route(GOOD, ["a", "b"], costs={"a": 1.0}, budget=0.5), "'b'"),
    ],
)
def test_a_question_that_cannot_be_answered_says_why(
    engine: SonaEngine, call: Callable[[SonaEngine], object], told: str
) -> None:
    with pytest.raises(SonaError, match=told):
        call(engine)


@pytest.mark.parametrize("dim", [0, -1, 16_001, 2.5, "8"])
def test_a_dimension_that_cannot_be_stored_is_refused(database_url: str, dim: object) -> None:
    with pytest.raises(ConfigError, match=r"hidden_dim.*1 to 16000"):
        SonaEngine(dim, database_url)  # type: ignore[arg-type]


def test_a_space_keeps_its_dimension(database_url: str, engine: SonaEngine) -> None:
    with pytest.raises(ConfigError, match="'default' has 8 dimensions, not 9"):
        SonaEngine(DIM + 1, database_url)


@pytest.mark.parametrize("name", ["", "x" * 201, "a\0b"])
def test_a_space_name_that_cannot_be_stored_is_refused(database_url: str, name: str) -> None:
    with pytest.raises(ConfigError, match="space name"):
        SonaEngine(DIM, database_url, name)


def test_an_address_that_does_not_answer_is_named() -> None:
    with pytest.raises(DatabaseUnavailable, match=r"127\.0\.0\.1:9"):
        SonaEngine(DIM, "postgresql://127.0.0.1:9/nowhere")


def test_a_database_without_pgvector_says_how_to_get_it(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqlalchemy import text

    from sona_pg.store import migrate

    monkeypatch.setattr(migrate, "EXTENSION_OFFERED", text("SELECT NULL"))
    with pytest.raises(DatabaseError, match=r"no pgvector: install"):
        SonaEngine(DIM, empty_database_url)
    with psycopg.connect(empty_database_url) as connection:
        assert connection.execute("SELECT to_regnamespace('sona') IS NULL").fetchone() == (True,)


def test_a_pgvector_or_postgres_that_is_too_old_is_named(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sona_pg.store import migrate

    monkeypatch.setattr(migrate, "MIN_PGVECTOR", (99, 0))
    with pytest.raises(DatabaseError, match=r"pgvector 0\.\d.*expected 0.8 or newer"):
        SonaEngine(DIM, empty_database_url)
    monkeypatch.setattr(migrate, "MIN_POSTGRES", 990_000)
    with pytest.raises(DatabaseError, match=r"Postgres 1\d, expected 16 or newer"):
        SonaEngine(DIM, empty_database_url)


def test_a_data_folder_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("SONA_PG_HOME", str(blocked / "home"))
    monkeypatch.delenv("SONA_PG_URL", raising=False)
    with pytest.raises(StorageError, match=str(blocked)):
        SonaEngine(DIM)
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: SonaConfig().micro.__class__(rank=3), "micro.rank=3"),
        (lambda: SonaConfig().ewc.__class__(lambda_=1.0), "ewc.lambda_=1.0"),
        (lambda: SonaConfig().ingest.__class__(durability="never"), "'memory', 'spool' or 'sync'"),
        (lambda: SonaConfig().loops.__class__(background_interval=0), "loops.background_interval"),
    ],
)
def test_a_setting_that_cannot_work_is_named(make: Callable[[], object], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        make()
