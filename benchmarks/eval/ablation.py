"""Ablations: each component on and off, in the case it is designed for, through the product's own path."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest.mock import patch

import numpy as np

from benchmarks.eval import continual
from benchmarks.eval.context import Context
from benchmarks.eval.data import Clinc, Floats, Labels, Queries, unit
from benchmarks.eval.sessions import CYCLE, RetrievalSession, open_space
from benchmarks.eval.stats import Figures, Table, gather
from benchmarks.eval.titles_run import titles_run
from sona_pg import SonaConfig, SonaEngine
from sona_pg.learning.adapters.baseline import Baseline

DOMAIN_EVENTS = 500  # feedbacks a domain, in the sequence of ten
STREAM = 3000  # feedbacks where there is one stream
SESSION = 60  # trajectories of one session about one intent, before any cycle; five times as many about a domain
INTENTS = 20  # that such sessions are about
SHOWN = 5  # a step goes to one of so many nearest titles
NOTES = (
    "Accuracies in %, forgetting in points (less is better). Adapters answer by their output's cosine with the titles.",
    "EWC is compared without stored queries, where nothing else protects; the baseline where good is .9 and bad .7.",
)


def run_seed(context: Context, seed: int) -> Figures:
    """Return each part's metric with and without it."""
    clinc = context.clinc()
    figures: Figures = {}
    frozen = _accuracy(clinc, lambda query: query)
    figures["the embedding as it comes"] = {"with": frozen, "without": frozen, "difference": 0.0}
    for part in (_sequence, _exploration, _base, _patterns, _micro, _baseline):
        for name, (with_it, without) in part(context, clinc, seed).items():
            figures[name] = {"with": with_it, "without": without, "difference": with_it - without}
            context.say(f"ablation seed {seed}: {name}: {with_it:.1f}, without {without:.1f}")
    return figures


def report(context: Context, seeds: Sequence[Figures]) -> list[Table]:
    """Return the table."""
    return [Table("ablation", f"Ablations, CLINC150 {context.split}, titles", gather(seeds), notes=NOTES)]


Parts = dict[str, tuple[float, float]]  # metric -> with, without


def _sequence(context: Context, clinc: Clinc, seed: int) -> Parts:
    """Ten domains in sequence: which component prevents forgetting the first ones."""
    tasks = [(domain, stream.take(slice(0, DOMAIN_EVENTS))) for domain, stream in continual.tasks_of(clinc, seed)]
    ranked, adapted = [], []
    for run in (continual.Run(replay=True), continual.Run(), continual.Run(ewc=continual.NO_EWC)):
        for kept, rows in zip(
            (ranked, adapted), continual.learn_in_turn(context, clinc, tasks, seed, run), strict=True
        ):
            kept.append(continual.summary(rows, tasks))
    parts: Parts = {}
    for metric in ("final", "forgetting"):
        whole, ewc_alone, nothing = (figures[metric] for figures in adapted)
        parts[f"replay: ranking, ten domains, {metric}"] = (ranked[0][metric], ranked[1][metric])
        parts[f"replay: base adapter, ten domains, {metric}"] = (whole, ewc_alone)
        parts[f"EWC: base adapter, ten domains, {metric}"] = (ewc_alone, nothing)
    return parts


def _exploration(context: Context, clinc: Clinc, seed: int) -> Parts:
    """Thumbs on the shown candidate only: exploration, because candidates never shown are never learned."""
    with_it = titles_run(context, "thumbs", seed, STREAM).accuracy(context, STREAM)
    with _space(context, clinc, "exploration", seed) as engine:
        session = RetrievalSession(engine, clinc.titles, clinc.names, "thumbs", seed=seed, cycle=CYCLE, exploration=0.0)
        session.learn(clinc.stream(seed, STREAM))
        return {f"exploration: ranking, {STREAM} thumbs": (with_it, session.accuracy(clinc.held_out))}


def _base(context: Context, clinc: Clinc, seed: int) -> Parts:
    """The base adapter from the right answers, beside the embedding as it comes."""
    with _space(context, clinc, "base", seed) as engine:
        RetrievalSession(engine, clinc.titles, clinc.names, "told", seed=seed, cycle=CYCLE).learn(
            clinc.stream(seed, STREAM)
        )
        with_it = _accuracy(clinc, lambda query: engine.apply_base_lora(0, query))
    return {f"base: apply_base_lora, {STREAM} answers told": (with_it, _accuracy(clinc, lambda query: query))}


def _patterns(context: Context, clinc: Clinc, seed: int) -> Parts:
    """Which of ten routes is right, by the nearest pattern's own record; the routes tried were drawn at random."""
    routes = np.array([f"route {domain}" for domain in range(int(clinc.domain.max()) + 1)])
    stream = clinc.stream(seed, STREAM)
    tried = np.random.default_rng([seed, 5]).integers(len(routes), size=len(stream))
    reached = []
    for clusters in (SonaConfig().patterns.clusters, 1):
        patterns = dataclasses.replace(SonaConfig().patterns, clusters=clusters)
        with _space(context, clinc, "patterns", seed, patterns=patterns) as engine:
            for row, (query, label) in enumerate(zip(stream.embeddings, stream.labels, strict=True)):
                handle = engine.begin_trajectory(query)
                engine.set_trajectory_route(handle, routes[tried[row]])
                engine.end_trajectory(handle, float(tried[row] == clinc.domain[label]))
                if row % CYCLE == CYCLE - 1:
                    engine.force_learn()
            right = [
                _best_route(engine, query) == routes[clinc.domain[label]]
                for query, label in zip(clinc.held_out.embeddings, clinc.held_out.labels, strict=True)
            ]
            reached.append(100 * float(np.mean(right)))
    return {f"patterns: best of ten routes, {STREAM} thumbs": (reached[0], reached[1])}


