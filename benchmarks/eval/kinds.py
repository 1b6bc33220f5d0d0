"""Accuracy of the kinds of patterns, by words alone and by words and place.

Prompts that nothing was fitted to: ``kinds.jsonl`` (20 a kind in English, 6 a kind in German, French and Spanish),
intents of CLINC150's validation split and topics of chatterbot-corpus where the kind is obvious.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.eval.context import Context
from benchmarks.eval.stats import Figures, Table, gather
from sona_pg.demo.corpus import load_corpus
from sona_pg.domain.pattern import KINDS, LearnedPattern, PatternKind
from sona_pg.engine.kind_teaching import fitted_weights
from sona_pg.learning.patterns.kind_model import KindModel
from sona_pg.learning.patterns.kinds import kinds_of
from sona_pg.learning.vectors import unit
from sona_pg.text import Embedder, default_embedder

PER_PATTERN = 5  # prompts
PATTERNS = 600
Prompts = list[tuple[str, PatternKind]]

INTENTS: dict[PatternKind, str] = {
    "conversational": "greeting goodbye thank_you how_old_are_you are_you_a_bot what_is_your_name where_are_you_from "
    "do_you_have_pets what_are_your_hobbies who_made_you",
    "reasoning": "calculator",
    "factual": "definition calories",
    "creative": "tell_joke",
    "general": "alarm timer transfer book_flight book_hotel pay_bill play_music smart_home todo_list_update "
    "reminder_update translate cancel_reservation make_call text",
}
TOPICS: dict[PatternKind, str] = {
    "conversational": "greetings botprofile conversations emotion",
    "factual": "history science trivia computers sports literature",
}


def sets(data: Path) -> Iterator[tuple[str, Prompts]]:
    """Yield the sets of prompts with their kinds."""
    own = [json.loads(line) for line in Path(__file__).with_name("kinds.jsonl").read_text().splitlines()]
    yield "own prompts", [(row["text"], row["kind"]) for row in own if row["language"] == "en"]
    yield "own prompts, German, French, Spanish", [(row["text"], row["kind"]) for row in own if row["language"] != "en"]
    topics = {name: kind for kind, names in TOPICS.items() for name in names.split()}
    yield "chatterbot-corpus", [(row.question, topics[row.topic]) for row in load_corpus(None) if row.topic in topics]
    if not (data / "clinc150.jsonl").is_file():
        return
    intents = {name: kind for kind, names in INTENTS.items() for name in names.split()}
    with (data / "clinc150.jsonl").open() as lines:
        rows = [json.loads(line) for line in lines]
    chosen = [row for row in rows if row["split"] == "val" and row["intent"] in intents]
    yield "CLINC150 validation", [(row["text"], intents[row["intent"]]) for row in chosen]


def accuracy(prompts: Prompts, embedder: Embedder, model: KindModel | None, size: int) -> float:
    """Return the balanced accuracy (%) for patterns of ``size`` prompts of one kind."""
    embeddings = unit(embedder.embed([text for text, _ in prompts]))
    of = np.array([KINDS.index(kind) for _, kind in prompts])
    groups: list[Sequence[int]] = [[row] for row in range(len(prompts))]
    if size > 1:
        rng = np.random.default_rng(0)
        drawn = rng.choice(np.unique(of), PATTERNS)
        groups = [rng.choice(np.flatnonzero(of == kind), size, replace=False).tolist() for kind in drawn]
    patterns = [
        LearnedPattern(
            uuid.UUID(int=0), unit(embeddings[rows].mean(axis=0)[None])[0], size, 0.0, 0.5,
            typical_queries=tuple(prompts[row][0] for row in rows),
        )
        for rows in groups
    ]  # fmt: skip
    told = np.array([KINDS.index(kind) for kind in kinds_of(patterns, model)])
    wanted = np.array([of[rows[0]] for rows in groups])
    return 100 * float(np.mean([np.mean(told[wanted == kind] == kind) for kind in np.unique(wanted)]))


def run_seed(context: Context, seed: int) -> Figures:
    """Return balanced accuracies (%) of single prompts and of patterns of five, without and with the embedder."""
    embedder = default_embedder()
    weights = fitted_weights(embedder)
    model = None if weights is None else KindModel.from_bytes(weights)
    return {
        name: {
            f"{size} prompts, {how}" if size > 1 else f"one prompt, {how}": accuracy(prompts, embedder, known, size)
            for size in (1, PER_PATTERN)
            for how, known in (("words", None), ("words and place", model))
        }
        for name, prompts in sets(context.folder)
    }


def report(context: Context, seeds: Sequence[Figures]) -> list[Table]:
    """Return the table."""
    return [Table("kinds", "Kinds of patterns: balanced accuracy (%)", gather(seeds))]
