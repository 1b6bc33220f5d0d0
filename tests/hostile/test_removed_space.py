"""A space that is removed while engines have it open: recording ends with a clear error, and no row is left."""

from __future__ import annotations

import uuid
from pathlib import Path

import numpy as np
import psycopg
import pytest
from typer.testing import CliRunner

from sona_pg import SonaConfig, SonaEngine
from sona_pg.cli.commands import app
from sona_pg.config import IngestConfig, LoopConfig, MaintenanceConfig
from sona_pg.errors import ConfigError, DatabaseError, SpaceRemoved, TrajectoryError
from sona_pg.ingest import statements
from sona_pg.store.database import Database
from sona_pg.store.schema import metadata

DIM = 8
X = np.ones(DIM, np.float32)


def quiet(durability: str = "memory") -> SonaConfig:
    return SonaConfig(
        loops=LoopConfig(automatic=False, poll_interval=60),
        maintenance=MaintenanceConfig(automatic=False),
        ingest=IngestConfig(flush_interval=60, durability=durability),  # type: ignore[arg-type]
    )


def record(engine: SonaEngine, n: int = 5) -> list[uuid.UUID]:
    ids = []
    for row in range(n):
        ranking = engine.rank(X, np.eye(2, DIM, dtype=np.float32), ids=["a", "b"])
        trajectory = engine.begin_trajectory(X, ranking=ranking)
        engine.add_step(trajectory, X)
        engine.set_trajectory_route(trajectory, "ab"[row % 2])
        engine.end_trajectory(trajectory, 0.5)
        engine.feedback(trajectory, quality=1.0)
        ids.append(trajectory.id)
    return ids


def record_and_flush(engine: SonaEngine) -> None:
    record(engine)
    engine.flush()


def remove(url: str, name: str) -> dict[str, int]:
    database = Database.open(url)
    try:
        return database.remove_space(name)
    finally:
        database.close()


def rows_by_table(url: str) -> dict[str, int]:
    with psycopg.connect(url) as connection:
        counted = {
            table.name: connection.execute(f"SELECT count(*) FROM sona.{table.name}").fetchone()[0]  # type: ignore[index, call-overload]
            for table in metadata.sorted_tables
        }
    return {name: rows for name, rows in counted.items() if rows}


@pytest.mark.parametrize("durability", ["memory", "sync", "spool"])
def test_recording_ends_with_an_error_that_names_the_space(
    database_url: str, durability: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SONA_PG_HOME", str(tmp_path))
    engine = SonaEngine(DIM, database_url, "mistake", config=quiet(durability))
    record(engine)
    engine.force_learn()
    removed = remove(database_url, "mistake")
    assert (removed["trajectories"], removed["steps"], removed["feedback"], removed["candidates"]) == (5, 5, 5, 2)
    assert rows_by_table(database_url) == {"acts": 1}  # the removal
    with pytest.raises(SpaceRemoved, match="space 'mistake' was removed"):
        record_and_flush(engine)
    with pytest.raises(SpaceRemoved, match="'mistake'"):
        engine.flush()
    with pytest.raises(TrajectoryError, match="space 'mistake' was removed"):
        record(engine, 1)
    with pytest.raises(SpaceRemoved, match="'mistake'"):
        engine.refresh()
    assert "space 'mistake' was removed" in engine.metrics()["database"]
    with pytest.raises(SpaceRemoved, match=r"\d+ records that waited are not stored"):
        engine.close()
    assert rows_by_table(database_url) == {"acts": 1}


def test_another_space_of_the_name_is_another_space(database_url: str) -> None:
    engine = SonaEngine(DIM, database_url, "again", config=quiet())
    remove(database_url, "again")
    with SonaEngine(DIM, database_url, "again", config=quiet()) as other:
        record(other, 3)
        other.flush()
        with pytest.raises(SpaceRemoved):
            record_and_flush(engine)
        with pytest.raises(SpaceRemoved):
            engine.close()
    assert rows_by_table(database_url)["trajectories"] == 3


def test_a_removal_waits_for_the_batch_that_is_being_written(database_url: str) -> None:
    with SonaEngine(DIM, database_url, "busy", config=quiet()) as engine, psycopg.connect(database_url) as writing:
        [(space_id,)] = writing.execute("SELECT space_id FROM sona.spaces").fetchall()
        writing.execute(statements.HOLD_SPACE, {"space": space_id})
        with psycopg.connect(database_url) as removing:
            removing.execute("SET lock_timeout = '100ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                removing.execute("SELECT FROM sona.spaces WHERE space_id = %s FOR UPDATE", [space_id])
        engine.force_learn()  # a learner does not wait for it
        writing.rollback()


def test_a_mistyped_space_makes_no_tenant(database_url: str) -> None:
    with SonaEngine(DIM, database_url, "right"):
        pass
    for open_it in (
        lambda: SonaEngine(DIM, database_url, "wrong", create=False),
        lambda: SonaEngine.with_config(SonaConfig(hidden_dim=DIM), url=database_url, space="wrong", create=False),
        lambda: SonaEngine.builder().hidden_dim(DIM).url(database_url).space("wrong").create(False).build(),
    ):
        with pytest.raises(DatabaseError, match="there is no space 'wrong'; there are: 'right'"):
            open_it()
    with SonaEngine(DIM, database_url, "right", create=False) as engine:
        record(engine, 1)
    assert rows_by_table(database_url)["spaces"] == 1


def test_the_command_line_lists_and_removes_spaces(database_url: str) -> None:
    def run(*arguments: str) -> str:
        result = CliRunner().invoke(app, [*arguments, "--url", database_url])
        if result.exception is not None:
            raise result.exception
        return result.output

    for name in ("one", "two"):
        with SonaEngine(DIM, database_url, name) as engine:
            record(engine, 2)
    assert "one" in run("space", "list")
    with pytest.raises(ConfigError, match="pass --yes"):
        run("space", "remove", "one")
    with pytest.raises(DatabaseError, match="there is no space 'onee'; there are: 'one', 'two'"):
        run("space", "remove", "onee", "--yes")
    assert "trajectories" in run("space", "remove", "one", "--yes")
    assert "one" not in run("space", "list")
    assert rows_by_table(database_url)["trajectories"] == 2
