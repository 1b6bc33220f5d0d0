"""Parameters: recorded with a trajectory, learned by a cycle, suggested with their evidence."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import psycopg
import pytest

from sona_pg import DimensionMismatch, InvalidValue, SonaConfig, SonaEngine
from sona_pg.config import LoopConfig, PatternConfig

DIM = 8
ONE, OTHER = np.eye(DIM, dtype=np.float32)[:2]
CONFIG = SonaConfig(loops=LoopConfig(automatic=False), patterns=PatternConfig(min_size=2))


@pytest.fixture
def engine(database_url: str) -> Iterator[SonaEngine]:
    with SonaEngine(DIM, database_url, config=CONFIG) as opened:
        yield opened


def teach(engine: SonaEngine) -> list:
    """Near ONE a temperature of .2 succeeds and .9 fails; near OTHER the other way round."""
    ids = []
    for row in range(12):
        x, good = (ONE, 0.2) if row % 2 else (OTHER, 0.9)
        temperature = good if row % 3 else 1.1 - good
        t = engine.begin_trajectory(x)
        engine.set_trajectory_route(t, "small" if row % 2 else "large")
        engine.set_trajectory_parameters(t, {"temperature": temperature, "top_k": 40})
        engine.end_trajectory(t, quality=1.0 if temperature == good else 0.0)
        ids.append(t.id)
    engine.force_learn()
    return ids


def test_settings_that_went_well_nearby_are_suggested_with_their_evidence(engine: SonaEngine) -> None:
    assert engine.interpolate_parameters(ONE).values == {}
    teach(engine)
    suggested = engine.interpolate_parameters(ONE)
    assert suggested.values == {"temperature": pytest.approx(0.2), "top_k": pytest.approx(40.0)}
    nearest = suggested.evidence["temperature"][0]
    assert nearest.pattern_id == engine.find_patterns(ONE, 1)[0].id
    assert (nearest.trajectories, nearest.low, nearest.high, nearest.share) == (4, 0.2, 0.2, 1.0)
    assert suggested.version == engine.version
    assert engine.interpolate_parameters(OTHER).values["temperature"] == pytest.approx(0.9)
    between = engine.interpolate_parameters(ONE + OTHER).values["temperature"]
    assert 0.3 < between < 0.8
    assert engine.interpolate_parameters(ONE + OTHER, route="small").values["temperature"] == pytest.approx(0.2)
    assert engine.interpolate_parameters(ONE, min_quality=1.0).values == {}


@pytest.mark.every_server
def test_revised_outcomes_take_their_settings_back(engine: SonaEngine, database_url: str) -> None:
    ids = teach(engine)
    for id_ in ids[1::2]:  # near ONE failures became successes, and the other way round
        engine.feedback(id_, quality=0.0 if ids.index(id_) % 3 else 1.0)
    engine.force_learn()
    assert engine.interpolate_parameters(ONE, 1).values["temperature"] == pytest.approx(0.9)
    assert engine.interpolate_parameters(OTHER, 1).values["temperature"] == pytest.approx(0.9)
    assert engine.rebuild().equal
    with psycopg.connect(database_url) as connection:
        shown = connection.execute("SELECT parameters FROM sona.pattern_summary ORDER BY quality").fetchall()
    assert [{name: round(value, 6) for name, value in row[0].items()} for row in shown] == [
        {"temperature": 0.9, "top_k": 40.0}
    ] * 2


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("temperature=1", "parameters"),
        ({"": 1.0}, "''"),
        ({"a\0b": 1.0}, "printable"),
        ({"\ud800": 1.0}, "printable"),
        ({"x" * 201: 1.0}, "200"),
        ({1: 1.0}, "1"),
        ({"t": float("nan")}, "t.*nan"),
        ({"t": float("inf")}, "t.*inf"),
        ({"t": 1e16}, "1e15"),
        ({"t": "0.2"}, "t.*number"),
        ({"t": True}, "t.*number"),
        ({"t": None}, "t.*number"),
        ({str(row): 1.0 for row in range(101)}, "100"),
    ],
)
def test_settings_that_cannot_be_kept_are_refused_by_name(engine: SonaEngine, given: object, told: str) -> None:
    t = engine.begin_trajectory(ONE)
    with pytest.raises(InvalidValue, match=told):
        engine.set_trajectory_parameters(t, given)  # type: ignore[arg-type]
    engine.end_trajectory(t)  # and the trajectory is as it was
    engine.flush()


def test_a_question_without_a_direction_has_no_suggestion(engine: SonaEngine) -> None:
    with pytest.raises(InvalidValue, match="direction"):
        engine.interpolate_parameters(np.zeros(DIM))
    with pytest.raises(DimensionMismatch):
        engine.interpolate_parameters(np.ones(DIM + 1))


def test_a_number_of_very_many_digits_stops_no_cycle(engine: SonaEngine, database_url: str) -> None:
    for _ in range(6):
        t = engine.begin_trajectory(ONE)
        engine.set_trajectory_parameters(t, {"temperature": 0.5})
        engine.end_trajectory(t, quality=1.0)
    engine.flush()
    with psycopg.connect(database_url) as connection:  # jsonb holds it, and rows may come from elsewhere
        connection.execute(
            "UPDATE sona.trajectories SET parameters = parameters || %s::jsonb", [f'{{"k": 1{"0" * 5000}}}']
        )
    assert engine.force_learn().learned
    assert engine.interpolate_parameters(ONE).values == {"temperature": 0.5}
