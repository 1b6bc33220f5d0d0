"""Versions through the engine's calls: staged, promoted, rolled back on every server, and carried by file."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fix_versions import CONFIG, DIM, DOCUMENTS, IDS, answers, learn_days, record_day, stored_knowledge

from sona_pg import SonaEngine
from sona_pg.config import BaseConfig, MaintenanceConfig
from sona_pg.errors import DimensionMismatch, SettingsConflict, StorageError, UnknownVersion, VersionConflict
from sona_pg.kernels import crc32c
from sona_pg.learning.adapters.adapter_file import write_adapters
from sona_pg.learning.knowledge import Knowledge
from sona_pg.serving.version_file import MAGIC, pack
from sona_pg.worker.rebuild import differences


@pytest.fixture
def engine(database_url: str) -> Iterator[SonaEngine]:
    with SonaEngine(DIM, database_url, config=CONFIG) as opened:
        yield opened


def of_version(engine: SonaEngine) -> dict:
    """The answers, less the micro adapter's: loop A moves it between versions."""
    return {name: told for name, told in answers(engine).items() if not name.startswith("micro")}


def held(engine: SonaEngine, version: int) -> Knowledge:
    session = engine._session
    found = stored_knowledge(session.database, session.space, version)
    return Knowledge(found.state, found.patterns, found.fisher)


def test_another_server_takes_a_rollback_up_by_itself(engine: SonaEngine, database_url: str) -> None:
    with SonaEngine(DIM, database_url, config=CONFIG) as other:
        learn_days(engine, 1)
        other.refresh()
        before = answers(other)
        learn_days(engine, 1, 2)
        done = engine.rollback(1)
        assert (done.version, done.restores, done.undone, done.keep_facts, engine.version) == (3, 1, 1, False, 3)
        deadline = time.monotonic() + 20
        while other.version != 3 and time.monotonic() < deadline:  # by notice: the poll is 30 s away
            time.sleep(0.01)
        assert answers(other) == before
        assert {"version": 3, "origin": "rollback", "status": "live", "parent": 1}.items() <= (
            engine.versions(1)[0].as_dict().items()
        )


def test_a_candidate_is_listed_compared_and_promoted(engine: SonaEngine) -> None:
    learn_days(engine, 1)
    record_day(engine, 2)
    staged = engine.stage()
    assert (staged.version, engine.version) == (2, 1)
    assert [(found.version, found.status) for found in engine.versions()] == [(2, "candidate"), (1, "live")]
    changes = engine.diff(1, 2)
    assert {item.change for item in changes.patterns} >= {"changed"}
    assert all({"size", "quality"} <= item.after.keys() for item in changes.patterns if item.after)
    assert any(item.after and item.after["norm"] > 0 for item in changes.adapters)
    assert changes.ranker_movement > 0
    with pytest.raises(VersionConflict, match="before it learned"):
        engine.promote(0)
    assert engine.promote(2) == 2
    assert len(engine.diff(2, 2)) == 0
    assert sum(item.change == "added" for item in engine.diff(0, 2).patterns) == len(engine.patterns_at(2))
    with pytest.raises(UnknownVersion):
        engine.diff(1, 77)


def test_a_saved_version_answers_the_same_in_another_store(
    engine: SonaEngine, empty_database_url: str, tmp_path: Path
) -> None:
    learn_days(engine, 1)
    first = of_version(engine)
    learn_days(engine, 1, 2)
    engine.save(tmp_path / "first", 1)
    engine.save(tmp_path / "second")
    with SonaEngine(DIM, empty_database_url, "elsewhere", config=CONFIG) as other:
        assert other.load(tmp_path / "first") == 0
        assert of_version(other) == first
        assert other.metrics()["adapters"].endswith("first")
        version = other.load(tmp_path / "second", publish=True)
        assert of_version(other) == of_version(engine)
        assert differences(held(other, version), held(engine, 2)) == []
        assert other.rank(DOCUMENTS[0]).ids == engine.rank(DOCUMENTS[0]).ids  # candidates came with it
        learn_days(other, 2, 3)
        assert other.rebuild().equal
        list(other._session.database.maintenance(MaintenanceConfig(keep_versions=1)).run())
        assert other.rebuild().equal  # begins with the loaded version, which stays
        other.rollback(version)
        assert of_version(other) == of_version(engine)


