"""The engine run that several experiments look at: CLINC150's titles, thumbs or told answers, no wrong ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.eval.context import Context
from benchmarks.eval.data import Floats, Labels
from benchmarks.eval.sessions import CYCLE, RetrievalSession, Teaching, open_space


@dataclass(frozen=True, slots=True)
class FirstAnswers:
    """Answers of one version to the held-out queries, and to those out of scope, without exploration."""

    shown: Labels  # (n,)
    confidence: Floats  # (n,)
    fit: Floats  # (n,)
    confidence_outside: Floats  # (o,)
    fit_outside: Floats  # (o,)


@dataclass(frozen=True, slots=True)
class TitlesRun:
    """Answers before any feedback, after one cycle, and after each second one; the scores at the end."""

    size: int  # feedbacks
    answers: dict[int, FirstAnswers]
    scores: Floats  # (n + o, m), highest first: held-out queries, and those out of scope

    def accuracy(self, context: Context, count: int) -> float:
        """Return the share of held-out queries answered rightly after ``count`` feedbacks, in per cent."""
        return 100 * float(np.mean(self.answers[count].shown == context.clinc().held_out.labels))


def titles_run(context: Context, teaching: Teaching, seed: int, size: int) -> TitlesRun:
    """Return a run of ``size`` feedbacks or more; experiments that follow each other in one task share it."""
    at = f"titles {teaching} {seed}"
    found = context.made.get(at)
    if not isinstance(found, TitlesRun) or found.size < size:
        found = context.made[at] = _run(context, teaching, seed, size)
    return found


def _run(context: Context, teaching: Teaching, seed: int, size: int) -> TitlesRun:
    clinc = context.clinc()
    answers: dict[int, FirstAnswers] = {}
    with open_space(context.url, f"titles-{teaching}-{seed}", clinc.titles.shape[1]) as engine:
        session = RetrievalSession(engine, clinc.titles, clinc.names, teaching, seed=seed)
        answers[0] = _first_answers(context, session)

        def measure(count: int) -> None:
            if count == CYCLE or count % (2 * CYCLE) == 0:
                answers[count] = _first_answers(context, session)

        session.learn(clinc.stream(seed, size), measure)
        scores = session.scores(np.concatenate([clinc.held_out.embeddings, clinc.out_of_scope]))
    run = TitlesRun(size, answers, scores)
    told = ", ".join(f"{count}: {run.accuracy(context, count):.1f}" for count in answers if count % (4 * CYCLE) == 0)
    context.say(f"titles {teaching} seed {seed}: {told}")
    return run


def _first_answers(context: Context, session: RetrievalSession) -> FirstAnswers:
    clinc = context.clinc()
    place = {name: row for row, name in enumerate(session.names)}
    inside, outside = (
        session.engine.rank_many(queries, session.candidates, ids=session.names, k=1)
        for queries in (clinc.held_out.embeddings, clinc.out_of_scope)
    )
    shown = np.array([place[one.ids[0]] for one in inside], np.int64)
    sure, unsure = (np.array([one.confidence for one in found], np.float32) for found in (inside, outside))
    fits, strange = (np.array([one.fit for one in found], np.float32) for found in (inside, outside))
    return FirstAnswers(shown, sure, fits, unsure, strange)
