"""Worth of vain retrievals: edges of use that only grow, beside those that also weaken (retrieved, and not used).

Sessions of ``graph_sessions``; in half of the runs half of the labels mean other candidates after the first hundred.
Measured on held-out queries: use by the patterns that a query is like, alone and with the ranker's score.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from benchmarks.eval import graph_sessions
from benchmarks.eval.context import Context
from benchmarks.eval.data import Queries
from benchmarks.eval.graph_sessions import CYCLE, FOLLOWERS, TAUGHT, Labelled, clinc_of, corpus_of
from benchmarks.eval.sessions import open_space
from benchmarks.eval.stats import Figures, Table, gather
from sona_pg.learning.graph.activation import FEATURES
from sona_pg.learning.graph.edges import GraphEdges, PairUses
from sona_pg.learning.graph.mixing import Mixing

ASKED = 60  # sessions to measure
ARMS = {"use alone": ("used",), "ranker and use": ("own", "used")}
NOTES = ("Share of held-out queries whose candidate is the first; ± half the 95 % interval of the seeds.",)


def run_seed(context: Context, seed: int) -> Figures:
    """Return the figures of both data sets, with and without vain retrievals, and with meanings that change."""
    figures: Figures = {}
    for name, data in (("CLINC150", clinc_of(context)), ("demo's corpus", corpus_of(seed))):
        for moved in (False, True):
            for down in (True, False):
                row = _share(context, data, seed, moved=moved, down=down)
                told = f"{name}{', meanings change' if moved else ''}: {'up and down' if down else 'up alone'}"
                figures[told] = row
                context.say(f"graph_uses seed {seed}: {told}: {row}")
    return figures


def _share(context: Context, data: Labelled, seed: int, *, moved: bool, down: bool) -> dict[str, float]:
    rng = np.random.default_rng([seed, 3])
    count = len(data.names)
    followers = np.stack([rng.choice(np.delete(np.arange(count), label), FOLLOWERS) for label in range(count)])
    taught = [graph_sessions._session(data.train, followers, rng) for _ in range(TAUGHT)]
    asked = [graph_sessions._session(data.held_out, followers, rng) for _ in range(ASKED)]
    name = f"uses-{count}-{seed}-{int(moved)}-{int(down)}"
    with open_space(context.url, name, data.candidates.shape[1]) as engine, _weakening(down):
        engine.remember(data.names, data.candidates)
        engine.flush()
        for start in range(0, TAUGHT, CYCLE):
            if moved and start == TAUGHT // CYCLE // 2 * CYCLE:
                data = _moved(data, seed)
            for number, rows in enumerate(taught[start : start + CYCLE], start):
                graph_sessions._teach(engine, data, rows, number, rng)
            engine.force_learn()
        found = {}
        for arm, features in ARMS.items():
            with _by(features):
                found[arm] = graph_sessions._measured(engine, data, asked)["@1"]
    return found


def _moved(data: Labelled, seed: int) -> Labelled:
    """Return the data with half of the labels meaning each other's candidates."""
    count = len(data.names)
    means, some = np.arange(count), np.random.default_rng(seed).permutation(count)[: count // 2]
    means[some] = np.roll(some, 1)
    train, held_out = (Queries(of.embeddings, means[of.labels]) for of in (data.train, data.held_out))
    return dataclasses.replace(data, train=train, held_out=held_out)


@contextlib.contextmanager
def _weakening(down: bool) -> Iterator[None]:
    """Have edges weaken, or only grow."""
    learned = GraphEdges.learned

    def growing(edges: GraphEdges, uses: PairUses, *how: object, **named: object) -> GraphEdges:
        kept = uses if down else dataclasses.replace(uses, downs=np.zeros_like(uses.downs))
        return learned(edges, kept, *how, **named)  # type: ignore[arg-type]

    with patch.object(GraphEdges, "learned", growing):
        yield


@contextlib.contextmanager
def _by(names: Sequence[str]) -> Iterator[None]:
    """Have recall add up the features of these ``names``."""
    weights = np.array([float(name in names) for name in FEATURES])

    def scores(mixing: Mixing, features: NDArray[np.float32]) -> NDArray[np.float64]:
        return features.astype(np.float64) @ weights

    with patch.object(Mixing, "scores", scores):
        yield


def report(context: Context, seeds: Sequence[Figures]) -> list[Table]:
    """Return one table."""
    heading = f"Worth of vain retrievals in the memory graph, {context.split}"
    return [Table("graph-uses", heading, gather(seeds), 3, notes=NOTES)]
