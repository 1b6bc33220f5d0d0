"""Which of three models to ask within a budget of real dollars, beside ParetoBandit; and prices and models that change.

Costs are those of the answers that were really given, told only afterwards. Ours starts cold, with a list price of each
model; cycles run when the product's own schedule is due.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.eval import money_peer
from benchmarks.eval.context import Context
from benchmarks.eval.money_data import LIST_PRICES, MODELS, Prompts, has_prompts, stream
from benchmarks.eval.sessions import open_space
from benchmarks.eval.stats import Figures, Table, Target, gather
from sona_pg import LoopConfig, SonaConfig
from sona_pg.worker.schedule import due_at

BUDGETS = {8.3e-5: 0.82, 2.3e-4: 0.87, 6.6e-4: 0.924, 1.9e-3: 0.926}  # dollars a request -> reward to reach on test
OURS, MIX = "sona-pg", "best mix of fixed models"
LEAD = f"{OURS} less {MIX}"
PEERS = {"ParetoBandit, its warm priors": "warmup", "ParetoBandit, cold": "none"}
REWARD, SPENT, CHANGE = "reward: ", "spend: ", "change: "
CHANGE_SEEDS = 5  # each takes as long as the four budgets
WINDOW = 50  # requests over which a share is counted
NEVER = 2000.0  # requests: more than any part has
Chosen = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class World:
    """What a prompt's answers are like at one moment of a stream: changes of it are a scenario."""

    reward: Callable[[int, int], float]  # of a row and a model
    cost: Callable[[int, int], float]
    offered: Callable[[int], Sequence[str]]  # models at a row


def run_seed(context: Context, seed: int) -> Figures:
    """Return reward and spend by method and budget, and the requests that each change takes to be noticed."""
    if not has_prompts(context.folder):
        context.say("money: SKIPPED, the folder has no pareto.npz and pareto.jsonl")
        return {}
    prompts, learned = stream(context.folder, context.split, seed)
    measured = slice(learned, None)
    figures: Figures = {}
    for budget in BUDGETS:
        heading = f"${budget:g}"
        made = {OURS: _ours(context, prompts, budget, seed, _as_it_was(prompts))}
        if money_peer.installed():
            made |= {name: money_peer.choices(prompts, budget, seed, priors) for name, priors in PEERS.items()}
        for name, chosen in made.items():
            rows = np.arange(len(prompts))
            figures.setdefault(REWARD + name, {})[heading] = float(prompts.reward[rows, chosen][measured].mean())
            figures.setdefault(SPENT + name, {})[heading] = float(prompts.cost[rows, chosen][measured].mean() / budget)
        figures.setdefault(REWARD + MIX, {})[heading] = best_mix(
            prompts.reward[measured], prompts.cost[measured], budget
        )
        lead = figures[REWARD + OURS][heading] - figures[REWARD + MIX][heading]
        figures.setdefault(REWARD + LEAD, {})[heading] = lead
        context.say(f"money seed {seed}: {heading}: {figures[REWARD + OURS][heading]:.4f}")
    if not context.quick and seed < CHANGE_SEEDS:
        figures[CHANGE + OURS] = _changes(context, prompts, seed)
        context.say(f"money seed {seed}: {figures[CHANGE + OURS]}")
    return figures


def report(context: Context, seeds: Sequence[Figures]) -> list[Table]:
    """Return tables of rewards, of spending, and of the requests that changes take."""
    rewards = {(OURS, f"${budget:g}"): Target(value) for budget, value in BUDGETS.items()}
    rewards |= {(LEAD, f"${budget:g}"): Target(0.0) for budget in BUDGETS}
    spends = {(OURS, f"${budget:g}"): Target(1.01, at_most=True) for budget in BUDGETS}
    limits = {"fall left": 150, "recovery taken": 300, "newcomer used": 120, "poor newcomer dropped": 60}
    changes = {(OURS, heading): Target(value, at_most=True) for heading, value in limits.items()}
    tables = []
    for name, title, targets, digits in (
        (REWARD, "mean reward", rewards, 4), (SPENT, "spend over the budget", spends, 3),
        (CHANGE, "requests until a change is noticed", changes, 0),
    ):  # fmt: skip
        part = [
            {method.removeprefix(name): row for method, row in figures.items() if method.startswith(name)}
            for figures in seeds
        ]
        if any(part):
            kind = name.strip(": ")
            tables.append(Table(f"money-{kind}", f"Real dollars, three models: {title}", gather(part, targets), digits))
    return tables


