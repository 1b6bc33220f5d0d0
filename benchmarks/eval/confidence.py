"""Confidence: is the first answer right as often as its confidence says, and does it tell what nothing fits?

Titles of CLINC150. Calibration on the held-out queries of the intents, the area under the curve (AUROC) between these
and the held-out queries out of scope, after thumbs on the first answer and after told answers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from benchmarks.eval.context import Context
from benchmarks.eval.data import Floats
from benchmarks.eval.retrieval import SAID
from benchmarks.eval.stats import Figures, Table, Target, gather
from benchmarks.eval.titles_run import FirstAnswers, titles_run

COUNTS = (1000, 3000, 5000)
BINS = 15
ERROR, OF_CONFIDENCE, OF_FIT = "calibration error", "AUROC of confidence", "AUROC of fit"


def run_seed(context: Context, seed: int) -> Figures:
    """Return calibration errors and areas, all in per cent."""
    clinc = context.clinc()
    frozen = [(part @ clinc.titles.T).max(axis=1) for part in (clinc.held_out.embeddings, clinc.out_of_scope)]
    base = _area(*frozen)
    figures: Figures = {"frozen embedding, largest cosine": {OF_CONFIDENCE: base, OF_FIT: base}}
    for teaching, said in SAID.items():
        run = titles_run(context, teaching, seed, max(COUNTS))
        for count in COUNTS:
            figures[f"sona-pg, {said}, {count}"] = _measured(context, run.answers[count])
        context.say(f"confidence {teaching} seed {seed}: {figures[f'sona-pg, {said}, {max(COUNTS)}']}")
    for name, row in figures.items():
        if name.startswith("sona-pg"):
            row["lead of confidence"] = row[OF_CONFIDENCE] - base
            row["lead of fit"] = row[OF_FIT] - base
    return figures


def report(context: Context, seeds: Sequence[Figures]) -> list[Table]:
    """Return the table."""
    targets = {}
    for said in SAID.values():
        for count in COUNTS:
            targets[f"sona-pg, {said}, {count}", ERROR] = Target(5.0, at_most=True)
            targets[f"sona-pg, {said}, {count}", "lead of confidence"] = Target(0.0)
            targets[f"sona-pg, {said}, {count}", "lead of fit"] = Target(0.0)
    title = f"Confidence (%), CLINC150 {context.split}, after so many feedbacks"
    return [Table("confidence", title, gather(seeds, targets))]


def _measured(context: Context, found: FirstAnswers) -> dict[str, float]:
    right = found.shown == context.clinc().held_out.labels
    return {
        ERROR: calibration_error(found.confidence, right),
        OF_CONFIDENCE: _area(found.confidence, found.confidence_outside),
        OF_FIT: _area(found.fit, found.fit_outside),
    }


def calibration_error(told: Floats, right: NDArray[np.bool_]) -> float:
    """Expected calibration error: of bins of equal width (Guo et al. 2017)."""
    place = np.minimum((told * BINS).astype(int), BINS - 1)
    apart = [abs(float(told[place == row].sum()) - float(right[place == row].sum())) for row in range(BINS)]
    return 100 * sum(apart) / len(told)


def _area(inside: Floats, outside: Floats) -> float:
    truth = np.concatenate([np.ones(len(inside)), np.zeros(len(outside))])
    return 100 * float(roc_auc_score(truth, np.concatenate([inside, outside])))
