"""Tutorial 1: a first application, which learns from outcomes which of three models answers which kind of question.

Run it: python examples/tutorials/01_first_application.py (extra embedded; or set SONA_PG_URL). Run it again: it begins
with all that it has learned.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sona_pg import SonaEngine

MODELS = ["small", "coder", "writer"]
BEST = {"what is the capital of France": "small", "debug this function": "coder", "a poem about rain": "writer"}
KINDS = np.random.default_rng(0).standard_normal((len(BEST), 64))  # stands for an embedder: a direction a kind
DRAWN = np.random.default_rng(2).standard_normal(KINDS.shape) + 0.2 * KINDS  # answers resemble their questions a little
ANSWERS = dict(zip(MODELS, DRAWN.astype(np.float32), strict=True))  # stands for the embeddings of what a model answers


def question(rng: np.random.Generator) -> tuple[str, NDArray[np.float32], str]:
    """Return a question of a random kind: its text, its embedding, and the model that answers it well."""
    row = int(rng.integers(len(BEST)))
    text, best = list(BEST.items())[row]
    embedding = (KINDS[row] + 0.5 * rng.standard_normal(64)).astype(np.float32)
    return text, embedding, best


def choose(engine: SonaEngine, embedding: NDArray[np.float32], rng: np.random.Generator) -> str:
    """Return the model that went best in the nearest pattern; a random one while nothing is known."""
    for pattern in engine.find_patterns(embedding, k=1):
        best = pattern.best_of(MODELS)  # of those that are offered today
        if best is not None:
            return best[0]
    return str(rng.choice(MODELS))


def record(engine: SonaEngine, rng: np.random.Generator) -> None:
    """Have a random model answer one question, and record how it went."""
    text, embedding, best = question(rng)
    model = str(rng.choice(MODELS))
    quality = 0.9 if model == best else 0.3  # in your application: a thumb, a test, a judge
    trajectory = engine.begin_trajectory(embedding, query=text)
    engine.add_step(trajectory, activations=ANSWERS[model], reward=quality)  # what it answered
    engine.set_trajectory_route(trajectory, model)
    engine.end_trajectory(trajectory, quality)  # queued: it never waits for the database


def right(engine: SonaEngine, asked: int = 200) -> int:
    """Return how many of ``asked`` new questions get the model that answers them well."""
    rng = np.random.default_rng(1)
    answers = []
    for _ in range(asked):
        _, embedding, best = question(rng)
        answers.append(choose(engine, embedding, rng) == best)
    return sum(answers)


def near(engine: SonaEngine, asked: int = 200) -> int:
    """Return how many new questions, moved by the base adapter, are nearest to an answer of the right model."""
    rng = np.random.default_rng(1)
    rows = np.stack([vector / np.linalg.norm(vector) for vector in ANSWERS.values()])  # (m, 64)
    found = 0
    for _ in range(asked):
        _, embedding, best = question(rng)
        found += MODELS[np.argmax(rows @ engine.apply_base_lora(0, embedding))] == best
    return found


def main() -> None:
    """Record 300 interactions, learn, and ask again."""
    rng = np.random.default_rng()
    with SonaEngine(hidden_dim=64, space="tutorial-first") as engine:
        print(f"before: {right(engine)} of 200 new questions get the right model")
        print(f"before: {near(engine)} of 200 are nearest to an answer of the right model")
        for _ in range(300):
            record(engine, rng)
        cycle = engine.force_learn()  # a server does this by itself; here it must not wait
        print(f"learned {cycle.trajectories} trajectories into version {cycle.version}, {cycle.patterns} patterns")
        print(f"after: {right(engine)} of 200 get the right model, {near(engine)} are nearest to its answers")


if __name__ == "__main__":
    main()