def best_mix(reward: NDArray[np.float64], cost: NDArray[np.float64], budget: float) -> float:
    """Return the mean reward of the best mix of two of the first three models within the budget, known beforehand."""
    means, costs = reward[:, :3].mean(axis=0), cost[:, :3].mean(axis=0)
    best = max((float(means[one]) for one in range(3) if costs[one] <= budget), default=0.0)
    for cheap, dear in itertools.permutations(range(3), 2):
        if costs[cheap] < budget < costs[dear]:
            share = (budget - costs[cheap]) / (costs[dear] - costs[cheap])
            best = max(best, float((1 - share) * means[cheap] + share * means[dear]))
    return best


def _as_it_was(prompts: Prompts) -> World:
    return World(
        lambda row, model: float(prompts.reward[row, model]),
        lambda row, model: float(prompts.cost[row, model]),
        lambda row: MODELS[:3],
    )


def _ours(context: Context, prompts: Prompts, budget: float, seed: int, world: World) -> Chosen:
    """Return the model that an engine chose for each prompt, told the reward and the real cost of that one alone."""
    config = SonaConfig(loops=LoopConfig(seed=seed + 1))  # 0 would draw anew in every run
    chosen, learned = np.zeros(len(prompts), np.int64), 0
    with open_space(context.url, f"money-{seed}", prompts.embeddings.shape[1], config) as engine:
        for row in range(len(prompts)):
            query, offered = prompts.embeddings[row], world.offered(row)
            costs = {name: LIST_PRICES[name] for name in offered}
            decision = engine.route(query, offered, query=str(prompts.texts[row]), costs=costs, budget=budget)
            model = chosen[row] = MODELS.index(decision.route)
            handle = engine.begin_trajectory(query, decision=decision)
            engine.end_trajectory(handle, world.reward(row, model), cost=world.cost(row, model))
            if row + 1 - learned >= due_at(learned, engine.config.loops):
                engine.force_learn()
                learned = row + 1
    return chosen


def _changes(context: Context, prompts: Prompts, seed: int) -> dict[str, float]:
    """Return the requests until each change is noticed: a price cut, a silent fall, its end, and new models."""
    usual, third, half = _as_it_was(prompts), len(prompts) // 3, len(prompts) // 2
    mean = float(prompts.reward[:, 1].mean())

    def fallen(row: int, model: int) -> float:
        return usual.reward(row, model) * (0.75 / mean if model == 1 and third <= row < 2 * third else 1.0)

    def cut(row: int, model: int) -> float:
        return usual.cost(row, model) * (0.01 if model == 2 and row >= half else 1.0)

    def grown(row: int) -> Sequence[str]:
        return MODELS if row >= half and np.isfinite(prompts.reward[row, 3]) else MODELS[:3]

    def poor(row: int, model: int) -> float:
        return usual.reward(row, model) * (0.5 if model == 3 else 1.0)

    after_cut = _ours(context, prompts, 6.6e-4, seed, World(usual.reward, cut, usual.offered)) == 2
    after_fall = _ours(context, prompts, 6.6e-4, seed, World(fallen, usual.cost, usual.offered)) == 1
    worth = _ours(context, prompts, 6.6e-3, seed, World(usual.reward, usual.cost, grown)) == 3
    not_worth = _ours(context, prompts, 6.6e-3, seed, World(poor, usual.cost, grown)) == 3
    before = float(after_fall[third - 100 : third].mean())
    left = _until(~after_fall[third : 2 * third], 1 - before / 2)
    return {
        "price cut used": _until(after_cut[half:], 0.25),
        "fall left": left,
        "recovery taken": NEVER if left == NEVER else _until(after_fall[2 * third :], before / 2),
        "newcomer used": _until(worth[half:], 0.1),
        "poor newcomer dropped": _until(~not_worth[half:], 0.95, first=WINDOW),
    }


def _until(taken: NDArray[np.bool_], share: float, first: int = 1) -> float:
    """Return the requests until ``share`` of the last ``WINDOW`` were ``taken``; ``NEVER`` if they never are."""
    window = np.convolve(taken, np.ones(WINDOW) / WINDOW)[: len(taken)]
    reached = np.flatnonzero(window[first - 1 :] >= share - 1e-9)
    return float(reached[0] + first) if len(reached) else NEVER
