"""Settings of a space: checked against a configuration's wishes, changed at a version, replayed by a rebuild."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import psycopg
import pytest

from sona_pg import BaseConfig, LoopConfig, MaintenanceConfig, MicroConfig, PatternConfig, SonaConfig, SonaEngine
from sona_pg.config.sona_names import SETTINGS
from sona_pg.config.space_settings import FIRST, TYPES, settings_of, wishes_of
from sona_pg.errors import ConfigError, LearningConflict, SettingsConflict
from sona_pg.store.unit import LearningUnit

DIM = 8
QUIET = LoopConfig(automatic=False, poll_interval=60.0)
CONFIG = SonaConfig(base=BaseConfig(rank=4, layers=2), loops=QUIET, maintenance=MaintenanceConfig(automatic=False))
ANY = SonaConfig(loops=QUIET, maintenance=MaintenanceConfig(automatic=False))


@pytest.fixture
def engine(database_url: str) -> Iterator[SonaEngine]:
    with SonaEngine(DIM, database_url, config=CONFIG) as opened:
        yield opened


def record(engine: SonaEngine, seed: int, n: int = 24) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(n):
        x = rng.standard_normal(DIM).astype(np.float32)
        handle = engine.begin_trajectory(x)
        engine.add_step(handle, np.roll(x, 1), None, float(rng.random()))
        engine.end_trajectory(handle, float(rng.random()))


def test_a_space_keeps_the_settings_it_was_created_with_for_every_engine(database_url: str, engine: SonaEngine) -> None:
    with SonaEngine(DIM, database_url, config=ANY) as other:
        assert (other.config.base.rank, other.config.base.layers) == (4, 2)
        assert other.config.loops.poll_interval == 60.0
        record(other, 0)
        other.force_learn()
    assert engine.rebuild().equal


def test_other_settings_than_its_own_are_refused_by_name(database_url: str, engine: SonaEngine) -> None:
    wider = ANY.replace(base=BaseConfig(rank=8))  # the default, but given by the caller
    with pytest.raises(SettingsConflict, match=r"'default' learns with base.rank=4, not 8: .*space set default base"):
        SonaEngine(DIM, database_url, config=wider)
    with pytest.raises(SettingsConflict, match=r"base.rank=4, not 16.* patterns.clusters=100, not 50"):
        SonaEngine(DIM, database_url, config=ANY.replace(base=BaseConfig(16), patterns=PatternConfig(clusters=50)))


def test_only_named_settings_are_wished_for() -> None:
    assert wishes_of(SonaConfig()) == {}
    assert wishes_of(SonaConfig(micro=MicroConfig(2, max_norm=1))) == {"micro.rank": 2, "micro.max_norm": 1.0}
    assert wishes_of(SonaConfig.max_quality())["base.rank"] == 16
    assert "loops.automatic" not in {**wishes_of(CONFIG), **settings_of(CONFIG)}
    assert set(FIRST) <= set(TYPES)


@pytest.mark.parametrize(("name", "setting"), [(name, setting) for name, (setting, _) in SETTINGS.items()])
def test_a_setting_by_its_name_in_sona_is_refused_with_its_name_here(name: str, setting: str) -> None:
    with pytest.raises(ConfigError, match=f"has no setting '{name}': SONA's is {setting} here"):
        SonaConfig(**{name: 1})
    part, _, inner = setting.partition(".")
    assert setting == "SONA_PG_ISA" or hasattr(getattr(SonaConfig(), part), inner or "__int__")


def test_an_unknown_setting_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match="MicroConfig has no setting 'rnak': it has rank, learning_rate, max_norm"):
        MicroConfig(rnak=2)  # type: ignore[call-arg]


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda config: pickle.loads(pickle.dumps(config))])
def test_a_copy_wishes_for_the_same(copied: Callable[[SonaConfig], SonaConfig]) -> None:
    named = SonaConfig(base=BaseConfig(rank=8), micro=MicroConfig(rank=1))
    assert copied(named) == named
    assert wishes_of(copied(named)) == wishes_of(named.replace(hidden_dim=5)) == {"micro.rank": 1, "base.rank": 8}
    assert "hidden_dim" not in copied(named).given


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"base.rank": 2}, "base.rank cannot shrink from 4 to 2"),
        ({"base.layers": 1}, "base.layers cannot shrink"),
        ({"base.speed": 2}, "no setting 'base.speed'.*base.rank"),
        ({"loops.automatic": True}, "no setting 'loops.automatic'"),
        ({"ewc.fisher": "round"}, "'kronecker' or 'diagonal'"),
        ({"patterns.decay": float("nan")}, "patterns.decay=nan"),
        ({"micro.max_norm": float("inf")}, "micro.max_norm=inf"),
    ],
)
def test_a_setting_that_cannot_work_is_refused_and_changes_nothing(
    engine: SonaEngine, changes: dict[str, Any], told: str
) -> None:
    record(engine, 0, 1)
    engine.force_learn()
    before = settings_of(engine.config)
    with pytest.raises(ConfigError, match=told):
        engine.set_settings(changes)
    assert settings_of(engine.config) == before


@pytest.mark.parametrize("fisher", ["kronecker", "diagonal"])
def test_every_cycle_is_rebuilt_with_the_settings_of_its_time(engine: SonaEngine, fisher: str) -> None:
    engine.set_settings({"ewc.fisher": fisher, "ewc.boundary_threshold": 1e-6})
    for seed, changes in enumerate(
        [{"base.learning_rate": 0.2}, {"loops.replay": 5, "loops.seed": 3}, {"base.rank": 6}]
    ):
        engine.set_settings(changes)
        record(engine, seed)
        assert engine.force_learn().learned
    assert engine.rebuild().equal
    assert engine.config.base.rank == 6


def test_more_rank_and_layers_change_no_answer(engine: SonaEngine) -> None:
    record(engine, 0, 40)
    engine.force_learn()
    x = np.random.default_rng(1).standard_normal((5, DIM)).astype(np.float32)
    before = engine.apply_base_lora(0, x)
    engine.set_settings({"base.rank": 8, "base.layers": 3, "base.learning_rate": 1e-9, "ewc.lambda_": 100.0})
    record(engine, 1, 1)
    engine.force_learn()
    np.testing.assert_allclose(engine.apply_base_lora(0, x), before, atol=1e-5)
    np.testing.assert_array_equal(engine.apply_base_lora(2, x), x)


def test_a_cycle_that_began_with_other_settings_is_run_again(
    engine: SonaEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(engine, 0)
    publish, attempts = LearningUnit.publish, []

    def late(unit: LearningUnit, *arguments: Any) -> None:
        attempts.append(unit.settings["base.learning_rate"])
        if len(attempts) == 1:
            engine._session.database.set_settings(engine._session.space, {"base.learning_rate": 0.3})
        publish(unit, *arguments)

    monkeypatch.setattr(LearningUnit, "publish", late)
    assert engine.force_learn().learned
    assert attempts == [0.05, 0.3]
    assert engine.rebuild().equal


def test_settings_that_no_cycle_can_need_are_forgotten(database_url: str, engine: SonaEngine) -> None:
    for rate in (0.1, 0.2, 0.3):
        engine.set_settings({"base.learning_rate": rate})
    known = engine._session.database.settings_history(engine._session.space)
    assert [(version, of["base.learning_rate"]) for version, _, of in known] == [(0, 0.05), (1, 0.3)]
    record(engine, 0)
    engine.force_learn()
    engine.set_settings({"base.learning_rate": 0.4})
    known = engine._session.database.settings_history(engine._session.space)
    assert [version for version, _, _ in known] == [1, 2]


def test_a_space_of_the_release_before_goes_on_as_it_was(database_url: str) -> None:
    then = ANY.replace(micro=MicroConfig(learning_rate=0.05), base=BaseConfig(rank=5, layers=3))
    with SonaEngine(DIM, database_url, config=then) as engine:
        record(engine, 0)
        engine.force_learn()
        x = np.ones((1, DIM), np.float32)
        before = engine.apply_base_lora(0, x)
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE sona.spaces SET settings = '{}'")
    with SonaEngine(DIM, database_url, config=ANY) as engine:
        assert settings_of(engine.config) == {**FIRST, "base.rank": 5, "base.layers": 3}
        np.testing.assert_array_equal(engine.apply_base_lora(0, x), before)
        assert engine.rebuild().equal
    with pytest.raises(SettingsConflict, match=r"base.rank=5, not 8"):
        SonaEngine(DIM, database_url, config=ANY.replace(base=BaseConfig(rank=8)))
    with SonaEngine(DIM, database_url, config=ANY.replace(base=BaseConfig(rank=5, learning_rate=0.2))) as engine:
        record(engine, 1)
        engine.force_learn()  # as with the release before, its learner's settings count: now they are the space's
    with pytest.raises(SettingsConflict, match=r"base.learning_rate=0.2, not 0.05"):
        SonaEngine(DIM, database_url, config=ANY.replace(base=BaseConfig(learning_rate=0.05)))


def test_the_dimension_of_the_configuration_is_obeyed(database_url: str) -> None:
    with SonaEngine(url=database_url, config=ANY.replace(hidden_dim=DIM)) as engine:
        assert engine.dim == DIM
    with pytest.raises(ConfigError, match="hidden_dim=9 beside a config of hidden_dim=8"):
        SonaEngine(9, database_url, config=ANY.replace(hidden_dim=DIM))


def test_a_learning_conflict_is_raised_where_settings_keep_changing(
    engine: SonaEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(engine, 0)
    publish, rates = LearningUnit.publish, iter(range(1, 100))

    def late(unit: LearningUnit, *arguments: Any) -> None:
        engine._session.database.set_settings(engine._session.space, {"base.learning_rate": 0.01 * next(rates)})
        publish(unit, *arguments)

    monkeypatch.setattr(LearningUnit, "publish", late)
    with pytest.raises(LearningConflict):
        engine.force_learn()


def test_before_anything_was_learned_a_rank_may_shrink_too(engine: SonaEngine) -> None:
    engine.set_settings({"base.rank": 2, "micro.rank": 1})
    record(engine, 0)
    engine.force_learn()
    assert engine._session.serving.state.base[0].rank == 2
    assert engine.rebuild().equal
