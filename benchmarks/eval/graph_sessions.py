"""Worth of the memory graph in sessions: CLINC150's intents, and the topics of the demo's corpus.

The queries are real, the order of their labels is made: each label has three that follow it in six cases of ten, else
any other follows. Half of the queries of the training sessions get feedback (the right candidate); the query before
is the context of the next. Measured on sessions of held-out queries over the same chain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.eval.context import Context
from benchmarks.eval.data import Floats, Queries, unit
from benchmarks.eval.graph_arms import (
    DREAMS,
    GRAPH,
    RANKING,
    SEQUENCE,
    counting,
    dream_only,
    space_used,
    without_evidence,
)
from benchmarks.eval.sessions import open_space
from benchmarks.eval.stats import Figures, Table, gather
from sona_pg import Ranking, SonaConfig, SonaEngine
from sona_pg.config import DreamConfig
from sona_pg.demo.corpus import load_corpus, split
from sona_pg.domain.memory import days_of
from sona_pg.learning.graph.dreams import network_of, walks
from sona_pg.learning.graph.integration import integration
from sona_pg.learning.knowledge import graph_of
from sona_pg.text import default_embedder

LENGTH, TAUGHT, ASKED = 6, 250, 150  # queries of a session; sessions to learn from, and to measure
FOLLOWERS, USUAL = 3, 0.6
CYCLE = 50  # sessions between two cycles
WAITING = "second fifty sessions, "
WEEKS = 4  # deep cycles
WALKS = 200  # dreams whose Φ is measured
NOTES = (
    "Share of held-out queries whose candidate is the first, or among five; five seeds, ± half the 95 % interval.",
    f"Dreams: {WEEKS} deep cycles, a dreamt edge counts like one of use. Consolidation: whole rounds, as served.",
)


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """Candidates, and queries that mean one of them."""

    names: Sequence[str]  # (m,)
    candidates: Floats  # (m, dim)
    train: Queries
    held_out: Queries


def clinc_of(context: Context) -> Labelled:
    """Return CLINC150: the candidates are the intents' names."""
    clinc = context.clinc()
    return Labelled(clinc.names, clinc.titles, clinc.train, clinc.held_out)


def corpus_of(seed: int) -> Labelled:
    """Return the demo's corpus: the candidates are the topics' names."""
    embedder, corpus = default_embedder(), split(load_corpus(None), seed)
    place = {name: row for row, name in enumerate(corpus.topics)}

    def queries(items: Sequence[object]) -> Queries:
        texts = [getattr(item, "question") for item in items]  # noqa: B009
        labels = [place[getattr(item, "topic")] for item in items]  # noqa: B009
        return Queries(unit(embedder.embed(texts)), np.array(labels, np.int64))

    names = unit(embedder.embed(list(corpus.topics)))
    return Labelled(corpus.topics, names, queries(corpus.stream), queries(corpus.held_out))


def run_seed(context: Context, seed: int) -> Figures:
    """Return the figures of both data sets."""
    figures: Figures = {}
    for name, data in (("CLINC150", clinc_of(context)), ("demo's corpus", corpus_of(seed))):
        for arm, row in _of_data(context, data, name, seed).items():
            figures[f"{name}: {arm}"] = row
            context.say(f"graph_sessions seed {seed}: {name}: {arm}: {row}")
    return figures


def _of_data(context: Context, data: Labelled, name: str, seed: int) -> Figures:
    rng = np.random.default_rng([seed, 3])
    count = len(data.names)
    followers = np.stack([rng.choice(np.delete(np.arange(count), label), FOLLOWERS) for label in range(count)])
    taught = [_session(data.train, followers, rng) for _ in range(TAUGHT)]
    asked = [_session(data.held_out, followers, rng) for _ in range(ASKED)]
    figures: Figures = {}
    with open_space(context.url, f"sessions-{name[0]}-{seed}", data.candidates.shape[1]) as engine:
        engine.remember(data.names, data.candidates)
        engine.flush()

        def measure(arm: str, features: Sequence[str]) -> None:
            with counting(features):
                figures[arm] = _measured(engine, data, asked)

        measure("embedding only", ("own",))
        for start in range(0, TAUGHT, CYCLE):
            for number, rows in enumerate(taught[start : start + CYCLE], start):
                _teach(engine, data, rows, number, rng)
            if start == CYCLE:  # fifty sessions are learned, fifty wait
                with without_evidence():
                    measure(WAITING + "unheard", SEQUENCE)
                measure(WAITING + "as recent evidence", SEQUENCE)
            engine.force_learn()
            if start == CYCLE:
                measure(WAITING + "learned by a version", SEQUENCE)
        for arm, features in (("+ learned ranking", RANKING), ("+ graph", GRAPH), ("+ sequence", SEQUENCE)):
            measure(arm, features)
        for week in range(WEEKS):
            dream_only(engine)
            if week == WEEKS - 1:
                measure("+ dreams", DREAMS)
            engine.deep_learn()
        measure("+ consolidation", SEQUENCE)
        figures |= {**space_used(engine), "Φ": _phi(engine, seed)}
    return figures