def test_a_loaded_version_finds_the_places_of_its_candidates_in_a_space_that_has_some(
    engine: SonaEngine, database_url: str, tmp_path: Path
) -> None:
    learn_days(engine, 1)
    engine.save(tmp_path / "v")
    with SonaEngine(DIM, database_url, "own", config=CONFIG) as other:
        other.remember(["own", *reversed(IDS[4:])], np.concatenate([DOCUMENTS[:1], DOCUMENTS[:3:-1]]))
        record_day(other, 2)
        other.force_learn()
        for load in ({}, {"publish": True}):
            other.load(tmp_path / "v", **load)
            for query in DOCUMENTS:
                ours, theirs = (e.rank(query, DOCUMENTS, ids=IDS) for e in (other, engine))
                assert ours.ids == theirs.ids
                np.testing.assert_allclose(ours.scores, theirs.scores, rtol=1e-5)
            assert "own" in other.rank(DOCUMENTS[0], k=20).ids
        assert other.rebuild().equal
        assert other.metrics()["totals"]["waiting"] == 0  # the space's own facts are left out
        assert other.load(tmp_path / "v", publish=True, keep_facts=True) == 3


def test_a_file_that_is_not_whole_or_does_not_fit_is_refused_by_name(
    engine: SonaEngine, database_url: str, tmp_path: Path
) -> None:
    learn_days(engine, 1)
    path = tmp_path / "v"
    engine.save(path)
    whole = path.read_bytes()
    nonsense = b"\2" + bytes(7) + b"{}"
    for broken in (
        whole[:-1], whole[:100], whole[:5], whole[:200] + b"x" + whole[201:],
        MAGIC + crc32c(nonsense).to_bytes(4, "little") + nonsense,
    ):  # fmt: skip
        path.write_bytes(broken)
        for publish in (False, True):
            with pytest.raises(StorageError, match=str(path)):
                engine.load(path, publish=publish)
    path.write_bytes(whole)
    with SonaEngine(DIM + 1, database_url, "wider") as other, pytest.raises(DimensionMismatch):
        other.load(path, publish=True)
    config = CONFIG.replace(base=BaseConfig(rank=5, layers=2))
    with (
        SonaEngine(DIM, database_url, "other ranks", config=config) as other,
        pytest.raises(SettingsConflict, match=r"base\.rank=4, space 'other ranks' learns with base\.rank=5"),
    ):
        other.load(path, publish=True)
    with pytest.raises(StorageError, match="No such file"):
        engine.load(tmp_path / "none")
    with pytest.raises(StorageError, match="No such file"):
        engine.save(tmp_path / "no folder" / "v")
    assert engine.version == 1


def test_a_file_of_values_that_are_not_finite_is_refused(engine: SonaEngine, tmp_path: Path) -> None:
    learn_days(engine, 1)
    space, snapshot = engine._session.space, engine._session.serving.as_snapshot()
    micro = dataclasses.replace(snapshot.state.micro, b=np.full_like(snapshot.state.micro.b, np.nan))
    poisoned = dataclasses.replace(snapshot, state=dataclasses.replace(snapshot.state, micro=micro))
    (tmp_path / "v").write_bytes(b"".join(pack(space, poisoned)))
    for publish in (False, True):
        with pytest.raises(StorageError, match="not finite"):
            engine.load(tmp_path / "v", publish=publish)


def test_adapters_of_an_earlier_release_are_still_served(engine: SonaEngine, tmp_path: Path) -> None:
    learn_days(engine, 1)
    state = engine._session.serving.state
    write_adapters(tmp_path / "old.safetensors", state.micro, state.base)
    engine.rollback(0)
    engine.load(tmp_path / "old.safetensors")
    assert engine.metrics()["adapters"].endswith("old.safetensors")
    with pytest.raises(StorageError, match="no whole version to publish"):
        engine.load(tmp_path / "old.safetensors", publish=True)


def test_nothing_learned_is_a_version_too(engine: SonaEngine, database_url: str, tmp_path: Path) -> None:
    engine.save(tmp_path / "nothing")
    learn_days(engine, 1)
    with SonaEngine(DIM, database_url, "new", config=CONFIG) as new:
        before = of_version(new)
    assert engine.load(tmp_path / "nothing", publish=True, keep_facts=True) == 2
    assert of_version(engine) == before
    assert engine.rebuild().equal
    assert engine.force_learn().learned
