"""Kinds of queries and of patterns."""

from __future__ import annotations

import uuid

import numpy as np
import pytest

from sona_pg.domain.pattern import KINDS, LearnedPattern, RouteRecord
from sona_pg.learning.patterns.kind_model import KindModel
from sona_pg.learning.patterns.kinds import kind_of, kinds_of, vote
from sona_pg.learning.vectors import unit


@pytest.mark.parametrize(
    ("query", "kind"),
    [
        ("Why does my Python function raise a traceback?", "code"),
        ("write me a short poem about rain", "creative"),
        ("calculate 15 percent of 80", "reasoning"),
        ("hello", "conversational"),
        ("What is the capital of France", "factual"),
        ("transfer money", "general"),
        ("", "general"),
    ],
)
def test_a_query_has_the_kind_that_its_words_speak_for(query, kind):
    assert kind_of(query) == kind


def test_the_majority_names_the_pattern_and_a_tie_goes_to_the_more_general():
    assert vote(["hello", "hello", "debug this code"]) == "conversational"
    assert vote(["transfer money", "debug this code"]) == "general"
    assert vote([]) == "general"


DIM = 24
PLACES = unit(np.random.default_rng(0).standard_normal((6, DIM)).astype(np.float32))


def examples(noise: float, count: int = 20) -> tuple[np.ndarray, list]:
    scatter = np.random.default_rng(1).standard_normal((6 * count, DIM))
    near = np.repeat(PLACES, count, axis=0) + noise * scatter
    return unit(near.astype(np.float32)), [kind for kind in KINDS for _ in range(count)]


def pattern(centroid: np.ndarray, *queries: str, routes: dict[str, int] | None = None) -> LearnedPattern:
    records = {name: RouteRecord(size, 0.0, 0.5) for name, size in (routes or {}).items()}
    return LearnedPattern(uuid.uuid4(), centroid, 5, 0.0, 0.5, routes=records, typical_queries=queries)


def test_patterns_have_the_kind_of_the_examples_around_them_in_any_language():
    model = KindModel.fitted(*examples(0.1))
    foreign = [pattern(place, "ez egy mondat", "még egy") for place in PLACES]
    assert kinds_of(foreign, model) == list(KINDS)
    assert kinds_of(foreign) == ["general"] * 6
    kept = KindModel.from_bytes(model.to_bytes())
    np.testing.assert_array_equal(kept.scores(PLACES), model.scores(PLACES))


def test_a_pattern_between_two_kinds_is_general_until_words_decide():
    model = KindModel.fitted(*examples(0.1))
    scores = model.scores(PLACES)
    along = (scores[2, 2] - scores[2, 4]) / (scores[2, 2] - scores[2, 4] + scores[4, 4] - scores[4, 2])
    between = (1 - along) * PLACES[2] + along * PLACES[4]  # factual and code
    assert kinds_of([pattern(between, "valami"), pattern(between, "debug this code")], model) == ["general", "code"]


def test_a_kind_that_no_word_speaks_for_takes_more_evidence():
    model = KindModel.fitted(*examples(0.1))
    ahead = np.linspace(0, 1, 1001)[:, None] * (PLACES[4] - PLACES[2]) + PLACES[2]  # from factual to code
    told = model.scores(ahead.astype(np.float32))
    margins = told[:, 4] - told[:, 2]
    assert margins.max() > 0.6
    barely = ahead[np.argmax(margins > 0.4)].astype(np.float32)
    clearly = ahead[np.argmax(margins > 0.6)].astype(np.float32)
    patterns = [pattern(barely, "valami"), pattern(clearly, "valami"), pattern(barely, "debug this code")]
    assert kinds_of(patterns, model) == ["general", "code", "code"]


def test_embeddings_that_do_not_tell_kinds_apart_are_not_believed():
    assert KindModel.fitted(*examples(50.0)) is None
    assert KindModel.fitted(np.ones((120, 8), np.float32), examples(0.1)[1]) is None


@pytest.mark.parametrize(
    ("routes", "kind"),
    [
        ({"code-llm-2": 9, "cheap": 1}, "code"),
        ({"code-llm-2": 1, "cheap": 9}, "general"),
        ({"cheap": 3}, "general"),
        ({"sql_agent": 3}, "code"),
    ],
)
def test_routes_that_are_named_for_a_kind_speak_for_it(routes, kind):
    assert kinds_of([pattern(PLACES[0], "transfer money", routes=routes)]) == [kind]
