"""The version kept in a machine's home folder is bit-identical to the store's, or is skipped."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import LoopConfig
from sona_pg.domain.catalog import Catalog
from sona_pg.errors import StorageError
from sona_pg.learning.knowledge import Knowledge
from sona_pg.serving import last_version
from sona_pg.store.snapshots import Snapshot
from sona_pg.worker.rebuild import differences

DIM = 16
CONFIG = SonaConfig(loops=LoopConfig(automatic=False))


@pytest.fixture
def served(database_url):
    """A space and its live version, with content in every part."""
    rng = np.random.default_rng(1)
    documents = rng.standard_normal((5, DIM)).astype(np.float32)
    ids = [f"d{n}" for n in range(5)]
    with SonaEngine(DIM, database_url, "späce", config=CONFIG) as engine:
        for number in range(40):
            query = documents[number % 5] + rng.standard_normal(DIM).astype(np.float32) / 4
            if number % 2:
                ranking = engine.rank(query, documents, ids=ids)
                handle = engine.begin_trajectory(query, query=f"frage {number}", ranking=ranking)
                engine.set_trajectory_route(handle, ranking.ids[0])
            else:
                decision = engine.route(query, ["weak", "strong"], query="why?")
                handle = engine.begin_trajectory(query, decision=decision)
                engine.add_step(handle, query, None, 0.3)
            engine.set_trajectory_parameters(handle, {"temperature": number / 40})
            engine.end_trajectory(handle, number % 3 / 2)
        engine.force_learn()
        session = engine._session
        yield session.space, session.database.snapshot(session.space)


def test_it_is_the_stores_to_the_bit(served, tmp_path: Path) -> None:
    space, snapshot = served
    path = last_version.path_for(tmp_path, "postgresql://a/b", space.name)
    assert last_version.save(path, space, snapshot)
    found, kept = last_version.load(path, DIM)
    assert (found.space_id, found.name, found.dim) == (space.space_id, space.name, space.dim)
    assert kept.version == snapshot.version == 1
    assert differences(Knowledge(kept.state, kept.patterns, []), Knowledge(snapshot.state, snapshot.patterns, [])) == []
    assert kept.state.cycle_id == snapshot.state.cycle_id
    assert kept.catalog.ids == snapshot.catalog.ids
    assert np.array_equal(kept.catalog.halves, snapshot.catalog.halves)


def test_a_space_that_has_learned_nothing_is_kept_too(served, tmp_path: Path) -> None:
    space, _ = served
    nothing = Catalog.of([], np.zeros((0, DIM), np.float16))
    assert last_version.save(tmp_path / "v", space, Snapshot(0, None, [], nothing))
    assert last_version.load(tmp_path / "v", DIM)[1].state is None


@pytest.mark.parametrize("at", [0, 18, 25, 400, -1])
def test_a_file_that_is_damaged_is_passed_over(served, tmp_path: Path, at: int) -> None:
    space, snapshot = served
    path = tmp_path / "v"
    last_version.save(path, space, snapshot)
    whole = bytearray(path.read_bytes())
    whole[at] ^= 1
    path.write_bytes(whole)
    assert last_version.load(path, DIM) is None
    path.write_bytes(whole[:at])
    assert last_version.load(path, DIM) is None


def test_one_that_is_not_there_or_of_another_dimension_is_none(served, tmp_path: Path) -> None:
    space, snapshot = served
    assert last_version.load(tmp_path / "none", DIM) is None
    last_version.save(tmp_path / "v", space, snapshot)
    assert last_version.load(tmp_path / "v", DIM + 1) is None


def test_one_that_is_too_large_is_not_kept(served, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(last_version, "MOST_BYTES", 1000)
    assert not last_version.save(tmp_path / "v", *served)
    assert not (tmp_path / "v").exists()


def test_a_folder_that_cannot_be_written_is_named(served, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="make the folder writable"):
        last_version.save(tmp_path / "file" / "v", *served)


def test_a_folder_of_many_spaces_is_bounded(served, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(last_version, "MOST_FILES", 3)
    for number in range(5):
        path = tmp_path / f"{number}.version"
        last_version.save(path, *served)
        os.utime(path, ns=(number, number))
    last_version.save(tmp_path / "new.version", *served)
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["3", "4", "new"]
