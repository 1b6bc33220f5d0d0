"""Ten domains in sequence: final accuracy, and forgetting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import SGDClassifier

from benchmarks.eval import baselines
from benchmarks.eval.context import Context
from benchmarks.eval.data import Clinc, Labels, Queries, unit
from benchmarks.eval.sessions import RetrievalSession, Teaching, open_space
from benchmarks.eval.stats import Figures, Table, Target, gather
from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import BaseConfig, EwcConfig, LoopConfig

EVENTS = 1000  # feedbacks a domain
CYCLE = 250
ALL, THUMBS = "sona-pg, told", "sona-pg, thumbs only"
NO_REPLAY = "sona-pg, told, no stored queries"
EWC, EWC_8 = "base adapter of rank 16, EWC alone, no stored queries", "the same of rank 8"
DIAGONAL = "the same of rank 16, diagonal Fisher information of the factors"
NEITHER = "base adapter of rank 16, neither EWC nor stored queries"
BOTH = "base adapter of rank 8, EWC and stored queries"
NO_EWC = EwcConfig(lambda_=0.0, lambda_min=0.0, lambda_max=0.0)
WIDE = BaseConfig(rank=16)  # as the simple methods it is compared with


@dataclass(frozen=True, slots=True)
class Run:
    """One space that is taught all domains: how the ranking is called, and the base adapter alone with the cosine."""

    ranked: str | None = None
    adapted: str | None = None
    teaching: Teaching = "told"
    base: BaseConfig = field(default_factory=BaseConfig)
    ewc: EwcConfig = field(default_factory=EwcConfig)
    replay: bool = False

    def config(self) -> SonaConfig:
        """Return the settings."""
        loops = LoopConfig() if self.replay else LoopConfig(replay=0)
        return SonaConfig(base=self.base, ewc=self.ewc, loops=loops)


RUNS = (
    Run(ALL, BOTH, replay=True),
    Run(THUMBS, teaching="thumbs", replay=True),
    Run(NO_REPLAY, EWC, base=WIDE),
    Run(adapted=EWC_8),
    Run(adapted=DIAGONAL, base=WIDE, ewc=EwcConfig(fisher="diagonal")),
    Run(adapted=NEITHER, base=WIDE, ewc=NO_EWC),
)
TARGETS = {
    (ALL, "final"): Target(89),
    (ALL, "forgetting"): Target(4, at_most=True),
    (EWC, "final"): Target(84),
    (EWC, "forgetting"): Target(5, at_most=True),
}
Answer = Callable[[], Labels]


def run_seed(context: Context, seed: int) -> Figures:
    """Return final average accuracy and forgetting (%) of each method, in the order of domains of ``seed``."""
    clinc = context.clinc()
    tasks = tasks_of(clinc, seed)
    figures: Figures = {}
    asked = clinc.held_out.embeddings
    frozen = baselines.predict(baselines.Frozen(clinc.titles), asked)
    figures["frozen embedding"] = summary(np.array([_by_domain(clinc, frozen)] * len(tasks)), tasks)
    figures.update(_simple(clinc, tasks, context.quick))
    for run in RUNS:
        ranked, adapted = learn_in_turn(context, clinc, tasks, seed, run)
        for label, rows in ((run.ranked, ranked), (run.adapted, adapted)):
            if label is not None:
                figures[label] = summary(rows, tasks)
                context.say(f"continual seed {seed}: {label}: {figures[label]}")
    return figures


def report(context: Context, seeds: Sequence[Figures]) -> list[Table]:
    """Return the table."""
    title = f"Ten domains in sequence, {EVENTS} feedbacks each, titles, CLINC150 {context.split} (%)"
    notes = ("forgetting: mean over all domains but the last of the best accuracy it had minus the final one",)
    return [Table("continual", title, gather(seeds, TARGETS), notes=notes)]


def tasks_of(clinc: Clinc, seed: int) -> list[tuple[int, Queries]]:
    """Return (domain, its feedback stream) in random order."""
    stream = clinc.stream(seed)
    domains = np.random.default_rng(seed).permutation(np.unique(clinc.domain))
    return [
        (int(domain), stream.take(clinc.domain[stream.labels] == domain).take(slice(0, EVENTS))) for domain in domains
    ]


def learn_in_turn(
    context: Context, clinc: Clinc, tasks: Sequence[tuple[int, Queries]], seed: int, run: Run
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return accuracies (tasks, domains) after each task, of the ranking and of the base adapter with cosine."""
    name = f"continual-{run.teaching}-{seed}"
    ranked, adapted = [], []
    with open_space(context.url, name, clinc.titles.shape[1], run.config()) as engine:
        session = RetrievalSession(engine, clinc.titles, clinc.names, run.teaching, seed=seed, cycle=CYCLE)
        for _, stream in tasks:
            session.learn(stream)
            ranked.append(_by_domain(clinc, session.answers(clinc.held_out.embeddings)))
            adapted.append(_by_domain(clinc, _adapter_answers(engine, clinc)))
    return np.array(ranked), np.array(adapted)


