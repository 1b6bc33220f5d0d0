"""Worth of the memory graph in long conversations (LoCoMo), through the product: one part after the other.

All ten conversations, in two halves: the defaults were chosen on 0 to 4 without feedback, 5 to 9 are reported. Half of
the questions get feedback on their evidence, each a session of its own; the other half is measured before and after.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.eval.context import Context
from benchmarks.eval.data import Conversations, Split
from benchmarks.eval.graph_arms import DREAMS, GRAPH, RANKING, SEQUENCE, counting, dream_only, space_used
from benchmarks.eval.recall import FREE, TAUGHT, measured
from benchmarks.eval.sessions import open_space
from benchmarks.eval.stats import Figures, Table, gather
from sona_pg import Ranking, SonaEngine

CYCLE = 200  # questions between two cycles
WEEKS = 4  # deep cycles
HALVES: dict[str, Split] = {"0 to 4": "validation", "5 to 9": "test"}
NOTES = (
    "Mean share of evidence found; the seeds choose the questions with feedback; ± half the 95 % interval.",
    f"Dreams: {WEEKS} deep cycles, a dreamt edge counts like one of use. Consolidation: whole rounds, as served.",
)


def run_seed(context: Context, seed: int) -> Figures:
    """Return recall by part and half."""
    figures: Figures = {}
    for half, split in HALVES.items():
        for name, row in _of_half(context, Conversations.load(context.folder, split), half, seed).items():
            figures[f"{half}: {name}"] = row
            context.say(f"graph seed {seed}: {half}: {name}: {row}")
    return figures


def _of_half(context: Context, talks: Conversations, half: str, seed: int) -> Figures:
    judged = np.random.default_rng(seed).random(len(talks.questions)) < 0.5
    held_out = np.flatnonzero(~judged)
    turns = {number: talks.ids_of(number) for number in np.unique(talks.of).tolist()}
    figures: Figures = {}
    with open_space(context.url, f"graph-{half[0]}-{seed}", talks.turns.shape[1]) as engine:
        for group, rows in talks.sessions():
            engine.remember([talks.ids[row] for row in rows], talks.turns[rows], group=group)
        engine.flush()

        def recall(row: int) -> Ranking:
            return engine.recall(talks.questions[row], ids=turns[int(talks.of[row])], k=25)

        def measure(name: str, features: Sequence[str]) -> None:
            with counting(features):
                figures[name] = measured(talks, held_out, recall)

        measure(f"{FREE}: embedding only", RANKING)
        measure(f"{FREE}: + graph", GRAPH)
        measure(f"{FREE}: + sequence", SEQUENCE)
        order = np.random.default_rng([seed, 1]).permutation(np.flatnonzero(judged))
        for start in range(0, len(order), CYCLE):
            _teach(engine, talks, order[start : start + CYCLE].tolist(), recall)
        measure(f"{TAUGHT}: + learned ranking", RANKING)
        measure(f"{TAUGHT}: + graph", GRAPH)
        measure(f"{TAUGHT}: + sequence", SEQUENCE)
        for week in range(WEEKS):
            dream_only(engine)
            if week == WEEKS - 1:
                measure(f"{TAUGHT}: + dreams", DREAMS)
            engine.deep_learn()
        measure(f"{TAUGHT}: + consolidation", SEQUENCE)
        figures |= space_used(engine)
    return figures


def _teach(engine: SonaEngine, talks: Conversations, rows: Sequence[int], recall: object) -> None:
    """Tell the evidence of some questions, each a session of its own, and learn from it."""
    assert callable(recall)
    for row in rows:
        ranking = recall(row)
        for name in talks.evidence[row]:
            t = engine.begin_trajectory(talks.questions[row], ranking=ranking)
            engine.add_trajectory_context(t, f"session:question-{row}")
            engine.set_trajectory_route(t, name)
            engine.end_trajectory(t, quality=1.0)
    engine.force_learn()


def report(context: Context, seeds: Sequence[Figures]) -> list[Table]:
    """Return a table for each half, and the space used."""
    tables = []
    for half in HALVES:
        own = [
            {name.removeprefix(f"{half}: "): row for name, row in figures.items() if name.startswith(half)}
            for figures in seeds
        ]
        cells = gather(own)
        recalled = [cell for cell in cells if cell.method != "space used"]
        used = [cell for cell in cells if cell.method == "space used"]
        place = half[0]
        title = f"Worth of the memory graph, LoCoMo, conversations {half}"
        tables.append(Table(f"graph-{place}", title, recalled, digits=3, notes=NOTES))
        tables.append(Table(f"graph-{place}-size", f"Size of the graph, LoCoMo, conversations {half}", used, digits=0))
    return tables