def _session(
    queries: Queries, followers: np.ndarray[tuple[int, ...], np.dtype[np.int64]], rng: np.random.Generator
) -> list[int]:
    """Return the rows of the queries of one session."""
    there = np.unique(queries.labels)
    label, rows = int(rng.choice(there)), []
    for _ in range(LENGTH):
        rows.append(int(rng.choice(np.flatnonzero(queries.labels == label))))
        usual = rng.random() < USUAL
        label = int(rng.choice(followers[label] if usual else there[there != label]))
    return rows


def _teach(engine: SonaEngine, data: Labelled, rows: Sequence[int], number: int, rng: np.random.Generator) -> None:
    before: list[Floats] = []
    for row in rows:
        query = data.train.embeddings[row]
        ranking = _recalled(engine, data, query, before)
        t = engine.begin_trajectory(query, ranking=ranking)
        engine.add_trajectory_context(t, f"session:{number}")
        engine.set_trajectory_route(t, ranking.ids[0])
        engine.end_trajectory(t)
        if rng.random() < 0.5:
            engine.feedback(t, correction=data.names[int(data.train.labels[row])])
        before = [query]


def _recalled(engine: SonaEngine, data: Labelled, query: Floats, before: Sequence[Floats]) -> Ranking:
    return engine.recall(query, ids=data.names, k=min(25, len(data.names)), context=before)


def _measured(engine: SonaEngine, data: Labelled, asked: Sequence[Sequence[int]]) -> dict[str, float]:
    """Return the share of queries whose candidate is the first, or among five, and the mean reciprocal rank."""
    found = []
    for rows in asked:
        before: list[Floats] = []
        for row in rows:
            query = data.held_out.embeddings[row]
            ids = _recalled(engine, data, query, before).ids
            name = data.names[int(data.held_out.labels[row])]
            place = ids.index(name) if name in ids else 10**6
            found.append((place < 1, place < 5, 1.0 / (1.0 + place)))
            before = [query]
    return dict(zip(("@1", "@5", "MRR"), np.mean(found, axis=0).tolist(), strict=True))


def _phi(engine: SonaEngine, seed: int) -> dict[str, float]:
    """Return quantiles of Φ of dreams over the learned graph, and the shares above two thresholds."""
    session = engine._session
    serving = session.held.serving
    catalog = session.database.snapshot(session.space).catalog
    graph = graph_of(serving.state).opened(serving.patterns, catalog)
    now, half_life = days_of(session.database.now()), SonaConfig().graph.half_life
    weights = graph.edges.weights_at(now, half_life)
    walked = walks(graph, DreamConfig(), now, half_life, seed, WALKS)
    values = np.array([integration(network_of(graph, weights, one)) for one in walked])
    quantiles = zip(
        ("10 %", "median", "67 %", "90 %"), np.quantile(values, (0.1, 0.5, 0.67, 0.9)).tolist(), strict=True
    )
    return {**dict(quantiles), **{f"above {at}": float(np.mean(values >= at)) for at in (0.1, 0.3)}}


def report(context: Context, seeds: Sequence[Figures]) -> list[Table]:
    """Return three tables for each data set."""
    tables = []
    for name, title in (
        ("CLINC150", f"CLINC150 {context.split}, titles"),
        ("demo's corpus", "the demo's corpus, topics"),
    ):
        own = [
            {arm.removeprefix(f"{name}: "): row for arm, row in figures.items() if arm.startswith(name)}
            for figures in seeds
        ]
        cells, place = gather(own), "clinc" if name == "CLINC150" else "corpus"
        for arm, part, digits in ((None, "", 3), ("space used", "-size", 0), ("Φ", "-phi", 3)):
            chosen = [cell for cell in cells if (cell.method == arm if arm else cell.method not in ("space used", "Φ"))]
            heading = f"{arm or 'Worth of the memory graph'}, sessions of {title}"
            tables.append(Table(f"graph-{place}{part}", heading, chosen, digits, notes=() if arm else NOTES))
    return tables
