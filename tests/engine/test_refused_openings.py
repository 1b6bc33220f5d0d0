"""Engines that cannot be opened: each refusal names the setting, address or folder, and what to do."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import psycopg
import pytest

from sona_pg import (
    ConfigError,
    DatabaseError,
    DatabaseUnavailable,
    InvalidValue,
    LoopConfig,
    SonaConfig,
    SonaEngine,
    StorageError,
    Store,
)

pytestmark = pytest.mark.no_vectors

DIM = 8


@pytest.fixture
def space_of_8(database_url: str) -> str:
    """The URL of a database whose default space has 8 dimensions."""
    with SonaEngine(DIM, database_url):
        return database_url


@pytest.mark.parametrize("dim", [0, -1, 16_001, 2.5, "8"])
def test_a_dimension_that_cannot_be_stored_is_refused(database_url: str, dim: object) -> None:
    with pytest.raises(ConfigError, match=r"hidden_dim.*1 to 16000"):
        SonaEngine(dim, database_url)  # type: ignore[arg-type]


def test_a_space_keeps_its_dimension(space_of_8: str) -> None:
    with pytest.raises(ConfigError, match="'default' has 8 dimensions, not 9"):
        SonaEngine(DIM + 1, space_of_8)


def test_a_space_is_opened_with_its_own_dimension_where_none_is_said(space_of_8: str) -> None:
    with (
        SonaEngine(url=space_of_8) as again,
        Store(space_of_8) as store,
        SonaEngine(url=space_of_8, space="n") as n,
    ):
        assert (again.dim, store.space("default").dim, store.space("default").dim, n.dim) == (DIM, DIM, DIM, 256)
        with pytest.raises(ConfigError, match="the embedder gives 9 dimensions, the space has 8"):
            SonaEngine(url=space_of_8, embedder=SimpleNamespace(dim=9))  # type: ignore[arg-type]
    with SonaEngine.with_config(SonaConfig(loops=LoopConfig(automatic=False)), url=space_of_8) as configured:
        assert configured.dim == DIM
    with pytest.raises(ConfigError, match="'default' has 8 dimensions, not 9"):
        SonaEngine(url=space_of_8, config=SonaConfig(hidden_dim=DIM + 1))


@pytest.mark.parametrize("name", ["", "x" * 201, "a\0b", 5, None])
def test_a_space_name_that_cannot_be_stored_is_refused(database_url: str, name: object) -> None:
    with pytest.raises(InvalidValue, match="space name"):
        SonaEngine(DIM, database_url, name)  # type: ignore[arg-type]


def test_an_invalid_configuration_or_address_is_refused(database_url: str) -> None:
    with pytest.raises(ConfigError, match="SonaConfig"):
        SonaEngine(DIM, database_url, config={"hidden_dim": DIM})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="SonaConfig"):
        SonaEngine.with_config(None)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="postgresql://"):
        SonaEngine(DIM, Path("/tmp"))  # type: ignore[arg-type]


def test_an_address_that_does_not_answer_is_named() -> None:
    with pytest.raises(DatabaseUnavailable, match=r"127\.0\.0\.1:9"):
        SonaEngine(DIM, "postgresql://127.0.0.1:9/nowhere", require_database=True)


def test_a_database_without_pgvector_is_refused_with_how_to_install_it(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqlalchemy import text

    from sona_pg.store.admin import migrate

    monkeypatch.setattr(migrate, "EXTENSION_OFFERED", text("SELECT NULL"))
    with pytest.raises(DatabaseError, match=r"no pgvector: install"):
        SonaEngine(DIM, empty_database_url)
    with psycopg.connect(empty_database_url) as connection:
        assert connection.execute("SELECT to_regnamespace('sona') IS NULL").fetchone() == (True,)


def test_a_pgvector_or_postgres_that_is_too_old_is_named(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sona_pg.store.admin import migrate

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
        (lambda: SonaConfig().loops.__class__(seed=-1), "loops.seed=-1"),
        (lambda: SonaConfig().loops.__class__(automatic="no"), "True or False"),
        (lambda: SonaConfig().ingest.__class__(capacity="many"), "capacity='many'.*whole number"),
        (lambda: SonaConfig().patterns.__class__(clusters=2.5), "clusters=2.5.*whole number"),
        (lambda: SonaConfig().patterns.__class__(decay=float("nan")), "decay=nan"),
        (lambda: SonaConfig().base.__class__(learning_rate="fast"), "'fast'.*a number"),
        (lambda: SonaConfig().maintenance.__class__(keep_weeks=True), "keep_weeks=True"),
        (lambda: SonaConfig(hidden_dim=True), "hidden_dim=True"),
    ],
)
def test_a_setting_that_cannot_work_is_named(make: Callable[[], object], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        make()
