"""Bad input: each refusal names the value, what was expected and what to do, and writes nothing."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import psycopg
import pytest

from sona_pg import (
    DimensionMismatch,
    InvalidValue,
    SonaEngine,
    SonaError,
    TrajectoryError,
)

pytestmark = pytest.mark.no_vectors

DIM = 8
GOOD = np.ones(DIM, np.float32)
BAD_NUMBERS = [np.nan, np.inf, -np.inf, 1e6]


@pytest.fixture
def engine(database_url: str) -> Iterator[SonaEngine]:
    """An engine whose ledger must still be empty after the test."""
    with SonaEngine(DIM, database_url) as opened:
        yield opened
        opened.flush()
    with psycopg.connect(database_url) as connection:
        for table in ("trajectories", "steps", "feedback"):
            assert connection.execute(f"SELECT count(*) FROM sona.{table}").fetchone() == (0,), table


def test_a_wrong_dimension_names_both(engine: SonaEngine) -> None:
    for call in (
        lambda: engine.begin_trajectory(np.ones(DIM + 1, np.float32)),
        lambda: engine.apply_micro_lora(np.ones(DIM + 1, np.float32)),
        lambda: engine.find_patterns(np.ones(DIM + 1, np.float32)),
        lambda: engine.rank(np.ones(DIM + 1), [GOOD], ids=["a"]),
        lambda: engine.route(np.ones(DIM + 1), ["a"]),
    ):
        with pytest.raises(DimensionMismatch, match=r"9.*8") as caught:
            call()
        assert (caught.value.expected, caught.value.actual) == (DIM, DIM + 1)


@pytest.mark.parametrize("number", BAD_NUMBERS)
def test_numbers_that_cannot_be_stored_are_refused(engine: SonaEngine, number: float) -> None:
    poisoned = GOOD.copy()
    poisoned[3] = number
    with pytest.raises(InvalidValue, match="embedding"):
        engine.begin_trajectory(poisoned)
    t = engine.begin_trajectory(GOOD)
    with pytest.raises(InvalidValue, match="activations"):
        engine.add_step(t, poisoned)
    with pytest.raises(InvalidValue, match="attention_weights"):
        engine.add_step(t, GOOD, poisoned)


def test_a_refusal_has_no_words_of_numpy_or_python(engine: SonaEngine) -> None:
    late = datetime.now(UTC) + timedelta(days=400)
    ragged = [[1.0] * DIM, [1.0]]
    for call, told in (
        (lambda: engine.begin_trajectory(["a"] * DIM), "embedding holds texts, expected real numbers alone"),
        (lambda: engine.begin_trajectory([None] * DIM), "embedding holds other things, expected real numbers alone"),
        (lambda: engine.begin_trajectory(ragged), "embedding is no array of numbers: its rows have different lengths"),
        (lambda: engine.rank(GOOD, ragged, ids=["a", "b"]), "no array of real numbers: its rows have different"),
        (lambda: engine.begin_trajectory(GOOD, started_at=late), f"started_at is {late}, more than a day ahead"),
        (lambda: engine.verify_receipt({"a": 1}), "this is no receipt of an erasure: expected what forget returned"),
    ):
        with pytest.raises(InvalidValue, match=re.escape(told)):
            call()


def test_a_zero_vector_is_refused_where_a_direction_is_needed(engine: SonaEngine) -> None:
    nowhere = np.zeros(DIM, np.float32)
    for call in (
        lambda: engine.begin_trajectory(nowhere),
        lambda: engine.begin_trajectory([-0.0] * DIM),
        lambda: engine.rank(nowhere, [GOOD], ids=["a"]),
        lambda: engine.route(nowhere, ["a"]),
        lambda: engine.find_patterns(nowhere),
        lambda: engine.interpolate_parameters(nowhere),
    ):
        with pytest.raises(InvalidValue, match="all 0: it points in no direction"):
            call()
    with pytest.raises(InvalidValue, match="no direction"):
        engine.search(nowhere)
    last = nowhere.copy()
    last[-1] = 1e-8  # it rounds to 0 in half precision: learners skip it
    engine.begin_trajectory(last)
    assert engine.apply_micro_lora(nowhere).tolist() == [0.0] * DIM


def test_a_refused_call_leaves_the_trajectory_unchanged(database_url: str) -> None:
    with SonaEngine(DIM, database_url) as engine:
        t = engine.begin_trajectory(GOOD, query="why?")
        engine.set_trajectory_route(t, "first")
        for wrong in ("", "x" * 1001, "a\0", None):
            with pytest.raises(InvalidValue, match="route"):
                engine.set_trajectory_route(t, wrong)  # type: ignore[arg-type]
        engine.end_trajectory(t)
        engine.flush()
        with psycopg.connect(database_url) as connection:
            stored = connection.execute("SELECT query, route FROM sona.trajectories").fetchall()
        assert stored == [("why?", "first")]


@pytest.mark.parametrize("quality", [-0.01, 1.01, np.nan, np.inf, "good"])
def test_a_quality_outside_its_range_is_refused(engine: SonaEngine, quality: object) -> None:
    t = engine.begin_trajectory(GOOD)
    with pytest.raises(SonaError, match="quality"):
        engine.end_trajectory(t, quality)
    assert not t.ended
    with pytest.raises(SonaError, match="quality"):
        engine.feedback(t, quality=quality)  # type: ignore[arg-type]


@pytest.mark.parametrize("reward", [np.nan, np.inf, 1e7])
def test_a_reward_outside_its_range_is_refused(engine: SonaEngine, reward: float) -> None:
    with pytest.raises(InvalidValue, match="reward"):
        engine.add_step(engine.begin_trajectory(GOOD), GOOD, GOOD, reward)


def test_a_trajectory_that_ended_stays_ended(database_url: str) -> None:
    with SonaEngine(DIM, database_url) as engine:
        t = engine.begin_trajectory(GOOD)
        engine.end_trajectory(t)
        for call in (
            lambda: engine.end_trajectory(t),
            lambda: engine.add_step(t, GOOD),
            lambda: engine.set_trajectory_route(t, "a"),
            lambda: engine.add_trajectory_context(t, "a"),
        ):
            with pytest.raises(TrajectoryError, match=f"{t.id} has ended"):
                call()
        engine.flush()
        with psycopg.connect(database_url) as connection:
            assert connection.execute("SELECT count(*) FROM sona.trajectories").fetchone() == (1,)


def test_a_handle_of_another_engine_is_refused(database_url: str, engine: SonaEngine) -> None:
    with SonaEngine(DIM, database_url, "other") as other, pytest.raises(TrajectoryError, match="another engine"):
        engine.end_trajectory(other.begin_trajectory(GOOD))


@pytest.mark.parametrize("what", ["not-an-id", 42, None, b"x"])
def test_an_invalid_id_is_refused(engine: SonaEngine, what: object) -> None:
    with pytest.raises(InvalidValue, match="UUID"):
        engine.feedback(what, quality=0.5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({}, "says nothing"),
        ({"quality": 0.5, "retract": True}, "retract"),
        ({"correction": ""}, "correction"),
        ({"quality": 0.5, "source": ""}, "source"),
    ],
)
def test_feedback_that_means_nothing_is_refused(engine: SonaEngine, arguments: dict, told: str) -> None:
    with pytest.raises(InvalidValue, match=told):
        engine.feedback(uuid.uuid4(), **arguments)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda e: e.rank(GOOD, [GOOD]), "ids"),
        (lambda e: e.rank(GOOD, [GOOD, GOOD], ids=["a"]), "2 candidates with 1 ids"),
        (lambda e: e.rank(GOOD, [GOOD, GOOD], ids=["a", "a"]), "each once"),
        (lambda e: e.rank(GOOD, [GOOD], ids=[""]), "''"),
        (lambda e: e.rank(GOOD, [GOOD], ids=["\ud800"]), "cannot be used"),
        (lambda e: e.route(GOOD, ["a", "\ud800"]), "cannot be used"),
        (lambda e: e.rank(GOOD, ids=["never"]), "'never'"),
        (lambda e: e.rank(GOOD), "candidate"),
        (lambda e: e.rank([["x"]], [GOOD], ids=["a"]), "numbers"),
        (lambda e: e.remember(["a"], [GOOD, GOOD]), "one id each"),
        (lambda e: e.route(GOOD, []), "one or more"),
        (lambda e: e.route(GOOD, ["a", "a"]), "each once"),
        (lambda e: e.route(GOOD, ["a"], budget=0.5), "costs"),
        (lambda e: e.route(GOOD, ["a", "b"], costs={"a": 1.0}, budget=0.5), "'b'"),
        (lambda e: e.route(GOOD, ["a", "b"], costs={"a": 1.0, "b": np.nan}), r"costs\['b'\] is nan"),
        (lambda e: e.route(GOOD, ["a"], costs={"a": -1.0}), "-1.0"),
        (lambda e: e.route(GOOD, ["a"], costs={"a": "free"}), "'free'"),
        (lambda e: e.route(GOOD, ["a"], costs={"a": 1.0}, budget=np.nan), "budget"),
        (lambda e: e.route(GOOD, ["a"], cost_weight=-1.0, costs={"a": 1.0}), "cost_weight=-1.0"),
        (lambda e: e.route(GOOD, ["a"], cost_weight="1", costs={"a": 1.0}), "cost_weight='1'"),
        (lambda e: e.route(GOOD, ["a"], cost_weight=10**400, costs={"a": 1.0}), "cost_weight=1000"),
        (lambda e: e.route(GOOD, ["a"], latency_weight=[1.0, 2.0]), r"latency_weight=\[1.0, 2.0\]"),
        (lambda e: e.route(GOOD, ["a"], costs={"a": 1.0}, budget="1"), "budget='1'"),
        (lambda e: e.route(GOOD, ["a"], costs={"a": 1.0}, budget=[1]), r"budget=\[1\]"),
        (lambda e: e.route(GOOD, ["a"], costs=5), "costs=5"),
        (lambda e: e.route(GOOD, ["a"], query=5), "query=5: expected a text"),
        (lambda e: e.route(GOOD, ["a"], features=np.ones(1025)), "1024"),
        (lambda e: e.route(GOOD, ["x" * 1001]), "1000 bytes"),
        (lambda e: e.route(GOOD, "ab"), "one text"),
        (lambda e: e.rank(GOOD, [GOOD], ids="a"), "one text"),
        (lambda e: e.rank(GOOD, [GOOD], ids=["a"], k=0), "k=0"),
        (lambda e: e.rank(GOOD, [GOOD], ids=["a"], k=2.5), "k=2.5"),
        (lambda e: e.rank(GOOD, [GOOD], ids=["a"], exploration=np.nan), "exploration=nan"),
        (lambda e: e.rank(GOOD, [GOOD], ids=["a"], exploration=-1), "exploration=-1"),
        (lambda e: e.rank(GOOD, [GOOD], ids=["a"], exploration="1"), "exploration='1'.*0 to 1e.06"),
        (lambda e: e.rank(GOOD, [GOOD], ids=["a"], exploration=1e300), "exploration=1e.300"),
        (lambda e: e.rank_many([GOOD], [GOOD], ids=["a"], exploration=1e300), "exploration=1e.300"),
        (lambda e: e.rank(GOOD, [GOOD], ids=["a"], k=2**70), "k=1180591620717411303424"),
        (lambda e: e.diff("a", 0), "a='a': expected a whole number from 0"),
        (lambda e: e.diff(0, -1), "b=-1"),
        (lambda e: e.rollback(2**70), r"version=1180591620717411303424: .*0 to 2\*\*63 - 1"),
        (lambda e: e.patterns_at(2**63), "version=9223372036854775808"),
        (lambda e: e.promote(True), "version=True"),
        (lambda e: e.save("never.sona", 1.5), "version=1.5"),
        (lambda e: e.versions(limit=0), "limit=0"),
        (lambda e: e.evaluate_policies(versions=[2**70]), "versions=1180591620717411303424"),
        (lambda e: e.rank(GOOD, [GOOD, GOOD * 0], ids=["a", "b"]), r"candidates\[1\] is all 0"),
        (lambda e: e.rank_many([GOOD, GOOD * 0], [GOOD], ids=["a"]), r"queries\[1\] is all 0"),
        (lambda e: e.remember(["a"], [GOOD * 0]), r"embeddings\[0\] is all 0"),
        (lambda e: e.remember("ab", [GOOD, GOOD]), "one text"),
        (lambda e: e.remember(["a", "b", "a"], [GOOD] * 3), "'a' is given more than once"),
        (lambda e: e.find_patterns(GOOD, k=-1), "k=-1"),
        (lambda e: e.find_patterns(GOOD, k=True), "k=True"),
        (lambda e: e.interpolate_parameters(GOOD, k=-1), "k=-1"),
        (lambda e: e.search(GOOD, k="a"), "k='a'"),
        (lambda e: e.search(GOOD, k=10**12), "k=1000000000000: .*1 to 100000"),
        (lambda e: e.find_patterns(GOOD, k=2**70), r"k=1180591620717411303424: .*1 to 2\*\*63 - 1"),
        (lambda e: e.search(GOOD, since="2026-01-01"), "datetime"),
        (lambda e: e.search(GOOD, route="a\0"), "NUL"),
        (lambda e: e.search(GOOD, min_quality=np.nan), "min_quality"),
        (lambda e: e.process(""), "query=''"),
        (lambda e: e.process("  \n"), "says something"),
        (lambda e: e.process(None), "query=None"),
        (lambda e: e.process("why?", "user:42"), "list of labels"),
        (lambda e: e.process("why?", [42]), "42"),
        (lambda e: e.embed("why?"), "list of texts"),
        (lambda e: e.begin_trajectory(GOOD, decision="a"), "decision is 'a'"),
        (lambda e: e.begin_trajectory(GOOD, ranking=["a"]), "ranking"),
        (lambda e: e.begin_trajectory(GOOD, query="x" * (1 << 20) + "x"), "1048577 bytes"),
        (lambda e: e.set_trajectory_route(e.begin_trajectory(GOOD), ""), "route '' has 0 bytes"),
        (lambda e: e.set_trajectory_route(e.begin_trajectory(GOOD), "x" * 1001), "1001 bytes"),
        (lambda e: e.add_trajectory_context(e.begin_trajectory(GOOD), "x" * 10_001), "10001 bytes"),
        (lambda e: e.feedback(uuid.uuid4(), correction="x" * 1001), "1001 bytes"),
    ],
)
def test_a_refused_query_names_the_reason(engine: SonaEngine, call: Callable[[SonaEngine], object], told: str) -> None:
    with pytest.raises(InvalidValue, match=told):
        call(engine)


@pytest.mark.filterwarnings("error")
def test_other_than_real_numbers_are_refused_wherever_an_embedding_is_taken(engine: SonaEngine) -> None:
    rotated = GOOD * (1 + 1j)
    others = [(given, "complex") for given in (rotated, rotated.astype(np.complex64), list(rotated))]
    others += [(GOOD.astype(str), "texts"), (GOOD.astype(object), "other"), (1e39 * GOOD.astype(float), "finite")]
    for call in (
        lambda x: engine.begin_trajectory(x),
        lambda x: engine.add_step(engine.begin_trajectory(GOOD), x),
        lambda x: engine.apply_micro_lora(x),
        lambda x: engine.apply_base_lora(0, x),
        lambda x: engine.find_patterns(x),
        lambda x: engine.interpolate_parameters(x),
        lambda x: engine.search(x),
        lambda x: engine.rank(x, [GOOD], ids=["a"]),
        lambda x: engine.rank(GOOD, [x], ids=["a"]),
        lambda x: engine.rank_many([x], [GOOD], ids=["a"]),
        lambda x: engine.remember(["a"], [x]),
        lambda x: engine.route(x, ["a"]),
        lambda x: engine.route(GOOD, ["a"], features=x),
    ):
        for given, told in others:
            with pytest.raises(InvalidValue, match=told):
                call(given)


def test_a_count_beyond_64_bits_is_refused_for_a_set_that_was_ranked_before(engine: SonaEngine) -> None:
    engine.remember(["a", "b"], [GOOD, GOOD])
    for _ in range(2):
        assert len(engine.rank(GOOD, ids=["a", "b"], k=2**63 - 1).ids) == 2
    with pytest.raises(InvalidValue, match="k=1180591620717411303424"):
        engine.rank(GOOD, ids=["a", "b"], k=2**70)
