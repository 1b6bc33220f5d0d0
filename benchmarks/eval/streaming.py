"""Learning curves per thumb: every query is answered with what is known then, and judged at once.

Titles of CLINC150, thumbs on the one answer shown, nothing else. Beside ours: the frozen embedding, a cycle every 500
without recent evidence, and the simple methods as a user would run them online.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np

from benchmarks.eval.context import Context
from benchmarks.eval.data import Floats, Labels, Queries, unit
from benchmarks.eval.sessions import CYCLE, open_space
from benchmarks.eval.stats import Figures, Table, Target, gather
from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import LoopConfig
from sona_pg.worker.schedule import due_at

COUNTS = (100, 300, 1000)  # thumbs, over which the accuracy of the answers shown is averaged
CHECK = 50  # thumbs between two looks at the held-out queries
OURS, WITHOUT = "sona-pg, recent evidence, cycles when due", "sona-pg, a cycle every 500 alone"
GAIN, WORST = "gain over a cycle every 500", "least lead over frozen, held out"
TARGETS = {(OURS, GAIN): Target(3.0), (OURS, WORST): Target(-1.0)}


class Answers(Protocol):
    """Answers queries, and learns from thumbs on its answers."""

    def scores(self, queries: Floats) -> Floats:
        """Return (n, m): how well each candidate fits each query."""

    def judge(self, query: Floats, shown: int, right: bool) -> None:
        """Learn from one thumb."""


class FrozenAnswers:
    """Cosine with the titles."""

    def __init__(self, titles: Floats) -> None:
        self.titles = titles

    def scores(self, queries: Floats) -> Floats:
        """Return cosines."""
        return queries @ self.titles.T

    def judge(self, query: Floats, shown: int, right: bool) -> None:
        """Learn nothing."""


class OnlineCentroids(FrozenAnswers):
    """Cosine with the mean of each title and the queries that were confirmed for it; a thumb down moves it away."""

    AWAY = 0.2  # of a thumb down: a guess, not tuned

    def __init__(self, titles: Floats) -> None:
        super().__init__(titles)
        self._sums = titles.copy()

    def judge(self, query: Floats, shown: int, right: bool) -> None:
        """Move one centroid."""
        self._sums[shown] += query if right else -self.AWAY * query
        self.titles = self.titles.copy()
        self.titles[shown] = unit(self._sums[shown][None, :])[0]


class OnlineSoftmax(FrozenAnswers):
    """Softmax regression over a cosine prior, by one gradient step a thumb, up or down."""

    SCALE, RATE = 20.0, 2.0  # of the prior, and of a step: a guess, not tuned

    def __init__(self, titles: Floats) -> None:
        super().__init__(titles)
        self._moved = np.zeros_like(titles)

    def scores(self, queries: Floats) -> Floats:
        """Return logits."""
        return self.SCALE * queries @ self.titles.T + queries @ self._moved.T

    def judge(self, query: Floats, shown: int, right: bool) -> None:
        """Follow the gradient of the log-likelihood of what was said."""
        logits = self.scores(query[None, :])[0]
        chances = np.exp(logits - logits.max())
        chances /= chances.sum()
        pull = 1.0 if right else -chances[shown] / max(1.0 - chances[shown], 1e-3)
        gradient = -pull * chances
        gradient[shown] += pull
        self._moved += (self.RATE * gradient)[:, None] * query


class EngineAnswers:
    """Ours, asked and taught through the engine, one query after the other."""

    def __init__(
        self, engine: SonaEngine, titles: Floats, names: Sequence[str], cycle: int | Literal["due"] | None = CYCLE
    ) -> None:
        """Learn every ``cycle`` thumbs, when the product's own schedule is due, or never."""
        self._engine, self._titles, self._names = engine, titles, names
        self._place = {name: row for row, name in enumerate(names)}
        self._cycle, self._judged, self._learned = cycle, 0, 0

    def scores(self, queries: Floats) -> Floats:
        """Return (n, m): 1 for the answer, 0 for all others."""
        found = self._engine.rank_many(queries, self._titles, ids=self._names, k=1)
        best = np.zeros((len(queries), len(self._names)), np.float32)
        best[np.arange(len(queries)), [self._place[ranking.ids[0]] for ranking in found]] = 1.0
        return best

    def judge(self, query: Floats, shown: int, right: bool) -> None:
        """Record it, and run a cycle when it is due."""
        ranking = self._engine.rank(query, self._titles, ids=self._names, k=1)
        handle = self._engine.begin_trajectory(query, ranking=ranking)
        self._engine.set_trajectory_route(handle, self._names[shown])
        self._engine.end_trajectory(handle, quality=float(right))
        self._judged += 1
        due = due_at(self._learned, self._engine.config.loops) if self._cycle == "due" else self._cycle
        if due and self._judged - self._learned >= due:
            self._engine.force_learn()
            self._learned = self._judged


def run_seed(context: Context, seed: int) -> Figures:
    """Return the accuracies (%) of one order of the stream."""
    clinc = context.clinc()
    stream = clinc.stream(seed, max(COUNTS))
    frozen = FrozenAnswers(clinc.titles)
    base = _held_out(frozen, clinc.held_out)
    figures: Figures = {}

    def follow(name: str, answers: Answers) -> None:
        shown, least = _follow(answers, stream, clinc.held_out, base)
        row = {f"first {count}": 100 * float(np.mean(shown[:count])) for count in COUNTS}
        figures[name] = {**row, WORST: least}

    for name, made in (
        ("frozen embedding", FrozenAnswers),
        ("centroid memory, online", OnlineCentroids),
        ("softmax over a cosine prior, online", OnlineSoftmax),
    ):
        follow(name, made(clinc.titles))
    for name, recent, cycle in (
        (WITHOUT, 0, CYCLE),
        ("sona-pg, recent evidence alone", 1000, None),
        ("sona-pg, recent evidence, a cycle every 500", 1000, CYCLE),
        (OURS, 1000, "due"),
    ):
        config = SonaConfig(loops=LoopConfig(recent=recent))
        with open_space(context.url, f"stream-{recent}-{cycle}-{seed}", clinc.titles.shape[1], config) as engine:
            follow(name, EngineAnswers(engine, clinc.titles, clinc.names, cycle))
    last = f"first {max(COUNTS)}"
    figures[OURS][GAIN] = figures[OURS][last] - figures[WITHOUT][last]
    context.say(f"streaming seed {seed}: {figures[OURS]}")
    return figures


def report(context: Context, seeds: Sequence[Figures]) -> list[Table]:
    """Return the table."""
    title = f"Streaming: share of right answers (%) among those shown, CLINC150 {context.split}, thumbs only"
    return [Table("streaming", title, gather(seeds, TARGETS))]


def _follow(answers: Answers, stream: Queries, held_out: Queries, base: float) -> tuple[list[bool], float]:
    """Return whether each answer shown was right, and the least lead over the frozen embedding on held-out queries."""
    shown, least = [], np.inf
    for number, (query, label) in enumerate(zip(stream.embeddings, stream.labels, strict=True), 1):
        best = int(answers.scores(query[None, :])[0].argmax())
        shown.append(best == label)
        answers.judge(query, best, best == label)
        if number % CHECK == 0 or number in (10, 20, 30):
            least = min(least, _held_out(answers, held_out) - base)
    return shown, float(least)


def _held_out(answers: Answers, queries: Queries) -> float:
    found: Labels = answers.scores(queries.embeddings).argmax(axis=1)
    return 100 * float(np.mean(found == queries.labels))
