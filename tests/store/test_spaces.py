"""A space is renamed while it is open; taken and missing names are reported."""

from __future__ import annotations

import numpy as np
import psycopg
import pytest

from sona_pg import LoopConfig, MaintenanceConfig, SonaConfig, SonaEngine, Store
from sona_pg.errors import InvalidValue, SpaceExists, UnknownSpace
from sona_pg.store.admin import health
from sona_pg.store.database import Database

DIM = 8
QUIET = SonaConfig(
    loops=LoopConfig(automatic=False, poll_interval=60.0), maintenance=MaintenanceConfig(automatic=False)
)


def test_an_open_engine_goes_on_under_the_new_name(database_url: str) -> None:
    database = Database.open(database_url)
    with SonaEngine(DIM, database_url, "old", config=QUIET) as engine:
        assert database.rename_space("old", "new").name == "new"
        engine.end_trajectory(engine.begin_trajectory(np.ones(DIM)), 1.0)
        assert engine.force_learn().trajectories == 1
    with SonaEngine(DIM, database_url, "new", config=QUIET, create=False) as engine:
        assert engine.version == 1
    with pytest.raises(UnknownSpace, match="there is no space 'old'; there are: 'new'"):
        SonaEngine(DIM, database_url, "old", config=QUIET, create=False)
    database.close()


def test_taken_invalid_and_missing_names_are_refused(database_url: str) -> None:
    database = Database.open(database_url)
    for name in ("one", "two"):
        database.open_space(name, DIM, database.now())
    with pytest.raises(SpaceExists, match="'one' cannot be renamed: there is a space 'two'"):
        database.rename_space("one", "two")
    with pytest.raises(UnknownSpace, match="'three'"):
        database.rename_space("three", "four")
    with pytest.raises(InvalidValue, match="space name"):
        database.rename_space("one", "")
    assert database.rename_space("one", "one").name == "one"
    assert [space.name for space in database.list_spaces()] == ["one", "two"]
    database.close()


def test_the_figures_of_spaces_and_of_upkeep_are_one_statement_each(database_url: str) -> None:
    with SonaEngine(DIM, database_url, "taught", config=QUIET) as engine:
        for _ in range(7):
            engine.feedback(engine.begin_trajectory(np.ones(DIM)), 0.5)
        engine.end_trajectory(engine.begin_trajectory(np.ones(DIM)), 1.0)
        engine.force_learn()
        engine.end_trajectory(engine.begin_trajectory(np.ones(DIM)), 1.0)
    with Store(database_url) as store:
        store.space("empty", DIM, config=QUIET)
        told = {one.name: one for one in store.space_figures()}
        (taught,) = store.space_figures(told["taught"].space_id)
        assert store.upkeep_times().keys() == {"maintained"}
        assert store.space_figures(99) == []
    assert (taught.trajectories, taught.feedback, taught.unlearned, taught.live_version) == (2, 7, 1, 1)
    assert (taught.failed_cycles, taught.unlearned_age > 0, taught.live_version_age > 0) == (0, True, True)
    assert (told["empty"].trajectories, told["empty"].live_version, told["empty"].unlearned_age) == (0, 0, 0.0)
    learning = {one.check: one.status for one in health.examine(database_url)}
    assert (learning["learning"], learning["maintenance"]) == ("ok", "ok")


@pytest.mark.parametrize("name", ["a\nb", "red\x1b[31m", "\x7f", "two\u2028lines", "c1\x85"])
def test_control_characters_are_refused_in_new_names_and_an_old_space_with_one_opens(
    database_url: str, name: str
) -> None:
    with Store(database_url) as store:
        store.space("plain", DIM, config=QUIET)
        for make in (lambda: store.space(name, DIM, config=QUIET), lambda: store.rename_space("plain", name)):
            with pytest.raises(InvalidValue, match="control character or a line break"):
                make()
    with psycopg.connect(database_url) as connection:  # as an earlier release made it
        connection.execute("UPDATE sona.space_names SET name = %s", (name,))
        connection.execute("UPDATE sona.spaces SET name = %s", (name,))
    with SonaEngine(DIM, database_url, name, config=QUIET, create=False) as engine:
        assert engine.version == 0
