"""Administrative acts: each is recorded with who did it, in the transaction that does it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import psycopg
import pytest
from fix_tenants import DIM, OWN, QUIET, Tenants
from typer.testing import CliRunner

from sona_pg import SonaEngine, Store
from sona_pg.cli.commands import app
from sona_pg.domain.act import WHOLE_STORE, acting_as, current_actor
from sona_pg.errors import UnknownVersion
from sona_pg.store import acts
from sona_pg.store.admin import space_archive
from sona_pg.store.database import Database


def test_every_act_is_recorded_once(database_url: str, tmp_path: Path) -> None:
    receipts = tmp_path / "receipt.key"
    receipts.write_text("a key of 32 bytes for a receipt.")
    with Store(database_url) as store:
        engine = store.space(OWN, hidden_dim=DIM, config=QUIET)
        engine.set_settings({"loops.growth": 0.2})
        engine.set_budget(1.0, "day")
        key, _ = store.create_key(OWN, "web", ["read"])
        store.revoke_key(OWN, key.key_id)
        for x in np.eye(DIM):
            trajectory = engine.begin_trajectory(x)
            engine.end_trajectory(trajectory, 0.9)
        engine.flush()
        engine.promote(engine.stage().version)
        engine.rollback(0)
        with pytest.raises(UnknownVersion):
            engine.rollback(1000)
        engine.forget(trajectories=[trajectory.id], key=receipts)
        store.rename_space(OWN, "renamed")
        found = store.acts("renamed")
        store.remove_space("renamed")
        removed = store.acts()
    assert [act.act for act in reversed(found)] == [
        "space created", "settings changed", "budget set", "key created", "key revoked", "version promoted",
        "version rolled back", "user erased", "space renamed",
    ]  # fmt: skip
    assert {(act.space, act.actor) for act in found} == {("renamed", current_actor())}
    assert found[0].details == {"from": OWN, "to": "renamed"}
    assert str(trajectory.id) not in str([act.details for act in found])
    assert [(act.act, act.space, act.details["name"]) for act in removed] == [("space removed", None, "renamed")]


def test_an_act_that_fails_leaves_no_record(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        acts.note(connection, 1, "space created")
        connection.rollback()
        assert acts.listing(connection, None, 10) == []
        with acting_as("key web"):
            acts.note(connection, WHOLE_STORE, "roles installed", {"prefix": "x"})
        (act,) = acts.listing(connection, None, 10)
        assert (act.actor, act.login, act.details) == ("key web", connection.info.user, {"prefix": "x"})


def test_the_latest_acts_are_kept(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        for number in range(5):
            acts.note(connection, 1, "budget set", {"amount": number})
        acts.note(connection, 2, "budget set")
        assert acts.forget(connection, 1, 3) == 2
        assert acts.forget(connection, 1, 3) == 0
        found = acts.listing(connection, 1, 10)
    assert [act.details["amount"] for act in found] == [4, 3, 2]


def test_an_unarchived_space_has_no_acts_of_another_store(database_url: str, tmp_path: Path) -> None:
    SonaEngine(DIM, database_url, OWN, config=QUIET).close()
    database = Database.at(database_url)
    try:
        space_archive.write_archive(database.engine, database.find_space(OWN), tmp_path / "space")
        space, _ = space_archive.read_archive(database.engine, tmp_path / "space", "copy")
        assert [act.act for act in database.acts(space, 10)] == ["space unarchived", "space created"]
    finally:
        database.close()


def test_a_login_records_acts_of_its_own_alone(tenants: Tenants) -> None:
    url = tenants.as_login("admin")
    with SonaEngine(DIM, url, OWN, config=QUIET, migrate="check") as engine:
        engine.set_budget(2.0, "day")
    database = Database.at(url)
    try:
        found = database.acts(None, 100)
    finally:
        database.close()
    assert (found[0].act, found[0].login) == ("budget set", tenants.login("admin"))
    assert {act.space for act in found} == {OWN}
    assert "login granted" in {act.act for act in found}
    insert = (
        "INSERT INTO sona.acts (space_id, act_id, at, act, login, actor) "
        "VALUES (1, gen_random_uuid(), now(), 'x', %s, 'y')"
    )
    with psycopg.connect(url) as connection:
        for login in (tenants.login("learner"), "postgres"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
                connection.execute(insert, [login])
            connection.rollback()
        for change in ("UPDATE sona.acts SET actor = 'x'", "DELETE FROM sona.acts"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(change.encode())
            connection.rollback()


def test_the_command_lists_acts(database_url: str) -> None:
    SonaEngine(DIM, database_url, OWN, config=QUIET).close()
    done = CliRunner().invoke(app, ["audit", "--space", OWN, "--url", database_url])
    assert done.exit_code == 0, done.output
    assert [json.loads(line)["act"] for line in done.output.splitlines()] == ["space created"]
