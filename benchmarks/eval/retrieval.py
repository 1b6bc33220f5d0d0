"""Learning curves of retrieval: 150 intents by their names, from thumbs or from the told answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.eval import baselines
from benchmarks.eval.context import Context
from benchmarks.eval.data import Floats, Queries
from benchmarks.eval.plots import plot_curves
from benchmarks.eval.sessions import CYCLE, RetrievalSession, Teaching, open_space
from benchmarks.eval.stats import Figures, Table, Target, gather
from benchmarks.eval.titles_run import titles_run

COUNTS = (1000, 5000, 10_000)
LACK = "logistic regression told less sona-pg from thumbs"
TARGETS = {
    ("sona-pg, thumbs only", "1k"): Target(82),
    ("sona-pg, thumbs only", "5k"): Target(90),
    ("sona-pg, thumbs only", "10k"): Target(92.5),
    ("sona-pg, right answer told", "1k"): Target(88),
    ("sona-pg, right answer told", "5k"): Target(94),
    ("sona-pg, right answer told", "10k"): Target(95),
    ("sona-pg, thumbs only", "5-shot 10k"): Target(93),
    (LACK, "10k"): Target(1.5, at_most=True),
}
SAID: dict[Teaching, str] = {"thumbs": "thumbs only", "told": "right answer told"}


def run_seed(context: Context, seed: int) -> Figures:
    """Return held-out accuracies (%), and under ``curve`` every point of our learning curves."""
    clinc = context.clinc()
    figures: Figures = {}
    stream = clinc.stream(seed, max(COUNTS))
    shots, rest = clinc.shots(seed)
    rest = rest.take(slice(0, max(COUNTS)))
    for teaching in SAID:
        run = titles_run(context, teaching, seed, max(COUNTS))
        curve = {count: run.accuracy(context, count) for count in run.answers if _is_point(count)}
        row = {_short(count): curve[count] for count in COUNTS if count in curve}
        figures[f"curve {teaching}"] = {str(count): value for count, value in curve.items()}
        if teaching == "thumbs":
            few = _few_shots(context, shots, rest, seed)
            figures["curve 5-shot"] = {str(count): value for count, value in few.items()}
            row["5-shot 10k"] = few[max(few)]
        figures[f"sona-pg, {SAID[teaching]}"] = row
    for teaching in SAID:
        for method, few_method in zip(baselines.methods(clinc.titles), baselines.methods(shots), strict=True):
            if context.quick and method.name not in ("frozen embedding", "centroid memory"):
                continue
            name = f"{method.name}, {SAID[teaching]}"
            reached = _theirs(method, stream, clinc.held_out, teaching)
            figures[name] = {_short(count): value for count, value in reached.items()}
            if teaching == "thumbs":
                last = _theirs(few_method, rest, clinc.held_out, teaching)
                figures[name]["5-shot 10k"] = last[max(last)]
    if (told := figures.get("logistic regression, right answer told")) is not None:
        ours = figures["sona-pg, thumbs only"]
        figures[LACK] = {count: told[count] - ours[count] for count in told if count in ours}
    return figures


def report(context: Context, seeds: Sequence[Figures]) -> list[Table]:
    """Return the table, and draw the learning curves."""
    keys = {"thumbs only": "thumbs", "right answer told": "told", "5-shot, thumbs only": "5-shot"}
    curves = {name: [figures.pop(f"curve {key}") for figures in seeds] for name, key in keys.items()}
    frozen = seeds[0]["frozen embedding, thumbs only"]["1k"]
    plot_curves(curves, frozen, context.output / "retrieval.png")
    order = sorted(seeds[0], key=lambda name: (name.endswith("told"), name.startswith("sona-pg")))
    ordered = [{name: figures[name] for name in order} for figures in seeds]
    title = f"Retrieval: held-out accuracy (%) on CLINC150 {context.split}, after so many feedbacks"
    return [Table("retrieval", title, gather(ordered, TARGETS))]


def _few_shots(context: Context, shots: Floats, stream: Queries, seed: int) -> dict[int, float]:
    """Return our accuracy by the number of thumbs, where means of five queries are the candidates."""
    clinc = context.clinc()
    with open_space(context.url, f"shots-thumbs-{seed}", shots.shape[1]) as engine:
        session = RetrievalSession(engine, shots, clinc.names, "thumbs", seed=seed)
        points = {0: session.accuracy(clinc.held_out)}

        def measure(count: int) -> None:
            if _is_point(count):
                points[count] = session.accuracy(clinc.held_out)

        session.learn(stream, measure)
        context.say(f"shots-thumbs seed {seed}: " + ", ".join(f"{k}: {v:.1f}" for k, v in points.items()))
    return points


def _is_point(count: int) -> bool:
    return count in COUNTS or count % (4 * CYCLE) == 0 or count == CYCLE


def _theirs(method: baselines.Method, stream: Queries, held_out: Queries, teaching: Teaching) -> dict[int, float]:
    counts = [int(count) for count in np.minimum(COUNTS, len(stream))]
    if teaching == "told":
        return baselines.told_curve(method, stream, held_out, counts)
    return baselines.thumbs_curve(method, stream, held_out, counts, CYCLE)


def _short(count: int) -> str:
    return f"{count // 1000}k"
