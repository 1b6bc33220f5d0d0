"""The kind of a pattern: evidence of its place among the embeddings, of its queries' words, and of its routes' names.

The first needs the space's embedder once (``kind_model``) and speaks any language that the embedder does; the words are
English. A kind with too little evidence stays ``general``. Accuracy: benchmarks/eval/EVIDENCE.md.
"""

from __future__ import annotations

import functools
import heapq
import re
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.pattern import KINDS, LearnedPattern, PatternKind
from sona_pg.learning.patterns.kind_model import KindModel

WORDS = 1.5  # weight of a share of 1 beside the model's scores: the best of leave-one-out over the examples
SUPPORT = 0.25  # by which a kind's evidence must exceed the next one's, in standard deviations of the examples' scores
UNSAID = 0.5  # the same, of a kind that no word speaks for: other languages lie anywhere for an English embedder
ROUTES = 1.5  # weight of the routes' names beside that of the queries: two thirds must name a kind to outvote these
LOOKED_AT = 16  # routes of a pattern, those taken most: a cycle looks at thousands
NO_WORD = re.compile(r"[^a-z0-9+#]+|(?<=[a-z])(?=[0-9])", re.IGNORECASE)  # "code-llm" names code

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
    return _most(_shares((query, 1.0) for query in queries))


def kinds_of(patterns: Sequence[LearnedPattern], model: KindModel | None = None) -> list[PatternKind]:
    """Return the kind of each pattern, by ``model`` if the space has one."""
    if not patterns:
        return []
    if model is None:
        return [_most(_words(pattern)) for pattern in patterns]
    scores = model.scores(np.stack([pattern.centroid for pattern in patterns])).astype(np.float64)
    words = np.stack([_words(pattern) for pattern in patterns])
    scores[:, 1:] += WORDS * words[:, 1:]
    best = scores.argmax(axis=1)
    first, second = np.sort(scores, axis=1)[:, :-3:-1].T
    said = words[np.arange(len(best)), best] > 0
    best = np.where(first - second >= np.where(said, SUPPORT, UNSAID), best, KINDS.index("general"))
    return [KINDS[row] for row in best.tolist()]


def _words(pattern: LearnedPattern) -> NDArray[np.float64]:
    """Return the evidence of words for each kind, (6,): shares of the typical queries, and of the routes taken."""
    told = _shares((query, 1.0) for query in pattern.typical_queries)
    taken = np.zeros(len(KINDS))
    records = pattern.routes
    for route in heapq.nsmallest(LOOKED_AT, records, key=lambda name: (-records[name].size, name)):
        kind = _kind_of_route(route)
        if kind != "general":  # most names say nothing
            taken[KINDS.index(kind)] += records[route].size
    return np.asarray(told + ROUTES * taken / max(sum(record.size for record in records.values()), 1))


@functools.lru_cache(maxsize=4096)
def _kind_of_route(route: str) -> PatternKind:
    return kind_of(NO_WORD.sub(" ", route))


def _shares(texts: Iterable[tuple[str, float]]) -> NDArray[np.float64]:
    """Return the share of each kind among texts with their weights, (6,); zero without any."""
    counts = np.zeros(len(KINDS))
    for text, weight in texts:
        counts[KINDS.index(kind_of(text))] += weight
    total = counts.sum()
    return counts / total if total else counts


def _most(evidence: NDArray[np.float64]) -> PatternKind:
    """Return the kind with most evidence; ties go to the more general kind."""
    order: list[PatternKind] = ["general", *(kind for kind, _ in reversed(_CUES))]
    return max(order, key=lambda kind: evidence[KINDS.index(kind)])
