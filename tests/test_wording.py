"""How queries are shown to people, and which of them are typical."""

from __future__ import annotations

import pytest

from sona_pg.domain.pattern import most_typical
from sona_pg.domain.wording import distinct, masked, title, titles, wordings


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Where is my order 12?", "Where is my order [number]?"),
        ("Where is parcel #A-1234 of  12.03.2026?", "Where is parcel [number] of [date]?"),
        ("Wo ist meine Bestellung Nr. 4711?", "Wo ist meine Bestellung Nr. [number]?"),
        ("Hallo, hier ist Anna Meier, wo bleibt mein Paket?", "Hallo, hier ist [name], wo bleibt mein Paket?"),
        ("My name is John O'Neil, invoice INV-2026-0091", "My name is [name], invoice [number]"),
        ("Frau Dr. Müller wartet seit dem 3. März", "Frau [name] wartet seit dem [date]"),
        ("On 12 March 2026 I wrote to anna@example.org", "On [date] I wrote to [email]"),
        ("call me: +49 170 1234567", "call me: [number]"),
        ("2026-11-22T10:30 https://example.org/x?id=5 fails", "[date] [link] fails"),
    ],
)
def test_numbers_dates_and_names_are_masked(text: str, shown: str) -> None:
    assert masked(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "What is 2 + 2?", "error 404 on page", "GPT-4 or gpt-4o?", "version 3.11.2 of python", "the winters of 2024",
        "I am not sure", "this is a test", "may I return it?", "it costs 12.50 euro", "",
    ],
)  # fmt: skip
def test_what_says_something_stays(text: str) -> None:
    assert masked(text) == text


def test_a_masked_text_is_not_masked_again() -> None:
    shown = masked("Dear Anna, order 4711 of 3 May is not at www.example.org, regards, Jon")
    assert masked(shown) == shown == "Dear [name], order [number] of [date] is not at [link] regards, [name]"


def test_near_copies_are_shown_once() -> None:
    asked = ["Where is order 1?", "where is order 22", "Where is my money?", "Where is order 1234567?"]
    assert distinct(asked) == ["Where is order 1?", "Where is my money?"]
    assert wordings(asked) == ("Where is order [number]?", "Where is my money?")
    assert distinct(["How do I cancel my order?", "How do I track my order?"], 1) == ["How do I cancel my order?"]


def test_a_title_is_masked_and_ends_with_a_word() -> None:
    assert title(()) is None
    assert title(wordings(["Where is order 17?"])) == "Where is order [number]?"
    long = title(wordings(["I have waited for order 20391 " + "and waited " * 20]))
    assert long == "I have waited for order [number] and waited and waited and waited and waited…"


def test_patterns_of_one_wording_have_titles_of_their_own() -> None:
    assert titles([["a", "b"], ["a", "c"], ["a"], [], ["a", "c"]]) == ["a", "c", "a (2)", None, "a (3)"]


def test_different_typical_queries_are_chosen_before_near_copies() -> None:
    copies = [(f"Where is order {place}?", 0.99 - place / 1000) for place in range(20)]
    others = [("Has my parcel been sent?", 0.8), ("It has not arrived yet", 0.7)]
    chosen = most_typical([*others, *copies])
    assert [text for text, _ in chosen] == [
        "Where is order 0?", "Where is order 1?", "Where is order 2?", "Has my parcel been sent?",
        "It has not arrived yet",
    ]  # fmt: skip
    assert most_typical(copies) == copies[:5]
