"""Small spaces with default settings: fifty thumbs on ten documents, measured within a minute.

The documents are the names of ten intents of one domain of CLINC150, drawn by the seed; thumbs are on the answer shown.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from uuid import uuid4

import numpy as np

from benchmarks.eval.context import Context
from benchmarks.eval.data import Queries
from benchmarks.eval.sessions import RUN
from benchmarks.eval.stats import Figures, Table, Target, gather
from benchmarks.eval.streaming import EngineAnswers
from sona_pg import SonaEngine

DOCUMENTS, THUMBS = 10, 50
WAIT = 60.0  # seconds for the first cycle
TARGETS = {("gain", "within a minute"): Target(6.0)}


def run_seed(context: Context, seed: int) -> Figures:
    """Return held-out accuracies (%) on the ten intents."""
    clinc = context.clinc()
    random = np.random.default_rng(seed)
    domain = random.integers(clinc.domain.max() + 1)
    chosen = random.permutation(np.flatnonzero(clinc.domain == domain))[:DOCUMENTS]
    place = np.full(len(clinc.names), -1)
    place[chosen] = np.arange(DOCUMENTS)
    stream, held_out = (
        Queries(part.embeddings[place[part.labels] >= 0], place[part.labels][place[part.labels] >= 0])
        for part in (clinc.stream(seed), clinc.held_out)
    )
    titles, names = clinc.titles[chosen], [clinc.names[row] for row in chosen]
    with SonaEngine(titles.shape[1], context.url, f"eval-{RUN}-small-{seed}-{uuid4().hex[:4]}") as engine:
        answers = EngineAnswers(engine, titles, names, cycle=None)
        reached = {"before": _accuracy(answers, held_out)}
        began = time.monotonic()
        for query, label in zip(stream.embeddings[:THUMBS], stream.labels[:THUMBS], strict=True):
            shown = int(answers.scores(query[None, :])[0].argmax())
            answers.judge(query, shown, shown == label)
        reached["at once"] = _accuracy(answers, held_out)
        while engine.version == 0 and time.monotonic() < began + WAIT:
            time.sleep(0.5)
        reached["within a minute"] = _accuracy(answers, held_out)
        version = engine.version
    context.say(f"small seed {seed}: {reached}, version {version}")
    gained = {name: reached[name] - reached["before"] for name in ("at once", "within a minute")}
    return {"accuracy": reached, "gain": gained, "cycles": {"within a minute": float(version)}}


def report(context: Context, seeds: Sequence[Figures]) -> list[Table]:
    """Return the table."""
    title = f"Small spaces: held-out accuracy (%) on {DOCUMENTS} documents after {THUMBS} thumbs, default settings"
    return [Table("small", f"{title}, CLINC150 {context.split}", gather(seeds, TARGETS))]


def _accuracy(answers: EngineAnswers, queries: Queries) -> float:
    found = answers.scores(queries.embeddings).argmax(axis=1)
    return 100 * float(np.mean(found == queries.labels))
