"""docs/roles.md: its statements are executed, and each role does its work with nothing else granted."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psycopg
import pytest
from psycopg import sql
from sqlalchemy import make_url

from sona_pg import LoopConfig, SonaConfig, SonaEngine
from sona_pg.config import MaintenanceConfig
from sona_pg.errors import DatabaseError
from sona_pg.store.admin import check, migrate
from sona_pg.store.database import Database

PAGE = Path(__file__).parents[2] / "docs" / "roles.md"
ROLES = ("sona_reader", "sona_recorder", "sona_learner", "sona_owner")
DIM = 8
CONFIG = SonaConfig(loops=LoopConfig(automatic=False), maintenance=MaintenanceConfig(automatic=False))
ROWS = np.random.default_rng(0).standard_normal((20, DIM))


@dataclass
class Shared:
    """A database that was set up as the page says."""

    url: str

    def as_role(self, role: str) -> str:
        return make_url(self.url).set(username=role, password="of-the-test").render_as_string(hide_password=False)


def run(url: str, statements: str, become: str | None = None) -> None:
    with psycopg.connect(url) as connection:
        if become:
            connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(become)))
        connection.execute(statements.encode())


@pytest.fixture
def shared(empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shared]:
    owner, others = re.findall(r"```sql\n(.*?)```", PAGE.read_text(), re.DOTALL)
    make, grants = others.split("GRANT", 1)
    try:
        run(empty_database_url, owner + make)
        run(empty_database_url, "".join(f"ALTER ROLE {role} PASSWORD 'of-the-test';" for role in ROLES))
        shared = Shared(empty_database_url)
        for role in ROLES:
            try:
                psycopg.connect(shared.as_role(role)).close()
            except psycopg.OperationalError as exc:
                pytest.skip(f"this server lets no new role in: {exc}")
        assert migrate.upgrade(shared.as_role("sona_owner")).current
        SonaEngine(DIM, shared.as_role("sona_owner"), "shared", config=CONFIG).close()
        run(shared.as_role("sona_owner"), "GRANT" + grants)
        yield shared
    finally:
        with psycopg.connect(empty_database_url, autocommit=True) as connection:
            for role in ROLES:
                if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [role]).fetchone() is not None:
                    connection.execute(f"DROP OWNED BY {role} CASCADE".encode())
                    connection.execute(f"DROP ROLE {role}".encode())


def record(engine: SonaEngine) -> None:
    engine.remember(["a", "b"], ROWS[:2])
    engine.keep_contents({"a": {"text": "first"}, "b": {}})
    assert engine.drop_contents(["b"]) == 1
    for x in ROWS:
        ranking = engine.rank(x, ROWS[:2], ids=["a", "b"])
        trajectory = engine.begin_trajectory(x, ranking=ranking)
        engine.add_step(trajectory, x, None, 1.0)
        engine.set_trajectory_route(trajectory, "a")
        engine.end_trajectory(trajectory, 0.9)
        engine.feedback(trajectory.id, 1.0)
    engine.flush()
    assert (engine.retire_candidates(["b"]), engine.restore_candidates(["b"])) == (1, 1)


def test_each_role_does_its_work_and_nothing_else(shared: Shared, tmp_path: Path) -> None:
    with SonaEngine(DIM, shared.as_role("sona_recorder"), "shared", config=CONFIG, migrate="check") as recorder:
        record(recorder)
        assert len(recorder.search(ROWS[0], k=3)) == 3
        with pytest.raises(DatabaseError, match="42501"):
            recorder.force_learn()
        with pytest.raises(DatabaseError, match="42501"):
            recorder.set_settings({"loops.growth": 0.2})
        with SonaEngine(DIM, shared.as_role("sona_learner"), "shared", config=CONFIG, migrate="check") as learner:
            assert learner.set_settings({"loops.growth": 0.2})["loops.growth"] == 0.2
            assert learner.force_learn().trajectories == len(ROWS)
            record(learner)
        assert recorder.refresh() == 1
        assert recorder.find_patterns(ROWS[0])
        assert json.loads(recorder.get_stats())["database"] == "answers"
    with psycopg.connect(shared.as_role("sona_reader")) as reader:
        for view in ("outcomes", "fleet", "cycle_log", "learning", "pattern_summary", "waiting_feedback", "versions"):
            reader.execute(f"SELECT * FROM sona.{view}".encode()).fetchall()
        assert reader.execute("SELECT size FROM sona.patterns_at('shared', 1)").fetchall()
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute("DELETE FROM sona.feedback")
    with SonaEngine(DIM, shared.as_role("sona_learner"), "shared", config=CONFIG, migrate="check") as learner:
        (found,) = learner.search(ROWS[0], k=1)
        key = tmp_path / "receipt.key"
        key.write_text("a key of 32 bytes for a receipt.")
        assert learner.forget(trajectories=[found.id], key=key).facts["removed"]["trajectories"] == 1
    for role in ("sona_recorder", "sona_learner"):
        with pytest.raises(DatabaseError, match="42501"):
            migrate.downgrade(shared.as_role(role))
    database = Database.open(shared.as_role("sona_owner"), "check")
    try:
        assert not [thing for thing in database.maintenance(MaintenanceConfig()).run() if thing.action == "later"]
    finally:
        database.close()
    assert check.faults(shared.as_role("sona_reader")) == []


def test_a_fleet_whose_grants_were_not_renewed_learns_and_serves(shared: Shared) -> None:
    with psycopg.connect(shared.as_role("sona_owner"), autocommit=True) as owner:
        owner.execute("REVOKE ALL ON sona.erasures FROM sona_recorder, sona_learner")
    with SonaEngine(DIM, shared.as_role("sona_recorder"), "shared", config=CONFIG, migrate="check") as recorder:
        record(recorder)
        with SonaEngine(DIM, shared.as_role("sona_learner"), "shared", config=CONFIG, migrate="check") as learner:
            assert learner.force_learn().learned
        assert recorder.refresh() == 1
