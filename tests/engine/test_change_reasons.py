"""What a change of quality came with, in words."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from sona_pg.domain.change_reasons import reasons
from sona_pg.domain.level_change import ChangePart, LevelChange, joined, sentence


def part(**more: object) -> ChangePart:
    told = {
        "kind": "route", "name": "x", "title": "x", "before_rated": 100, "before_quality": 0.8, "after_rated": 100,
        "after_quality": 0.4, "before_share": 0.2, "after_share": 0.2, "share_effect": 0.0, "quality_effect": -0.08,
        "effect": -0.08, "is_clear": True, "sampled": False, "own_effect": -0.08,
        "first_day": date(2026, 2, 20), "last_day": date(2026, 3, 30),
    }  # fmt: skip
    return ChangePart(**{**told, **more})  # type: ignore[arg-type]


def test_topics_of_one_wording_are_told_as_one() -> None:
    one = part(kind="topic", name="1", sampled=True, quality_effect=-0.05, effect=-0.05, share_effect=0.0)
    other = part(
        kind="topic", name="2", sampled=True, before_rated=0, before_quality=None, before_share=0.0, after_rated=300,
        after_quality=0.8, after_share=0.6, quality_effect=0.0, share_effect=0.06, effect=0.06, is_clear=False,
    )  # fmt: skip
    (both,) = joined([other, one])
    assert (both.name, both.before_rated, both.after_rated, both.before_quality) == ("2", 100, 400, 0.8)
    assert both.after_quality == pytest.approx(0.7)
    assert (both.effect, both.after_share, both.is_clear) == (pytest.approx(0.01), pytest.approx(0.8), True)
    assert joined([part(name="1"), part(name="2", effect=0.2)])[0].name == "2"


def test_the_sentences_say_what_happened() -> None:
    change = LevelChange(
        date(2026, 3, 12),
        -0.081,
        -0.1,
        -0.06,
        date(2026, 2, 20),
        4210,
        0.711,
        date(2026, 3, 30),
        3900,
        0.63,
        1e-9,
        date(2026, 3, 12),
        date(2026, 3, 12),
    )
    assert sentence(change, True) == (
        "Since 12 March 2026 quality is 8.1 points lower: 63.0 % of 3,900 ratings, after 71.1 % of 4,210 ratings from "
        "20 February 2026 on."
    )
    assert sentence(change, True, date(2026, 3, 30)) == sentence(change, True)
    assert sentence(change, True, date(2026, 3, 20)).endswith(
        " on. The ratings since go on to 30 March 2026, past the days chosen."
    )
    assert sentence(change, False, date(2026, 3, 20)) == sentence(change, False)
    assert sentence(change, False).startswith("From 12 March 2026 to 30 March 2026 quality was 8.1 points lower: ")
    new = part(before_rated=0, before_quality=None, before_share=0.0, share_effect=-0.08, quality_effect=0.0)
    gone = part(after_rated=0, after_quality=None, after_share=0.0, share_effect=-0.08, quality_effect=0.0)
    topic = part(kind="topic", title="Late", sampled=True, after_rated=1)
    unclear = part(is_clear=False)
    usual = part(before_share=0.95, after_share=0.95)
    for known, words in (
        (part(), "answers of “x” got worse, 80 % to 40 % of 100 ratings since (8.0 points of it)"),
        (new, "answers of “x” came in new, at 40 % of 100 ratings since (8.0 points of it)"),
        (gone, "answers of “x” went away, with 20 % of the ratings before (8.0 points of it)"),
        (topic, "the topic “Late” got worse, 80 % to 40 % of 1 sampled rating since (8.0 points of it)"),
    ):
        assert reasons(-0.081, [known])[0] == f"What it came with: {words}."
    assert reasons(-0.081, [unclear, usual])[1] == []
    assert reasons(-0.081, [])[0].startswith("Nothing is known")


def test_a_label_that_began_days_after_another_ended_did_not_replace_it_on_that_day() -> None:
    old = part(kind="label", name="model:old", title="model:old", last_day=date(2026, 3, 1), is_clear=False)
    new = part(kind="label", name="model:new", title="model:new", first_day=date(2026, 3, 9), is_clear=False)
    words, _ = reasons(-0.08, [old, new])
    assert "“model:old” was rated last on 1 March 2026, “model:new” first on 9 March 2026" in words
    words, _ = reasons(
        -0.08, [old, part(kind="label", name="model:new", title="model:new", first_day=date(2026, 3, 2))]
    )
    assert "“model:old” was replaced by “model:new” on 2 March 2026" in words


def test_many_small_topics_that_fell_are_told_together_and_so_are_those_beside_them() -> None:
    small = [
        part(kind="topic", name=str(place), title=f"topic {place}", before_rated=20, after_rated=20, before_share=0.02,
             after_share=0.02, quality_effect=-0.012, effect=-0.012, own_effect=-0.012)
        for place in range(5)
    ]  # fmt: skip
    english = part(
        kind="label", name="market:en", title="market:en", before_share=0.6, after_share=0.6, effect=-0.05,
        quality_effect=-0.05, own_effect=-0.01,
    )  # fmt: skip
    words, named = reasons(-0.08, [english, *small])
    assert words == (
        "What it came with: the topics “topic 0”, “topic 1”, “topic 2” and 2 more got worse, 80 % to 40 % of "
        "100 ratings since (6.0 points of it). Others changed with these topics: market:en 5.0 points, "
        "1.0 had they not changed."
    )  # fmt: skip
    assert named == small[:3]


def test_every_part_beyond_chance_is_named_and_those_against_the_whole_first() -> None:
    fell = part(name="transfer", title="transfer", before_quality=0.77, after_quality=0.47, before_rated=35,
                after_rated=36, before_share=0.02, after_share=0.02, quality_effect=-0.013, effect=-0.013,
                own_effect=-0.013)  # fmt: skip
    small = part(kind="label", name="web", title="web", before_quality=0.5, after_quality=0.8, before_share=0.04,
                 after_share=0.04, quality_effect=0.012, effect=0.012, own_effect=0.012)  # fmt: skip
    words, named = reasons(0.112, [small, fell])
    assert words == (
        "No single answer, topic, label or user makes up much of it. Against it, beyond chance: answers of “transfer” "
        "got worse, 77 % to 47 % of 36 ratings since (1.3 points against it). Other than the rest, beyond chance: the "
        "label “web” got better, 50 % to 80 % of 100 ratings since (1.2 points of it)."
    )
    assert named == []
    rose = part(kind="user", name="u", title="u", before_quality=0.2, after_quality=0.7, before_share=0.1,
                after_share=0.1, quality_effect=0.05, effect=0.05, own_effect=0.05)  # fmt: skip
    words, named = reasons(0.112, [rose, fell])
    assert words.startswith("What it came with: the user “u” got better, ")
    assert "(5.0 points of it). Against it, beyond chance: answers of “transfer” got worse" in words
    assert named == [rose]
    many = [replace(fell, name=str(place), title=str(place)) for place in range(12)]
    assert reasons(0.112, many)[0].endswith("; and 2 more, in the table.")
