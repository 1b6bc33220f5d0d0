"""`sona-pg db check` finds every gap of an interrupted restore, and no fault in a complete database."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import psycopg
import pytest

from sona_pg import LoopConfig, SonaConfig, SonaEngine
from sona_pg.config import Environment, MaintenanceConfig
from sona_pg.errors import ConfigError, SchemaError
from sona_pg.store.admin import check, migrate
from sona_pg.store.admin.inventory import INVENTORY
from sona_pg.store.admin.weeks import Week
from sona_pg.store.database import Database

DIM = 8
CONFIG = SonaConfig(loops=LoopConfig(automatic=False), maintenance=MaintenanceConfig(automatic=False))


@pytest.fixture
def lived_in(database_url: str) -> str:
    """A database with the records and versions of a space."""
    rng = np.random.default_rng(0)
    with SonaEngine(DIM, database_url, "whole", config=CONFIG) as engine:
        engine.remember(["a", "b"], rng.standard_normal((2, DIM)))
        for number in range(30):
            x = rng.standard_normal(DIM)
            trajectory = engine.begin_trajectory(x)
            engine.add_step(trajectory, x, None, 1.0)
            engine.end_trajectory(trajectory, 0.5)
            if number % 3 == 0:
                engine.feedback(trajectory.id, 1.0)
        engine.force_learn()
        assert check.faults(database_url) == []
    return database_url


@pytest.mark.every_server
def test_the_inventory_equals_the_migrated_schema(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        there = connection.execute(check.THERE).fetchall()
    for kind, names in INVENTORY.items():
        assert {name for found, name in there if found == kind} == set(names.split()), kind
    assert check.faults(database_url) == []


LOSSES = [
    ("DROP TABLE sona.set_aside", ("table", "set_aside")),
    ("DROP VIEW sona.fleet", ("view", "fleet")),
    ("DROP FUNCTION sona.ensure_dimension", ("function", "ensure_dimension")),
    ("DROP INDEX sona.batches_unlearned", ("index", "batches_unlearned")),
    ("ALTER TABLE sona.spaces DROP CONSTRAINT spaces_dim_check", ("constraint", "spaces.spaces_dim_check")),
    ("ALTER TABLE sona.servers DROP COLUMN skew_ms CASCADE", ("column", "servers.skew_ms")),
    ("ALTER TABLE sona.steps DETACH PARTITION sona.steps_rest", ("partition", "steps_rest")),
    ("DROP INDEX sona.patterns_d8_hnsw", ("index", "patterns_d8_hnsw")),
    ("DELETE FROM sona.space_names", ("space", "1")),
    ("DELETE FROM sona.state_versions", ("version", "1 of space 1")),
    ("DELETE FROM sona.adapters WHERE kind = 'base'", ("version", "1 of space 1")),
    ("DELETE FROM sona.version_patterns", ("version", "1 of space 1")),
    ("DELETE FROM sona.trajectories", ("rows", "trajectories of space 1")),
    ("DELETE FROM sona.feedback", ("rows", "feedback of space 1")),
    ("DELETE FROM sona.candidates WHERE candidate_id = 'a'", ("rows", "candidates of space 1")),
    ("DELETE FROM sona.steps", ("rows", f"steps_w{Week.of(datetime.now(UTC)).monday:%Y%m%d} of space 1")),
]


def test_gaps_of_a_restore_are_found(lived_in: str) -> None:
    with psycopg.connect(lived_in) as connection:
        for loss, expected in LOSSES:
            connection.execute(loss)  # type: ignore[call-overload]
            found = [(fault.kind, fault.name) for fault in check.find(connection)]
            assert expected in found, loss
            assert len(found) == 1 or expected[0] not in ("view", "function", "constraint", "rows"), found
            connection.rollback()
        assert check.find(connection) == []


def test_an_older_schema_is_left_as_it_is_if_that_is_asked_for(empty_database_url: str) -> None:
    for revision in (None, "0004"):
        if revision:
            migrate.upgrade(empty_database_url, revision)
        with pytest.raises(SchemaError, match="run sona-pg db upgrade"):
            SonaEngine(DIM, empty_database_url, config=CONFIG, migrate="check")
        assert migrate.status(empty_database_url).revision == revision
    SonaEngine(DIM, empty_database_url, config=CONFIG, migrate="auto").close()
    SonaEngine(DIM, empty_database_url, config=CONFIG, migrate="check").close()


def test_the_environment_sets_the_policy_for_a_whole_process(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SONA_PG_MIGRATE", "check")
    with pytest.raises(SchemaError, match="SONA_PG_MIGRATE"):
        SonaEngine(DIM, empty_database_url, config=CONFIG)
    with pytest.raises(SchemaError):
        Database.open(empty_database_url, Environment.read().migrate)
    monkeypatch.setenv("SONA_PG_MIGRATE", "never")
    with pytest.raises(ConfigError, match="'auto' or 'check'"):
        SonaEngine(DIM, empty_database_url, config=CONFIG)