def _adapter_answers(engine: SonaEngine, clinc: Clinc) -> Labels:
    outputs = np.stack([engine.apply_base_lora(0, query) for query in clinc.held_out.embeddings])
    return np.asarray(np.argmax(unit(outputs) @ clinc.titles.T, axis=1), np.int64)


def _simple(clinc: Clinc, tasks: Sequence[tuple[int, Queries]], quick: bool) -> Figures:
    asked = clinc.held_out.embeddings
    memory = baselines.CentroidMemory(clinc.titles)
    sequential = SGDClassifier(loss="log_loss", alpha=1e-5, random_state=0)
    joint = baselines.Logistic(clinc.titles)
    rows: dict[str, list[NDArray[np.float64]]] = {
        "centroid memory, told": [],
        "logistic regression, each domain in turn (SGD, five passes)": [],
    }
    joined_rows: list[NDArray[np.float64]] = []
    classes = np.arange(len(clinc.names))
    sequential.partial_fit(clinc.titles, classes, classes=classes)
    for index, (_, stream) in enumerate(tasks):
        seen = _joined([part for _, part in tasks[: index + 1]])
        memory.fit(seen)
        for _ in range(5):
            sequential.partial_fit(stream.embeddings, stream.labels)
        answers = (baselines.predict(memory, asked), sequential.predict(asked))
        for kept, answer in zip(rows.values(), answers, strict=True):
            kept.append(_by_domain(clinc, answer))
        if not quick:
            joint.fit(seen)
            joined_rows.append(_by_domain(clinc, baselines.predict(joint, asked)))
    if joined_rows:
        rows["logistic regression, refitted on everything"] = joined_rows
    return {name: summary(np.array(kept), tasks) for name, kept in rows.items()}


def _joined(parts: Sequence[Queries]) -> Queries:
    return Queries(np.concatenate([part.embeddings for part in parts]), np.concatenate([part.labels for part in parts]))


def _by_domain(clinc: Clinc, answers: Labels) -> NDArray[np.float64]:
    """Return the accuracy (%) of the held-out queries of each domain, by its number."""
    right = answers == clinc.held_out.labels
    of = clinc.domain[clinc.held_out.labels]
    domains = np.unique(clinc.domain)
    accuracies = np.zeros(int(domains.max()) + 1)
    for domain in domains:
        accuracies[domain] = 100 * right[of == domain].mean()
    return accuracies


def summary(rows: NDArray[np.float64], tasks: Sequence[tuple[int, Queries]]) -> dict[str, float]:
    """Return the final average accuracy and the forgetting of accuracies (tasks, domains) after each task."""
    order = [domain for domain, _ in tasks]
    taught = rows[:, order]  # (after task, task)
    best = [taught[index:-1, index].max() for index in range(len(order) - 1)]
    return {
        "final": float(taught[-1].mean()),
        "forgetting": float(np.mean(best - taught[-1, :-1])),
    }
