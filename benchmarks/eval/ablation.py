"""What each part contributes: the same stream with one setting changed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from benchmarks.eval.context import Context
from benchmarks.eval.data import Clinc, Floats, unit
from benchmarks.eval.sessions import CYCLE, EXPLORATION, RetrievalSession, open_space
from benchmarks.eval.stats import Figures, Table, gather
from sona_pg import SonaConfig, SonaEngine

COUNTS = (1000, 5000)
NOTES = ("The ranking is learned by the ranker alone; patterns and adapters answer by find_patterns and apply_*_lora.",)


def run_seed(context: Context, seed: int) -> Figures:
    """Return held-out accuracies (%) after thumbs on titles."""
    clinc = context.clinc()
    plain = SonaConfig()
    variants: dict[str, tuple[SonaConfig, int, float]] = {
        "everything": (plain, CYCLE, EXPLORATION),
        "no replay": (plain.replace(loops=dataclasses.replace(plain.loops, replay=0)), CYCLE, EXPLORATION),
        "a quarter of the replay": (
            plain.replace(loops=dataclasses.replace(plain.loops, replay=plain.loops.replay // 4)), CYCLE, EXPLORATION,
        ),
        "one pattern": (
            plain.replace(patterns=dataclasses.replace(plain.patterns, clusters=1)), CYCLE, EXPLORATION,
        ),
        "no exploration": (plain, CYCLE, 0.0),
        "a cycle every 125": (plain, 125, EXPLORATION),
        "a cycle every 1000": (plain, 1000, EXPLORATION),
    }  # fmt: skip
    figures: Figures = {}
    for name, (config, cycle, exploration) in variants.items():
        space = f"ablation-{name.replace(' ', '-')}-{seed}"
        with open_space(context.url, space, clinc.titles.shape[1], config) as engine:
            session = RetrievalSession(
                engine, clinc.titles, clinc.names, "thumbs", seed=seed, cycle=cycle, exploration=exploration
            )
            figures[name] = _learn(session, clinc, seed)
            if name == "everything":
                parts = {"base adapter alone, then cosine": _base(engine, clinc),
                         "micro adapter alone, then cosine": _micro(engine, clinc)}  # fmt: skip
                last = f"{max(COUNTS) // 1000}k"
                alone = {part: {last: value} for part, value in parts.items()}
        context.say(f"ablation seed {seed}: {name}: {figures[name]}")
    return {**figures, **alone}


def report(context: Context, seeds: Sequence[Figures]) -> list[Table]:
    """Return the table."""
    title = f"Ablations: held-out accuracy (%), CLINC150 {context.split}, titles, thumbs only"
    return [Table("ablation", title, gather(seeds), notes=NOTES)]


def _learn(session: RetrievalSession, clinc: Clinc, seed: int) -> dict[str, float]:
    reached: dict[str, float] = {}

    def measure(count: int) -> None:
        if count in COUNTS:
            reached[f"{count // 1000}k"] = session.accuracy(clinc.held_out)

    session.learn(clinc.stream(seed, max(COUNTS)), measure)
    return reached


def _base(engine: SonaEngine, clinc: Clinc) -> float:
    return _accuracy(clinc, [engine.apply_base_lora(0, query) for query in clinc.held_out.embeddings])


def _micro(engine: SonaEngine, clinc: Clinc) -> float:
    return _accuracy(clinc, [engine.apply_micro_lora(query) for query in clinc.held_out.embeddings])


def _accuracy(clinc: Clinc, outputs: Sequence[Floats]) -> float:
    answers = np.argmax(unit(np.stack(outputs)) @ clinc.titles.T, axis=1)
    return 100 * float(np.mean(answers == clinc.held_out.labels))
