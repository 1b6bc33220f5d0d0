"""Cold start by intent: how many intents a few thumbs make worse than the frozen embedding, and by how much.

Titles of CLINC150, thumbs on the answer shown, one by one. The same held-out queries are asked before and after.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.eval.context import Context
from benchmarks.eval.data import Labels
from benchmarks.eval.sessions import open_space
from benchmarks.eval.stats import Figures, Table, Target, gather
from benchmarks.eval.streaming import EngineAnswers

COUNTS = (50, 100, 200)
MEAN, WORSE, WORST = "mean gain", "intents that lose", "loss of the worst tenth"
FORMS = ("at once", "after a cycle")
TARGETS = {
    **{(f"{form}, {count} thumbs", MEAN): Target(0.0) for form in FORMS for count in COUNTS},
    **{(f"{form}, {count} thumbs", WORSE): Target(16.5, at_most=True) for form in FORMS for count in COUNTS},
    **{(f"{form}, {count} thumbs", WORST): Target(12.0, at_most=True) for form in FORMS for count in COUNTS},
}


def run_seed(context: Context, seed: int) -> Figures:
    """Return gains and losses in points of accuracy, by number of thumbs."""
    clinc = context.clinc()
    stream, held_out = clinc.stream(seed, max(COUNTS)), clinc.held_out
    before = _by_intent((held_out.embeddings @ clinc.titles.T).argmax(axis=1), held_out.labels, len(clinc.names))
    figures: Figures = {}
    for count in COUNTS:
        with open_space(context.url, f"cold-{count}-{seed}", clinc.titles.shape[1]) as engine:
            answers = EngineAnswers(engine, clinc.titles, clinc.names, cycle=None)
            for query, label in zip(stream.embeddings[:count], stream.labels[:count], strict=True):
                shown = int(answers.scores(query[None, :])[0].argmax())
                answers.judge(query, shown, shown == label)
            for form in FORMS:
                if form == FORMS[1]:
                    engine.force_learn()
                found: Labels = answers.scores(held_out.embeddings).argmax(axis=1)
                gained = _by_intent(found, held_out.labels, len(clinc.names)) - before
                figures[f"{form}, {count} thumbs"] = _summary(gained)
    context.say(f"cold seed {seed}: {figures}")
    return figures


def report(context: Context, seeds: Sequence[Figures]) -> list[Table]:
    """Return the table."""
    title = f"Cold start by intent: points of held-out accuracy against the frozen embedding, CLINC150 {context.split}"
    return [Table("cold", title, gather(seeds, TARGETS))]


def _by_intent(found: Labels, labels: Labels, intents: int) -> NDArray[np.float64]:
    """Return the accuracy (%) of each intent."""
    right = np.bincount(labels, (found == labels).astype(np.float64), intents)
    return np.asarray(100 * right / np.maximum(np.bincount(labels, minlength=intents), 1), np.float64)


def _summary(gained: NDArray[np.float64]) -> dict[str, float]:
    worst = np.sort(gained)[: max(len(gained) // 10, 1)]
    return {MEAN: float(gained.mean()), WORSE: 100 * float((gained < 0).mean()), WORST: -float(worst.mean())}
