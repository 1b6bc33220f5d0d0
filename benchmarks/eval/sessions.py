"""Our side of every experiment: an engine on a space of its own, asked and taught the way a user does."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal
from uuid import uuid4

import numpy as np

from benchmarks.eval.data import Floats, Labels, Queries
from sona_pg import SonaConfig, SonaEngine
from sona_pg.domain.answer import Ranking
from sona_pg.domain.cycle import CycleResult

Teaching = Literal["thumbs", "told"]
CYCLE = 500  # feedbacks between two cycles of learning
EXPLORATION = 1.0
RUN = uuid4().hex[:8]


@contextmanager
def open_space(url: str, name: str, dim: int, config: SonaConfig | None = None) -> Iterator[SonaEngine]:
    """Open a new space, learning only when it is told to."""
    chosen = config or SonaConfig()
    chosen = chosen.replace(loops=dataclasses.replace(chosen.loops, automatic=False))
    with SonaEngine(dim, url, f"eval-{RUN}-{name}-{uuid4().hex[:4]}", config=chosen) as engine:
        yield engine


@dataclass(slots=True)
class RetrievalSession:
    """A stream of queries that are answered with one of the candidates, and judged."""

    engine: SonaEngine
    candidates: Floats  # (m, dim)
    names: Sequence[str]  # (m,)
    teaching: Teaching
    noise: float = 0.0  # share of judgements that say the opposite, or name another candidate
    seed: int = 0
    cycle: int = CYCLE
    exploration: float = EXPLORATION
    asked: int = 0

    def ask(self, queries: Queries) -> None:
        """Ask every query and judge the answer that is shown.

        Between two cycles the version does not change, so the queries of that time are ranked together.
        """
        shown = self.engine.rank_many(
            queries.embeddings, self.candidates, ids=self.names, k=1, exploration=self.exploration
        )
        for row, ranking in enumerate(shown):
            self._judge(queries.embeddings[row], ranking, int(queries.labels[row]))

    def learn(self, stream: Queries, after: Callable[[int], None] | None = None) -> list[CycleResult]:
        """Ask every query in turn, judge the answer that is shown, and learn every ``cycle`` of them.

        ``after`` is called with the number of judgements so far when each cycle has ended.
        """
        cycles = []
        for start in range(0, len(stream), self.cycle):
            part = stream.take(slice(start, start + self.cycle))
            self.ask(part)
            cycles.append(self.engine.force_learn())
            if after is not None:
                after(start + len(part))
        return cycles

    def answers(self, queries: Floats) -> Labels:
        """Return the candidate that is ranked first for each query, without exploration."""
        place = {name: row for row, name in enumerate(self.names)}
        rankings = self.engine.rank_many(queries, self.candidates, ids=self.names, k=1)
        return np.array([place[ranking.ids[0]] for ranking in rankings], np.int64)

    def accuracy(self, queries: Queries) -> float:
        """Return the share of queries that are answered rightly, in per cent."""
        return 100 * float(np.mean(self.answers(queries.embeddings) == queries.labels))

    def scores(self, queries: Floats) -> Floats:
        """Return the scores (n, m) of all candidates for each query, highest first."""
        rankings = self.engine.rank_many(queries, self.candidates, ids=self.names, k=len(self.names))
        return np.stack([ranking.scores for ranking in rankings])

    def _judge(self, query: Floats, ranking: Ranking, right: int) -> None:
        handle = self.engine.begin_trajectory(query, ranking=ranking)
        shown = ranking.ids[0]
        self.engine.set_trajectory_route(handle, shown)
        rng = np.random.default_rng([self.seed, self.asked])
        wrong = rng.random() < self.noise
        self.asked += 1
        if self.teaching == "thumbs":
            self.engine.end_trajectory(handle, quality=float((shown == self.names[right]) != wrong))
            return
        self.engine.end_trajectory(handle)
        told = int(rng.integers(len(self.names))) if wrong else right
        self.engine.feedback(handle, correction=self.names[told])
