"""Recurring questions that nothing offered answers: is an answer right as often as the chat says that it is?

CLINC150, the names of all but 30 intents, thumbs on the first answer. Half of the questions are of 600 that recur. The
confidence of a ranking beside what the chat tells of it (``RatedBefore``), on questions that recur and on unseen ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from benchmarks.eval.confidence import calibration_error
from benchmarks.eval.context import Context
from benchmarks.eval.data import Floats, Labels, Queries
from benchmarks.eval.sessions import CYCLE, open_space
from benchmarks.eval.stats import Figures, Table, gather
from sona_pg import SonaEngine
from sona_pg.domain.rated_before import RatedBefore

MISSING, RECURRING, FADING = 30, 600, 0.8  # frequency of a recurring question: its rank to the power of -FADING
SIZE, COUNTS, ASKED = 3000, (1000, 3000), 1500
NEAREST = 40  # ratings of an answer


class Told(NamedTuple):
    """One thumb: the question, the place of the answer, and whether it was right."""

    query: Floats  # (dim,)
    shown: int
    quality: float


def run_seed(context: Context, seed: int) -> Figures:
    """Return calibration errors (%) and root mean square errors (points)."""
    clinc, rng = context.clinc(), np.random.default_rng(seed)
    kept = np.sort(rng.permutation(len(clinc.names))[MISSING:])
    order = rng.permutation(len(clinc.train))
    often, once = order[:RECURRING], order[RECURRING:]
    shares = np.arange(1.0, RECURRING + 1) ** -FADING
    shares /= shares.sum()

    def recurring(count: int) -> Labels:
        return often[rng.choice(RECURRING, count, p=shares)]

    stream = clinc.train.take(np.where(rng.random(SIZE) < 0.5, recurring(SIZE), once[:SIZE]))
    asked = {"recurring": clinc.train.take(recurring(ASKED)), "unseen": clinc.held_out}
    figures: Figures = {}
    said: list[Told] = []
    with open_space(context.url, f"rejected-{seed}", clinc.titles.shape[1]) as engine:
        desk = _Desk(engine, clinc.titles[kept], [clinc.names[row] for row in kept], kept)
        for start in range(0, SIZE, CYCLE):
            said += desk.judged(stream.take(slice(start, start + CYCLE)))
            engine.force_learn()
            if len(said) in COUNTS:
                for name, queries in asked.items():
                    desk.measure(figures, f"{name}, {len(said)}", queries, said)
    context.say(f"rejected seed {seed}: {figures}")
    return figures


def report(context: Context, seeds: Sequence[Figures]) -> list[Table]:
    """Return the table."""
    title = f"What the chat says of its answers (%), CLINC150 {context.split}, {MISSING} of 150 answers missing"
    return [Table("rejected", title, gather(seeds, {}))]


class _Desk(NamedTuple):
    engine: SonaEngine
    titles: Floats  # (m, dim)
    names: list[str]  # (m,)
    intents: Labels  # (m,)

    def judged(self, queries: Queries) -> list[Told]:
        """Ask every query and give a thumb to its first answer."""
        told = []
        rankings = self.engine.rank_many(queries.embeddings, self.titles, ids=self.names, k=1)
        for query, label, ranking in zip(queries.embeddings, queries.labels, rankings, strict=True):
            shown = self.names.index(ranking.ids[0])
            quality = float(self.intents[shown] == label)
            handle = self.engine.begin_trajectory(query, ranking=ranking)
            self.engine.set_trajectory_route(handle, ranking.ids[0])
            self.engine.end_trajectory(handle, quality=quality)
            told.append(Told(query, shown, quality))
        return told

    def measure(self, figures: Figures, name: str, queries: Queries, said: Sequence[Told]) -> None:
        """Add the errors of confidence, and of what the chat tells, on ``queries``."""
        rankings = self.engine.rank_many(queries.embeddings, self.titles, ids=self.names, k=1)
        shown = np.array([self.names.index(one.ids[0]) for one in rankings])
        right = self.intents[shown] == queries.labels
        past, answers = np.stack([one.query for one in said]), np.array([one.shown for one in said])
        chances = []
        for query, answer, ranking in zip(queries.embeddings, shown, rankings, strict=True):
            rows = np.flatnonzero(answers == answer)
            near = sorted(((float(past[row] @ query), said[row].quality) for row in rows), reverse=True)[:NEAREST]
            assert ranking.confidence is not None
            chances.append(RatedBefore.of(ranking.confidence, near))
        for what, told in (
            ("confidence", [one.confidence for one in chances]),
            ("chat", [one.probability for one in chances]),
        ):
            values = np.array(told, np.float32)
            row = figures.setdefault(f"{what}, {name}", {})
            row["calibration error"] = calibration_error(values, right)
            row["root mean square error"] = 100 * float(np.sqrt(np.mean((values - right) ** 2)))
