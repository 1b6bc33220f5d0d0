"""Tutorial 2 on 16 splits of its questions, run twice each: python -m benchmarks.eval.tutorial_splits [SPLITS].

Columns: percent of the unseen questions that get their topic, before, after 500 thumbs and after a cycle, then again
after thumbs for the same 500 questions and a second cycle. Then means, and the mean differences with their standard
errors; splits draw from the same questions, so that the true errors are somewhat larger. Its spaces stay in the store.
"""

from __future__ import annotations

import sys
from pathlib import Path
from runpy import run_path
from uuid import uuid4

import numpy as np

from sona_pg import SonaEngine
from sona_pg.demo.corpus import load_corpus, split

TUTORIAL = run_path(str(Path(__file__).parents[2] / "examples" / "tutorials" / "02_adaptive_chatbot.py"))
STEPS = ("thumbs", "cycle", "thumbs again", "second cycle")


def shares(seed: int) -> list[float]:
    """Return the five figures of one split, in percent."""
    corpus = split(load_corpus(None), seed=seed)
    with SonaEngine(hidden_dim=256, space=f"split-{uuid4().hex[:8]}", config=TUTORIAL["ON_DEMAND"]) as engine:
        bot = TUTORIAL["Chatbot"](engine, corpus.topics)
        unseen, topics = engine.embed([one.question for one in corpus.held_out]), [one.topic for one in corpus.held_out]
        asked = corpus.stream[:500]
        embeddings = engine.embed([one.question for one in asked])
        found = [bot.accuracy(unseen, topics)]
        for _ in range(2):
            for one, embedding in zip(asked, embeddings, strict=True):
                topic, answer = bot.answer(one.question, embedding)
                bot.thumb(answer, up=topic == one.topic)
            found.append(bot.accuracy(unseen, topics))
            engine.force_learn()
            found.append(bot.accuracy(unseen, topics))
    return [100 * one for one in found]


def main(splits: int = 16) -> None:
    """Print the figures of each split, their means and the differences."""
    rows = []
    for seed in range(splits):
        rows.append(shares(seed))
        print(f"split {seed:2}:", *(f"{one:5.1f}" for one in rows[-1]), flush=True)
    told = np.array(rows)
    print("mean    :", *(f"{one:5.1f}" for one in told.mean(0)))
    steps = [(name, told[:, place + 1] - told[:, place]) for place, name in enumerate(STEPS)]
    for name, gained in [*steps, ("second run", told[:, 4] - told[:, 2])]:
        error = gained.std(ddof=1) / np.sqrt(splits)
        print(f"{name}: {gained.mean():+.1f} (standard error {error:.1f}; {gained.min():+.1f} to {gained.max():+.1f})")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
