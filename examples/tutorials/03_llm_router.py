"""Tutorial 3: a router that learns from outcomes and real costs which model is worth its price for which prompt.

Run it: python examples/tutorials/03_llm_router.py [FOLDER] (extra embedded; or set SONA_PG_URL). FOLDER has
ParetoBandit's judged answers (pareto.npz and pareto.jsonl, see benchmarks/eval/README.md); without it the prompts are
generated.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from sona_pg import LoopConfig, SonaConfig, SonaEngine

PRICES = {"llama-8b": 3e-5, "mistral-large": 5e-4, "gemini-pro": 1.5e-2}  # dollars of a usual call
MODELS = list(PRICES)
BUDGET = 3e-4  # dollars that a call may cost on average
WORTH = 300.0  # quality that a dollar is worth, to compare: a tenth of a cent for .3
CYCLE = 100  # prompts between two cycles
ON_DEMAND = SonaConfig(loops=LoopConfig(automatic=False, seed=1))


@dataclass(frozen=True)
class Prompts:
    """Prompts, and how well and at which cost each model would answer them. The router sees one answer of each."""

    source: str
    texts: list[str]
    embeddings: np.ndarray  # (n, dim) float32
    quality: np.ndarray  # (n, 3) in [0, 1]
    cost: np.ndarray  # (n, 3) dollars


def real(folder: Path) -> Prompts:
    """Read ParetoBandit's validation split, in random order."""
    with np.load(folder / "pareto.npz") as file:
        rows = np.random.default_rng(0).permutation(np.flatnonzero(file["split"] == "val"))
        embeddings, quality, cost = (file[name][rows].astype(np.float64) for name in ("emb", "reward", "cost"))
    with (folder / "pareto.jsonl").open(encoding="utf-8") as file:
        lines = list(file)
    texts = [json.loads(lines[row])["prompt"] for row in rows]
    return Prompts("ParetoBandit's judged answers", texts, embeddings.astype(np.float32), quality[:, :3], cost[:, :3])


def generated(count: int, dim: int = 16) -> Prompts:
    """Return prompts of six kinds: two are hard for the small model, and one is hard for all but the dearest."""
    rng = np.random.default_rng(0)
    kinds = rng.integers(6, size=count)
    level = np.array([[0.9, 0.95, 0.95]] * 3 + [[0.2, 0.9, 0.95]] * 2 + [[0.1, 0.2, 0.9]])[kinds]
    embeddings = rng.standard_normal((6, dim))[kinds] + 0.4 * rng.standard_normal((count, dim))
    cost = 0.1 * np.array(list(PRICES.values())) * rng.lognormal(0, 0.4, (count, 3))
    quality = np.clip(level + 0.15 * rng.standard_normal((count, 3)), 0, 1)
    return Prompts(
        "generated prompts", [f"prompt {row}" for row in range(count)], embeddings.astype(np.float32), quality, cost
    )


def route_all(engine: SonaEngine, prompts: Prompts) -> np.ndarray:
    """Return the model that the router chose for each prompt, told quality and cost of that one alone."""
    chosen = np.zeros(len(prompts.texts), np.int64)
    for row, (text, embedding) in enumerate(zip(prompts.texts, prompts.embeddings, strict=True)):
        decision = engine.route(embedding, MODELS, query=text, costs=PRICES, budget=BUDGET)
        model = chosen[row] = MODELS.index(decision.route)
        trajectory = engine.begin_trajectory(embedding, decision=decision)
        engine.end_trajectory(trajectory, prompts.quality[row, model], cost=prompts.cost[row, model])
        if (row + 1) % CYCLE == 0:
            engine.force_learn()
    return chosen


def main(folder: Path | None = None, count: int = 1500) -> None:
    """Route every prompt once, and compare with each model alone over the same prompts."""
    prompts = generated(count) if folder is None else real(folder)
    space = f"tutorial-router-{uuid4().hex[:8]}"  # a space of its own for each run: it begins knowing nothing
    with SonaEngine(prompts.embeddings.shape[1], space=space, config=ON_DEMAND) as engine:
        chosen = route_all(engine, prompts)
    print(
        f"{len(chosen)} {prompts.source}: quality, dollars per 1,000 calls, quality minus {WORTH:g} times the dollars"
    )
    rows = np.arange(len(chosen))
    for model, name in enumerate(MODELS):
        print(f"always {name:16}{told(prompts, rows, model)}")
    print(f"{'learned router':23}{told(prompts, rows, chosen)}")
    late = rows[len(rows) // 2 :]
    print(f"{'its second half':23}{told(prompts, late, chosen[late])}")


def told(prompts: Prompts, rows: NDArray[np.int64], model: int | NDArray[np.int64]) -> str:
    """Return the three figures of the answers of ``model``, one number or (n,), to the prompts at ``rows``."""
    quality, cost = prompts.quality[rows, model].mean(), prompts.cost[rows, model].mean()
    return f"{quality:.3f}  ${1000 * cost:.3f}  {quality - WORTH * cost:.4f}"


if __name__ == "__main__":
    main(folder=Path(sys.argv[1]) if sys.argv[1:] else None)