def _best_route(engine: SonaEngine, query: Floats) -> str | None:
    found = engine.find_patterns(query, 1)
    known = found[0].routes if found else {}
    return max(known, key=lambda name: known[name].quality, default=None)


def _micro(context: Context, clinc: Clinc, seed: int) -> Parts:
    """Sessions about one topic, before any cycle: effect on that topic and on all others."""
    intents = np.random.default_rng([seed, 7]).permutation(len(clinc.names))[:INTENTS]
    domains = np.unique(clinc.domain)
    about_intents = [(clinc.held_out.labels == one, clinc.train.labels == one) for one in intents]
    about_domains = [
        (clinc.domain[clinc.held_out.labels] == one, clinc.domain[clinc.train.labels] == one) for one in domains
    ]
    frozen = _right(clinc, lambda query: query)
    parts: Parts = {}
    for what, about, length in (("intent", about_intents, SESSION), ("domain", about_domains, 5 * SESSION)):
        adapted, before = [], []  # (on the session's topic, on the others)
        for turn, (inside, taught) in enumerate(about):
            rows = np.random.default_rng([seed, turn]).permutation(np.flatnonzero(taught))[:length]
            with _space(context, clinc, f"micro-{what}-{turn}", seed) as engine:
                _step_to_titles(engine, clinc, clinc.train.take(rows), seed, good=1.0, bad=0.0)
                engine.flush()
                right = _right(clinc, engine.apply_micro_lora)
            adapted.append((right[inside].mean(), right[~inside].mean()))
            before.append((frozen[inside].mean(), frozen[~inside].mean()))
        with_it, without = 100 * np.mean(adapted, axis=0), 100 * np.mean(before, axis=0)
        for place, where in enumerate((f"that {what}", "the rest")):
            parts[f"micro: {length} steps about one {what}, {where}"] = (float(with_it[place]), float(without[place]))
    return parts


def _baseline(context: Context, clinc: Clinc, seed: int) -> Parts:
    """Qualities all above the middle: without a baseline, bad steps are reinforced as well."""
    reached: dict[bool, tuple[float, float]] = {}
    for usual in (True, False):
        stream = clinc.stream(seed, STREAM)
        with _without_baseline(usual), _space(context, clinc, "baseline", seed) as engine:
            for start in range(0, len(stream), CYCLE):
                part = stream.take(slice(start, start + CYCLE))
                _step_to_titles(engine, clinc, part, seed + start, good=0.9, bad=0.7)
                engine.force_learn()
            reached[usual] = (
                _accuracy(clinc, lambda query: engine.apply_base_lora(0, query)),
                _accuracy(clinc, engine.apply_micro_lora),
            )
    return {
        f"baseline: {name} adapter, {STREAM} steps": (reached[True][place], reached[False][place])
        for place, name in enumerate(("base", "micro"))
    }


@contextlib.contextmanager
def _without_baseline(usual: bool) -> Iterator[None]:
    """Leave the returns as they are, unless ``usual``."""
    if usual:
        yield
        return
    with patch.object(Baseline, "advantages", lambda self, values, *given: values):
        yield


def _step_to_titles(engine: SonaEngine, clinc: Clinc, queries: Queries, seed: int, good: float, bad: float) -> None:
    """Record trajectories of one step each, to one of the nearest titles, judged."""
    nearest = np.argsort(-(queries.embeddings @ clinc.titles.T), axis=1)[:, :SHOWN]
    shown = nearest[np.arange(len(queries)), np.random.default_rng([seed, 6]).integers(SHOWN, size=len(queries))]
    for query, label, title in zip(queries.embeddings, queries.labels, shown, strict=True):
        handle = engine.begin_trajectory(query)
        engine.add_step(handle, activations=clinc.titles[title])
        engine.end_trajectory(handle, good if title == label else bad)


def _space(context: Context, clinc: Clinc, name: str, seed: int, **changes: Any) -> Any:
    config = SonaConfig().replace(**changes)
    return open_space(context.url, f"ablation-{name}-{seed}", clinc.titles.shape[1], config)


def _accuracy(clinc: Clinc, adapt: Callable[[Floats], Floats]) -> float:
    return 100 * float(_right(clinc, adapt).mean())


def _right(clinc: Clinc, adapt: Callable[[Floats], Floats]) -> Labels:
    outputs = unit(np.stack([adapt(query) for query in clinc.held_out.embeddings]))
    return np.asarray(np.argmax(outputs @ clinc.titles.T, axis=1) == clinc.held_out.labels, np.int64)
