"""ParetoBandit's judged answers: prompts with the reward and the real cost of four models."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.eval.data import Floats, Split, unit

PARETO_FILES = ("pareto.npz", "pareto.jsonl")
MODELS = ("llama", "mistral", "gemini-pro", "gemini-flash")
LIST_PRICES = {"llama": 3e-5, "mistral": 5e-4, "gemini-pro": 1.5e-2, "gemini-flash": 3e-3}  # dollars of a usual call
LEARNED = 1000  # rows of the validation split that come before those measured, while developing
Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Prompts:
    """A stream of prompts with what each model would answer."""

    embeddings: Floats  # (n, dim) float32, unit rows
    texts: NDArray[np.object_]  # (n,)
    reward: Doubles  # (n, 4) in [0, 1]; NaN where the fourth model gave no answer
    cost: Doubles  # (n, 4) dollars

    def __len__(self) -> int:
        return len(self.reward)

    def take(self, rows: NDArray[np.intp]) -> Prompts:
        """Return the prompts at ``rows``."""
        return Prompts(self.embeddings[rows], self.texts[rows], self.reward[rows], self.cost[rows])

    def followed_by(self, later: Prompts) -> Prompts:
        """Return both."""
        pairs = ((getattr(self, name), getattr(later, name)) for name in ("embeddings", "texts", "reward", "cost"))
        return Prompts(*(np.concatenate(pair) for pair in pairs))


def has_prompts(folder: Path) -> bool:
    """Return whether the folder has the data set."""
    return all((folder / name).is_file() for name in PARETO_FILES)


def stream(folder: Path, split: Split, seed: int) -> tuple[Prompts, int]:
    """Return prompts in the order of ``seed``, and the number of those that come before the ones to measure.

    Of the test split: all of the validation split, then all of it. Of the validation split: that alone, in one order.
    """
    rng = np.random.default_rng(seed)
    learned = _load(folder, "val")
    learned = learned.take(rng.permutation(len(learned)))
    if split == "validation":
        return learned, LEARNED
    measured = _load(folder, "test")
    return learned.followed_by(measured.take(rng.permutation(len(measured)))), len(learned)


def _load(folder: Path, part: str) -> Prompts:
    """Read the rows of one split, and no others."""
    with np.load(folder / "pareto.npz") as file:
        kept = file["split"] == part
        with (folder / "pareto.jsonl").open() as lines:
            texts = [row["prompt"] for row, wanted in zip(map(json.loads, lines), kept.tolist(), strict=True) if wanted]
        reward, cost = file["reward"][kept].astype(np.float64), file["cost"][kept].astype(np.float64)
        return Prompts(unit(file["emb"][kept]), np.array(texts, object), reward, cost)
