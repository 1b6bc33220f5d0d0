"""Late, revised and retracted feedback takes effect everywhere, and retracted facts leave no trace."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import psycopg
import pytest

from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import BaseConfig, EwcConfig, LoopConfig
from sona_pg.learning.adapters.samples import STIFFNESS
from sona_pg.learning.knowledge import Knowledge

DIM = 16
CONFIG = SonaConfig(hidden_dim=DIM, base=BaseConfig(rank=4, layers=1), loops=LoopConfig(automatic=False, replay=64))
RNG = np.random.default_rng(3)


@pytest.fixture
def engine(database_url: str) -> Iterator[SonaEngine]:
    with SonaEngine(DIM, database_url, config=CONFIG) as opened:
        yield opened


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def turned(engine: SonaEngine, query: np.ndarray, step: np.ndarray) -> tuple[float, float]:
    """How far micro and base adapter turn the query towards the step."""
    micro, base = engine.apply_micro_lora(query), engine.apply_base_lora(0, query)
    return float((unit(micro) - query) @ step), float((unit(base) - query) @ step)


def stepped(engine: SonaEngine, query: np.ndarray, step: np.ndarray, quality: float | None = None) -> Any:
    handle = engine.begin_trajectory(query)
    engine.add_step(handle, step)
    engine.set_trajectory_route(handle, "a")
    engine.end_trajectory(handle, quality=quality)
    return handle.id


def learned(engine: SonaEngine) -> Knowledge:
    return engine._session._background.knowledge


def test_late_revised_and_retracted_feedback_reaches_both_adapters(engine):
    query, step = unit(RNG.standard_normal((2, DIM)))
    seen = stepped(engine, query, step)
    engine.force_learn()
    assert turned(engine, query, step) == (0.0, 0.0)
    engine.feedback(seen, quality=1.0)
    engine.force_learn()
    liked = turned(engine, query, step)
    assert min(liked) > 0.01
    engine.feedback(seen, quality=0.0)
    engine.force_learn()
    disliked = turned(engine, query, step)
    assert max(disliked) < -0.01
    np.testing.assert_allclose(disliked, -np.array(liked), atol=0.01)  # as if it had been given at first
    engine.feedback(seen, retract=True)
    engine.force_learn()
    assert turned(engine, query, step) == (0.0, 0.0)
    assert engine.rebuild().equal


def test_one_of_many_that_is_taken_back_takes_its_share_along(engine):
    query, step, other = unit(RNG.standard_normal((3, DIM)))
    seen = [stepped(engine, query, step, 1.0) for _ in range(20)]
    stepped(engine, other, step, 0.5)
    engine.force_learn()
    before = np.array(turned(engine, query, step))
    engine.feedback(seen[0], retract=True)
    for id_ in seen[1:]:  # the quality at the end cannot be retracted; a source's fact can
        engine.feedback(id_, quality=1.0)
    engine.force_learn()
    assert (np.array(turned(engine, query, step)) > 0.8 * before).all()
    assert (before <= 0.5 / STIFFNESS * 1.02).all()
    assert engine.rebuild().equal


def test_setting_the_same_value_again_changes_nothing(engine):
    titles = unit(RNG.standard_normal((4, DIM)))
    seen = []
    for index in range(40):
        query = unit(titles[index % 4] + 0.2 * RNG.standard_normal(DIM))
        ranking = engine.rank(query, titles, ids=list("abcd"))
        handle = engine.begin_trajectory(query, ranking=ranking)
        engine.add_step(handle, titles[index % 4])
        engine.set_trajectory_route(handle, ranking.ids[0])
        engine.end_trajectory(handle, quality=float(index % 2))
        seen.append(handle.id)
    engine.force_learn()
    before = learned(engine).state
    for index, id_ in enumerate(seen):
        engine.feedback(id_, quality=float(index % 2), source="another")
    assert engine.force_learn().revised == 40
    after = learned(engine).state
    np.testing.assert_array_equal(after.micro.b, before.micro.b)
    np.testing.assert_array_equal(after.base[0].b, before.base[0].b)
    np.testing.assert_array_equal(after.arrays["ranker"]["positive"], before.arrays["ranker"]["positive"])
    assert engine.rebuild().equal


def test_a_retracted_part_leaves_no_trace_in_the_adapters(database_url):
    rng = np.random.default_rng(0)
    directions = unit(rng.standard_normal((3, DIM)))  # few, which all queries share: they move each other's outputs
    queries = unit(rng.standard_normal((30, DIM)))
    steps = unit(directions[np.arange(30) % 3] + 0.1 * rng.standard_normal((30, DIM)))
    gone = set(rng.permutation(30)[:10].tolist())
    spaces = {}
    for name in ("said", "never said"):
        with SonaEngine(DIM, database_url, name, config=CONFIG) as engine:
            ids = {}
            for index in range(30):
                ids[index] = stepped(engine, queries[index], steps[index])
                if name == "said" or index not in gone:
                    engine.feedback(ids[index], quality=0.7 + 0.01 * index)
                if index % 15 == 14:
                    engine.force_learn()
            before = learned(engine).state
            for index in gone if name == "said" else ():
                engine.feedback(ids[index], retract=True)
            engine.force_learn()
            assert name == "never said" or engine.rebuild().equal
            spaces[name] = before, learned(engine).state
    (said, back), (_, never) = spaces["said"], spaces["never said"]
    assert np.abs(said.micro.b - never.micro.b).max() > 0.01
    for ours, theirs in ((back.micro, never.micro), (back.base[0], never.base[0])):
        np.testing.assert_allclose(ours.a, theirs.a, atol=1e-6)
        np.testing.assert_allclose(ours.b, theirs.b, atol=1e-6)


def test_protected_tasks_are_learned_anew_with_the_adapters_and_come_back_with_a_rollback(database_url):
    config = CONFIG.replace(ewc=EwcConfig(boundary_threshold=0.5), loops=LoopConfig(automatic=False))
    rng = np.random.default_rng(0)
    with SonaEngine(DIM, database_url, config=config) as engine:

        def tasks() -> list[tuple[int, float]]:
            known = engine._session.database.learned(engine._session.space).fisher
            return [(task.task, float(task.optimum.sum())) for task in known]

        seen = []
        for cycle in range(3):
            for step in unit(rng.standard_normal((60, DIM))):
                seen.append(stepped(engine, unit(4 * np.eye(DIM)[4 * cycle] + rng.standard_normal(DIM)), step))
                engine.feedback(seen[-1], quality=float(rng.random()))
            live = engine.force_learn().version
        before = tasks()
        assert [number for number, _ in before] == [0, 1]
        for id_ in seen[:10]:
            engine.feedback(id_, retract=True)
        engine.promote(engine.stage().version)
        after = tasks()
        assert [number for number, _ in after] == [0, 1]
        assert not set(after) & set(before)
        assert engine.rebuild().equal
        engine.rollback(live)
        assert tasks() == before
        assert engine.rebuild().equal


@pytest.mark.parametrize("rated_at_once", [False, True])
def test_after_all_of_it_is_taken_back_nothing_is_left_of_it(database_url, rated_at_once):
    rng = np.random.default_rng(0)
    centres, titles = unit(rng.standard_normal((2, 4, DIM)))
    ids = [f"d{index}" for index in range(4)]
    spaces = {}
    for name in ("said", "never said"):
        rng = np.random.default_rng(1)
        with SonaEngine(DIM, database_url, name, config=CONFIG) as engine:
            engine.remember(ids, titles)
            seen: list = []
            for cycle in range(3):
                for index in range(48) if cycle == 0 else ():
                    query = unit(centres[index % 4] + 0.1 * rng.standard_normal(DIM))
                    ranking = engine.rank(query, ids=ids) if index % 3 == 0 else None
                    handle = engine.begin_trajectory(query, query=f"question {index}", ranking=ranking)
                    engine.add_step(handle, titles[index % 4])
                    engine.set_trajectory_parameters(handle, {"temperature": index / 50})
                    engine.set_trajectory_route(handle, ids[index % 4] if ranking else ("small", "big")[index % 2])
                    engine.end_trajectory(handle)
                    seen.append(handle.id)
                for index, id_ in enumerate(seen) if name == "said" else ():
                    if (cycle == 0 and rated_at_once and index % 3) or cycle == 1:
                        engine.feedback(id_, quality=float(np.sin(index) ** 2))
                        engine.feedback(id_, correction=ids[index % 4], source="label")
                    if cycle == 2:
                        engine.feedback(id_, retract=True)
                        engine.feedback(id_, retract=True, source="label")
                engine.force_learn()
            assert engine.rebuild().equal
            found = [engine.rank(query, ids=ids).scores for query in centres]
            assert engine.find_patterns(centres[0], 9, min_quality=1e-6) == []
            spaces[name] = learned(engine), found
    said, never = (known for known, _ in spaces.values())
    np.testing.assert_array_equal(said.state.micro.b, never.state.micro.b)
    np.testing.assert_array_equal(said.state.base[0].b, never.state.base[0].b)
    assert said.state.routes == never.state.routes == {}
    assert said.state.arrays.keys() == never.state.arrays.keys()
    for part, arrays in never.state.arrays.items():
        for array, value in arrays.items():
            assert said.state.arrays[part][array].shape == value.shape, (part, array)
            np.testing.assert_allclose(said.state.arrays[part][array], value, atol=1e-12, err_msg=f"{part} {array}")
    assert len(said.patterns) == len(never.patterns)
    for ours, theirs in zip(said.patterns, never.patterns, strict=True):
        np.testing.assert_allclose(ours.centroid, theirs.centroid, atol=1e-6)
        for field in ("id", "size", "weight", "quality", "verdicts", "parameters", "routes", "kind", "typical_queries"):
            assert getattr(ours, field) == getattr(theirs, field), field
    np.testing.assert_allclose(*(found for _, found in spaces.values()), atol=1e-6)


def test_a_trajectory_is_counted_once_however_often_it_is_toggled(engine, database_url):
    query, step = unit(RNG.standard_normal((2, DIM)))
    seen = stepped(engine, query, step)
    stepped(engine, query, step)
    engine.force_learn()
    assert engine.metrics()["routes"] == {}
    for turn in range(8):
        engine.feedback(seen, quality=float(turn % 4) / 3, retract=bool(turn % 2)) if not turn % 2 else engine.feedback(
            seen, retract=True
        )
        engine.force_learn()
        rated = turn % 2 == 0
        state = learned(engine).state
        assert {name: known.size for name, known in state.routes.items()} == ({"a": 1} if rated else {})
        assert len(state.arrays["replay"]["ids"]) == int(state.arrays["replay"]["seen"]) == rated
        assert [pattern.rated for pattern in learned(engine).patterns] == [rated]
    assert engine.rebuild().equal


def test_late_thumbs_on_an_unrated_route_reach_its_statistics(engine):
    query, step = unit(RNG.standard_normal((2, DIM)))
    seen = [stepped(engine, query, step) for _ in range(3)]
    engine.force_learn()
    for id_ in seen:
        engine.feedback(id_, quality=1.0)
    engine.force_learn()
    known = learned(engine).state.routes["a"]
    assert (known.size, known.quality) == (3, 1.0)
    assert known.latency_us is not None


def test_an_unrated_pattern_passes_no_quality_filter(engine, database_url):
    query, step = unit(RNG.standard_normal((2, DIM)))

    def found_in_sql(min_quality: float) -> int:
        asked = "SELECT count(*) FROM sona.find_patterns('default', %s, 5, %s)"
        with psycopg.connect(database_url) as connection:
            return connection.execute(asked, [str(query.tolist()), min_quality]).fetchone()[0]

    seen = stepped(engine, query, step)
    engine.force_learn()
    assert [pattern.rated for pattern in engine.find_patterns(query, 1)] == [False]
    assert engine.find_patterns(query, 1, min_quality=0.1) == []
    assert (found_in_sql(0.1), found_in_sql(0.0)) == (0, 1)
    engine.feedback(seen, quality=1.0)
    engine.force_learn()
    assert len(engine.find_patterns(query, 1, min_quality=0.9)) == found_in_sql(0.9) == 1
    engine.feedback(seen, retract=True)
    engine.force_learn()
    assert engine.find_patterns(query, 1, min_quality=0.1) == []
