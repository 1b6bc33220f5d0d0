"""Recall in long conversations (LoCoMo): which turns hold the evidence for a question.

The turns of a conversation are candidates, its sessions are groups. ``rank`` and ``recall`` are asked before any
feedback, and after feedback on the evidence of half of the questions; the other half is measured. The defaults of
``recall`` were chosen on conversations 0 to 4, without feedback: ``--split validation`` measures these,
``--split test`` the other five.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.eval.context import Context
from benchmarks.eval.data import Conversations, Labels
from benchmarks.eval.sessions import open_space
from benchmarks.eval.stats import Figures, Table, Target, gather
from sona_pg import Ranking, SonaEngine

DEPTHS = (1, 5, 10, 25)
FREE, TAUGHT = "without feedback", "after feedback on half"
TARGETS = {
    (f"recall, {FREE}", "@10"): Target(0.406),  # three points above cosine on conversations 5 to 9
}
Ask = Callable[[int], Ranking]  # about the question of a row


def run_seed(context: Context, seed: int) -> Figures:
    """Return recall of the evidence at each depth, and the mean reciprocal rank."""
    talks = context.conversations()
    judged = np.random.default_rng(seed).random(len(talks.questions)) < 0.5
    figures: Figures = {}
    with open_space(context.url, f"recall-{context.split}-{seed}", talks.turns.shape[1]) as engine:
        for group, rows in talks.sessions():
            engine.remember([talks.ids[row] for row in rows], talks.turns[rows], group=group)
        engine.flush()

        turns = {number: talks.ids_of(number) for number in np.unique(talks.of).tolist()}

        def rank(row: int) -> Ranking:
            return engine.rank(talks.questions[row], ids=turns[int(talks.of[row])], k=DEPTHS[-1])

        def recall(row: int) -> Ranking:
            return engine.recall(talks.questions[row], ids=turns[int(talks.of[row])], k=DEPTHS[-1])

        for told in (FREE, TAUGHT):
            if told == TAUGHT:
                teach(engine, talks, np.flatnonzero(judged), recall)
            for name, ask in (("rank", rank), ("recall", recall)):
                figures[f"{name}, {told}"] = measured(talks, np.flatnonzero(~judged), ask)
                context.say(f"recall seed {seed}: {name}, {told}: {figures[f'{name}, {told}']}")
    return figures


def teach(engine: SonaEngine, talks: Conversations, rows: Labels, recall: Ask) -> None:
    """Tell the evidence of some questions: each turn that was used, as a trajectory of its own."""
    for row in rows.tolist():
        ranking = recall(row)
        for name in talks.evidence[row]:
            t = engine.begin_trajectory(talks.questions[row], ranking=ranking)
            engine.set_trajectory_route(t, name)
            engine.end_trajectory(t, quality=1.0)
    engine.force_learn()


def measured(talks: Conversations, rows: Labels, ask: Ask) -> dict[str, float]:
    """Return the mean over questions of the share of evidence found, and of the reciprocal rank of the first."""
    found: list[list[float]] = []
    for row in rows.tolist():
        names = ask(row).ids
        places = [names.index(name) if name in names else len(names) + 10**6 for name in talks.evidence[row]]
        shares = [float(np.mean([place < depth for place in places])) for depth in DEPTHS]
        found.append([*shares, 1.0 / (1.0 + min(places))])
    means = np.mean(found, axis=0).tolist()
    return dict(zip([*(f"@{depth}" for depth in DEPTHS), "MRR"], means, strict=True))


def report(context: Context, seeds: Sequence[Figures]) -> list[Table]:
    """Return the table."""
    which = "0 to 4" if context.split == "validation" else "5 to 9"
    title = f"Recall of the evidence among the turns of a conversation, LoCoMo, conversations {which}"
    return [Table("recall", title, gather(seeds, TARGETS), digits=3)]
