"""The kind of a pattern, voted by the queries in it: a small, readable lexicon, no model."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from sona_pg.domain.pattern import PatternKind

# Order matters: the first kind that matches wins, from the most to the least specific.
_CUES: tuple[tuple[PatternKind, re.Pattern[str]], ...] = (
    (
        "code",
        re.compile(
            r"```|\b(code|function|compile|compiler|debug|bug|exception|traceback|python|javascript|java|c\+\+|sql"
            r"|regex|api|script|git|html|css|programming|algorithm|class|variable|unit test|refactor)\b"
        ),
    ),
    (
        "creative",
        re.compile(
            r"\b(write|compose|imagine|invent|draft)\b.*\b(story|poem|song|lyrics|slogan|scene|haiku|essay|letter)\b"
            r"|\b(joke|riddle|story|poem|brainstorm|rhyme)\b"
        ),
    ),
    (
        "reasoning",
        re.compile(
            r"\b(why|prove|derive|calculate|compute|solve|compare|explain|how (many|much|long|far)|evaluate|infer"
            r"|analy[sz]e|reason|percent|equation|if .* then)\b"
        ),
    ),
    (
        "conversational",
        re.compile(
            r"^(hi|hello|hey|thanks|thank you|bye|good (morning|evening|night)|yes|no|ok|okay|lol)\b"
            r"|\b(are|do|can|will|would|have|did|could) you\b|\byour?\b|\bhow are\b"
            r"|\bi (am|feel|like|love|hate|think)\b"
        ),
    ),
    (
        "factual",
        re.compile(r"\b(who|what|when|where|which|define|definition|name|capital|year|meaning)\b"),
    ),
)


def kind_of(query: str) -> PatternKind:
    """Return the kind of one query; ``general`` if no other matches."""
    text = query.strip().lower()
    return next((kind for kind, cue in _CUES if cue.search(text)), "general")


def vote(queries: Iterable[str]) -> PatternKind:
    """Return the kind that most of ``queries`` have; ties go to the more general kind."""
    counts = Counter(kind_of(query) for query in queries)
    if not counts:
        return "general"
    order: list[PatternKind] = ["general", *(kind for kind, _ in reversed(_CUES))]
    return max(order, key=lambda kind: counts[kind])
