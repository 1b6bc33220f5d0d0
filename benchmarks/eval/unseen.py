"""Effect of feedback on half of the intents on the other half, which gets none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.eval import baselines
from benchmarks.eval.context import Context
from benchmarks.eval.data import Labels
from benchmarks.eval.sessions import RetrievalSession, Teaching, open_space
from benchmarks.eval.stats import Figures, Table, Target, gather

FEEDBACKS = 5000
TEACHINGS: tuple[Teaching, ...] = ("thumbs", "told")
LEAD = "unseen: lead over frozen"
TARGETS = {
    (f"sona-pg, {name}", heading): Target(value)
    for name in TEACHINGS
    for heading, value in (("unseen intents", 67), ("seen intents", 90), (LEAD, -1.5))
}


def run_seed(context: Context, seed: int) -> Figures:
    """Return the accuracies (%) of both halves, each query ranked among all 150 candidates."""
    clinc = context.clinc()
    half = np.random.default_rng(seed).permutation(len(clinc.names))[: len(clinc.names) // 2]
    stream = clinc.stream(seed)
    stream = stream.take(np.isin(stream.labels, half)).take(slice(0, FEEDBACKS))
    seen = np.isin(clinc.held_out.labels, half)
    figures: Figures = {}

    def row(answers: Labels) -> dict[str, float]:
        right = answers == clinc.held_out.labels
        return {"unseen intents": 100 * float(right[~seen].mean()), "seen intents": 100 * float(right[seen].mean())}

    for method in baselines.methods(clinc.titles):
        if context.quick and isinstance(method, baselines.Logistic):
            continue
        method.fit(stream)
        label = method.name if isinstance(method, baselines.Frozen) else f"{method.name}, told"
        figures[label] = row(baselines.predict(method, clinc.held_out.embeddings))
    for teaching in TEACHINGS:
        with open_space(context.url, f"unseen-{teaching}-{seed}", clinc.titles.shape[1]) as engine:
            session = RetrievalSession(engine, clinc.titles, clinc.names, teaching, seed=seed)
            session.learn(stream)
            figures[f"sona-pg, {teaching}"] = found = row(session.answers(clinc.held_out.embeddings))
            found[LEAD] = found["unseen intents"] - figures[baselines.Frozen.name]["unseen intents"]
        context.say(f"unseen {teaching} seed {seed}: {figures[f'sona-pg, {teaching}']}")
    return figures


def report(context: Context, seeds: Sequence[Figures]) -> list[Table]:
    """Return the table."""
    title = f"Unseen intents: held-out accuracy (%), CLINC150 {context.split}, {FEEDBACKS} feedbacks on the other half"
    return [Table("unseen", title, gather(seeds, TARGETS))]
