"""Wrong feedback, and questions that none of the answers fits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.metrics import roc_auc_score

from benchmarks.eval import baselines
from benchmarks.eval.context import Context
from benchmarks.eval.data import Floats
from benchmarks.eval.sessions import RetrievalSession, open_space
from benchmarks.eval.stats import Cell, Figures, Table, Target, gather
from benchmarks.eval.titles_run import titles_run

FEEDBACKS = 10_000
HALFWAY = FEEDBACKS // 2
NOISE = (0.0, 0.1, 0.3)
OURS = "sona-pg, thumbs only"
SCOPE = "out of scope"


def run_seed(context: Context, seed: int) -> Figures:
    """Return accuracies (%) by share of wrong thumbs, and AUROCs of out-of-scope detection."""
    clinc = context.clinc()
    stream = clinc.stream(seed, FEEDBACKS)
    asked = np.concatenate([clinc.held_out.embeddings, clinc.out_of_scope])
    inside = np.arange(len(asked)) < len(clinc.held_out)

    def auroc(confidence: Floats) -> float:
        return float(roc_auc_score(inside, confidence))

    accuracy: dict[str, float] = {}
    scope: Figures = {}
    run = titles_run(context, "thumbs", seed, FEEDBACKS)
    accuracy |= {_wrong(0.0, count): run.accuracy(context, count) for count in (HALFWAY, FEEDBACKS)}
    scope[f"{SCOPE}: {OURS}, highest score"] = {"AUROC": auroc(run.scores[:, 0])}
    chance = 1 / np.exp(run.scores - run.scores[:, :1]).sum(axis=1)
    scope[f"{SCOPE}: {OURS}, chance of the first"] = {"AUROC": auroc(chance)}
    for noise in NOISE[1:]:
        with open_space(context.url, f"noise-{noise}-{seed}", clinc.titles.shape[1]) as engine:
            session = RetrievalSession(engine, clinc.titles, clinc.names, "thumbs", noise=noise, seed=seed)

            def measure(count: int, session: RetrievalSession = session, noise: float = noise) -> None:
                if count in (HALFWAY, FEEDBACKS):
                    accuracy[_wrong(noise, count)] = session.accuracy(clinc.held_out)

            session.learn(stream, measure)
        context.say(f"noise {noise} seed {seed}: {accuracy[_wrong(noise, FEEDBACKS)]:.1f}")
    for method in baselines.methods(clinc.titles):
        if context.quick and isinstance(method, baselines.Logistic):
            continue
        method.fit(stream)
        told = "" if isinstance(method, baselines.Frozen) else ", told"
        scope[f"{SCOPE}: {method.name}{told}"] = {"AUROC": auroc(method.scores(asked).max(axis=1))}
    return {OURS: accuracy, **scope}


def report(context: Context, seeds: Sequence[Figures]) -> list[Table]:
    """Return one table for each question."""
    cells = {cell.heading: cell for cell in gather([{OURS: figures[OURS]} for figures in seeds])}
    lost = [
        Cell("points lost", heading, tuple(np.subtract(cells[_wrong(0.0, count)].values, cells[heading].values)),
             Target(2.0, at_most=True) if noise == 0.1 else None)
        for noise in NOISE[1:] for count in (HALFWAY, FEEDBACKS) for heading in [_wrong(noise, count)]
    ]  # fmt: skip
    scope = gather([
        {name.removeprefix(f"{SCOPE}: "): row for name, row in figures.items() if name.startswith(SCOPE)}
        for figures in seeds
    ])  # fmt: skip
    return [
        Table(
            "noise",
            f"Wrong thumbs: held-out accuracy (%), CLINC150 {context.split}, titles, thumbs only",
            [*cells.values(), *lost],
        ),
        Table("scope", f"Out-of-scope queries against in-scope ones, CLINC150 {context.split}", scope, digits=3),
    ]


def _wrong(noise: float, count: int) -> str:
    return f"{noise:.0%} wrong, {count // 1000}k"
