"""Kinds of queries and of patterns."""

from __future__ import annotations

import pytest

from sona_pg.learning.patterns.kinds import kind_of, vote


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
