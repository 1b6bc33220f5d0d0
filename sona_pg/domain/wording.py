"""Wording of queries for people: numbers, dates and names masked, and near-copies told from different questions.

Masking serves display and the choice of typical queries alone; what is stored and learned from stays as it was. Names
are known by the words before them ("my name is", "Frau"), in English and German: a name elsewhere is not masked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

LONGEST_TITLE = 80  # characters of the title of a pattern
NEAR = 0.75  # share of common words from which two texts are near-copies

_MONTH = (
    "jan(?:uary|uar)?|feb(?:ruary|ruar)?|mar(?:ch)?|märz?|apr(?:il)?|may|mai|june?|juni|july?|juli|aug(?:ust)?|sept?(?:ember)?"
    "|o[ck]t(?:ober)?|nov(?:ember)?|de[cz](?:ember)?"
)
_COUNTED = (
    "order|invoice|ticket|parcel|customer|account|case|tracking|reference|number|no|id|bestellung|rechnung|paket|kunde|konto"
    "|auftrag|vorgang|sendung|nummer|bestellnummer|rechnungsnummer|kundennummer|auftragsnummer|sendungsnummer|nr"
)
_NAMED = (
    "my name is|name is|name:|this is|i am|i'm|dear|regards,?|mr\\.?|mrs\\.?|ms\\.?|mein name ist|ich heiße|hier ist"
    "|lieber?|frau|herrn?|grüßen?,?|gruß,?"
)
_EMAIL = re.compile(r"[^\s@<>]+@[^\s@<>]+\.\w+")
_LINK = re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)
# In this order: what an earlier one has masked, a later one leaves alone.
_NUMBERS = (
    (re.compile(r"\b\d{4}-\d\d-\d\d(?:[T ]\d{1,2}:\d\d(?::\d\d)?)?\b"), "[date]"),
    (re.compile(r"\b\d{1,2}([./])\d{1,2}\1(?:(?:\d\d){1,2}\b|(?!\d))"), "[date]"),
    (
        re.compile(rf"\b\d{{1,2}}(?:st|nd|rd|th|\.)?(?: of)? (?:{_MONTH})\b\.?(?:,? (?:19|20)\d\d\b)?", re.IGNORECASE),
        "[date]",
    ),
    (re.compile(rf"\b(?:{_MONTH})\b\.? \d{{1,2}}(?:st|nd|rd|th)?\b(?:,? (?:19|20)\d\d\b)?", re.IGNORECASE), "[date]"),
    (re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", re.IGNORECASE), "[number]"),
    (re.compile(r"#\s?[\w-]*\d[\w-]*"), "[number]"),
    (re.compile(r"\b(?=(?:[\w-]*\d){3})(?=[\w-]*[A-Za-z])[\w-]{6,}\b"), "[number]"),  # as ORD-20391
    (re.compile(r"\+?\b\d[\d ()/-]{6,}\d\b"), "[number]"),  # as a telephone's
    (re.compile(rf"(?i:\b({_COUNTED})(\.?:? ))\d+\b"), r"\1\2[number]"),
    (re.compile(r"\b(?!(?:19|20)\d\d\b)\d{4,}\b"), "[number]"),  # years tell something
)
_NAME = "[A-ZÄÖÜ][\\w'’-]+"
_NAMES = re.compile(rf"(?i:(?<!\w)({_NAMED}) )(?:(?:Dr|Prof)\.? )*{_NAME}(?: {_NAME}){{0,2}}")
_DIGITS = re.compile(r"\d+")
_WORD = re.compile(r"\[?\w+")


def masked(text: str) -> str:
    """Return ``text`` in one line, with ``[number]``, ``[date]``, ``[email]``, ``[link]``, ``[name]`` in place."""
    shown = " ".join(text.split())
    if "@" in shown:
        shown = _EMAIL.sub("[email]", shown)
    shown = _LINK.sub("[link]", shown)
    if _DIGITS.search(shown):
        for pattern, place in _NUMBERS:
            shown = pattern.sub(place, shown)
    return _NAMES.sub(r"\1 [name]", shown)


def distinct(texts: Iterable[str], most: int | None = None) -> list[str]:
    """Return the texts that are no near-copy of an earlier one, at most ``most``."""
    return [text for text, _ in _distinct(texts, most)]


def wordings(queries: Iterable[str]) -> tuple[str, ...]:
    """Return how typical queries are shown: masked, and each wording once."""
    return tuple(shown for _, shown in _distinct(queries, None))


def title(shown: Sequence[str]) -> str | None:
    """Return the title of a pattern by its wordings, the most typical one, cut; None without texts."""
    if not shown:
        return None
    first = shown[0]
    return first if len(first) <= LONGEST_TITLE else f"{first[: LONGEST_TITLE - 1].rsplit(' ', 1)[0]}…"


def titles(of: Sequence[Sequence[str]]) -> list[str | None]:
    """Return a title for each pattern by its wordings: one that no earlier pattern has, as far as there is one."""
    taken: dict[str, int] = {}
    made: list[str | None] = []
    for shown in of:
        known = [told for wording in shown if (told := title([wording])) is not None]
        if not known:
            made.append(None)
            continue
        chosen = next((told for told in known if told not in taken), known[0])
        count = taken[chosen] = taken.get(chosen, 0) + 1
        made.append(chosen if count == 1 else f"{chosen} ({count})")
    return made


def _distinct(texts: Iterable[str], most: int | None) -> list[tuple[str, str]]:
    kept: list[tuple[str, str]] = []
    known: list[frozenset[str]] = []
    for text in texts:
        shown = masked(text)
        words = frozenset(_DIGITS.sub("0", word) for word in _WORD.findall(shown.casefold()))
        if not any(_alike(words, other) for other in known):
            kept.append((text, shown))
            known.append(words)
            if len(kept) == most:
                break
    return kept


def _alike(one: frozenset[str], other: frozenset[str]) -> bool:
    common = len(one & other)
    return common >= NEAR * (len(one) + len(other) - common)
