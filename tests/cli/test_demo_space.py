"""`serve --demo` puts its sample answers into no live space unasked."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from sona_pg.cli.commands import app
from sona_pg.cli.demo_space import require_demo_space
from sona_pg.config import LoopConfig, SonaConfig
from sona_pg.demo.helpdesk import DIM, prepare_chat
from sona_pg.engine import SonaEngine, Store
from sona_pg.errors import InvalidValue
from sona_pg.store.database import Database

CONFIG = SonaConfig(loops=LoopConfig(automatic=False))


@pytest.mark.parametrize("own", ["candidate", "trajectory"])
def test_a_space_with_records_of_its_own_is_refused(database_url: str, own: str) -> None:
    with SonaEngine(DIM, database_url, "support", config=CONFIG) as engine:
        if own == "candidate":
            engine.remember(["track_link"], engine.embed(["Where is my parcel?"]))
        else:
            engine.end_trajectory(engine.begin_trajectory(engine.embed(["Where is my parcel?"])[0]), 1.0)
        engine.flush()
    done = CliRunner().invoke(app, ["serve", "--demo", "--space", "support", "--port", "0", "--url", database_url])
    assert isinstance(done.exception, InvalidValue)
    assert "space 'support' has records of its own: --demo would put" in str(done.exception)


def test_a_space_that_is_new_empty_or_of_the_demo_is_taken(database_url: str) -> None:
    database = Database.open(database_url)
    try:
        require_demo_space(database, "demo")
        with Store(database_url) as store:
            engine = store.space("demo", DIM, config=CONFIG)
            require_demo_space(database, "demo")
            prepare_chat(store, "demo", CONFIG)
            engine.end_trajectory(engine.begin_trajectory(engine.embed(["Where is my parcel?"])[0]), 1.0)
            engine.flush()
            require_demo_space(database, "demo")
    finally:
        database.close()
