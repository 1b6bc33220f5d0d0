"""Off-policy estimates against the truth: the log has only the chosen route's outcome, the data set has both (MMLU)."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import numpy as np

from benchmarks.eval.context import Context
from benchmarks.eval.data import Mmlu
from benchmarks.eval.routing import COSTS, ROUTES, ask_online
from benchmarks.eval.sessions import open_space
from benchmarks.eval.stats import Figures, Table, gather
from sona_pg import PolicyEvaluation, SonaEngine
from sona_pg.domain.answer import Decision

RANDOM, OWN = "random log", "sona-pg's own log"
LEARNED = 0.6  # of the random log, before the version that is judged on the rest
BUDGET = 0.5
NOTES = (
    "Points of accuracy. Error: estimate minus truth on the same decisions; its mean is the bias. Covered: seeds "
    "whose 95 % interval of DR holds the truth. No figure: seeds in which it was refused; they are in no other mean.",
)


def run_seed(context: Context, seed: int) -> Figures:
    """Return errors and coverage of every policy, from a log of random choices and from the product's own."""
    mmlu = context.mmlu()
    seed += 1000 * (context.split == "validation")
    stream = mmlu.take(np.random.default_rng(seed).permutation(len(mmlu)))
    figures: Figures = {}
    for name, log in ((RANDOM, _at_random), (OWN, _own)):
        with open_space(context.url, f"off-policy-{seed}", stream.embeddings.shape[1]) as engine:
            ids = log(engine, stream, seed)
            engine.flush()
            middle = max(engine.version // 2, 1)
            judged = engine.evaluate_policies(budgets=[BUDGET], costs=COSTS, versions=[middle])
            for policy, row in _against_truth(judged, stream, ids, middle, engine.version).items():
                figures[f"{name}: {policy}"] = row
                context.say(f"off_policy seed {seed}: {name}: {policy}: {row}")
    return figures


def report(context: Context, seeds: Sequence[Figures]) -> list[Table]:
    """Return the table."""
    title = "Off-policy estimates against the truth, MMLU (points)"
    return [Table("off-policy", title, gather(seeds), digits=2, notes=NOTES)]


def _at_random(engine: SonaEngine, stream: Mmlu, seed: int) -> list[UUID]:
    strong = np.random.default_rng([seed, 4]).random(len(stream)) < 0.5
    ids = []
    for row in range(len(stream)):
        route = ROUTES[int(strong[row])]
        decision = Decision(route, 0.5, {}, engine.version, "random", cost=COSTS[route], features=stream.features[row])
        handle = engine.begin_trajectory(stream.embeddings[row], decision=decision)
        engine.end_trajectory(handle, quality=float((stream.strong if strong[row] else stream.weak)[row]))
        ids.append(handle.id)
        if row + 1 == int(LEARNED * len(stream)):
            engine.force_learn()
    return ids


def _own(engine: SonaEngine, stream: Mmlu, seed: int) -> list[UUID]:
    return ask_online(engine, stream, text=True)[1]


def _against_truth(
    judged: PolicyEvaluation, stream: Mmlu, ids: Sequence[UUID], middle: int, live: int
) -> dict[str, dict[str, float]]:
    """Return for each policy how far each estimate is off, and whether the interval holds the truth."""
    row_of = {id_: row for row, id_ in enumerate(ids)}
    rows = np.array([row_of[id_] for id_ in judged.trajectories])
    answers = np.stack([getattr(stream, route)[rows] for route in judged.routes], axis=1)
    found: dict[str, dict[str, float]] = {}
    for estimate in judged[1:]:  # the value of the logged policy is known
        label = estimate.policy.replace(f"version {live} (live)", "last version")
        label = label.replace(f"version {middle}", "version half way")
        found[label] = {"no figure, %": 100.0 * bool(estimate.refused), "effective size": estimate.effective_size}
        if estimate.refused:
            continue
        truth = float((estimate.probabilities * answers[estimate.rows]).sum(axis=1).mean())
        found[label] |= {
            "truth": 100 * truth,
            "error, DR": 100 * (estimate.quality - truth),
            "error, SNIPS": 100 * (estimate.snips - truth),
            "error, IPS": 100 * (estimate.ips - truth),
            "half the interval": 50 * (estimate.high - estimate.low),
            "covered, %": 100.0 * (estimate.low <= truth <= estimate.high),
        }
    return found
