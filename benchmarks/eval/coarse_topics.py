"""Topics that greetings split, read coarser: python -m benchmarks.eval.coarse_topics CLINC.jsonl [SEEDS].

33 intents of CLINC150's validation split, three questions each, with three greetings and four models, of which one is
the best in each domain (right 90 % of the time, the others 60 %); 3,900 requests, 22 % rated. By level: topics, topics
that name a best model, those that name the one that is truly best for their requests, and the shares of requests that
are of the most frequent intent, greeting and domain of their topic. Means over seeds; its spaces stay in the store.
"""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import numpy as np

from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import LoopConfig, MaintenanceConfig
from sona_pg.engine.overview import Overview
from sona_pg.engine.pattern_maps import AS_RATED

CONFIG = SonaConfig(
    hidden_dim=256, loops=LoopConfig(automatic=False), maintenance=MaintenanceConfig(automatic=False)
)  # fmt: skip
GREETINGS = ("", "Hello, ", "Quick question: ")
MODELS = ("mini", "std", "premium", "nova")
INTENTS, QUESTIONS, TIMES = 33, 3, 13
RATED, BEST, OTHER = 0.22, 0.9, 0.6
LEVELS = (None, 50, 20, 10, AS_RATED)
COLUMNS = ("topics", "named", "right", "intent", "greeting", "domain")


class Request(NamedTuple):
    """A question as it was asked."""

    text: str
    intent: str
    greeting: str
    domain: str


def requests_of(path: Path, rng: np.random.Generator) -> list[Request]:
    """Return the requests in the order in which they come."""
    questions: dict[tuple[str, str], list[str]] = defaultdict(list)
    for line in path.read_text().splitlines():
        row = json.loads(line)
        if row["split"] == "val":
            questions[row["domain"], row["intent"]].append(row["text"])
    known = sorted(questions)
    chosen = [known[place] for place in rng.permutation(len(known))[:INTENTS]]
    asked = [
        Request(greeting + text, intent, greeting, domain)
        for domain, intent in chosen
        for text in questions[domain, intent][:QUESTIONS]
        for greeting in GREETINGS
        for _ in range(TIMES)
    ]
    return [asked[place] for place in rng.permutation(len(asked))]


def measured(path: Path, seed: int) -> np.ndarray:
    """Return the figures (level, column) of one store."""
    rng = np.random.default_rng(seed)
    asked = requests_of(path, rng)
    best = {domain: MODELS[place % 4] for place, domain in enumerate(sorted({one.domain for one in asked}))}
    with SonaEngine(256, space=f"greeted-{uuid4().hex[:8]}", config=CONFIG) as engine:
        vectors = engine.embed([one.text for one in asked])
        for one, vector in zip(asked, vectors, strict=True):
            model = MODELS[rng.integers(4)]
            trajectory = engine.begin_trajectory(vector, query=one.text)
            engine.set_trajectory_route(trajectory, model)
            good = rng.random() < (BEST if model == best[one.domain] else OTHER)
            engine.end_trajectory(trajectory, float(good) if rng.random() < RATED else None)
        engine.force_learn()
        engine.refresh()
        overview = Overview(engine)
        patterns = engine.find_patterns(vectors[0], 1000)
        nearest = np.argmax(vectors @ np.array([one.centroid for one in patterns]).T, axis=1)
        ids = [patterns[place].id for place in nearest]
        maps = [overview.pattern_map(topics=level) for level in LEVELS]
    rows = []
    for found in maps:
        members = {member: one for one in found.patterns for member in one.members}
        of: dict[object, list[Request]] = defaultdict(list)
        for one, id_ in zip(asked, ids, strict=True):
            of[members[id_].id].append(one)
        right = 0
        for topic in found.patterns:
            share = Counter(best[one.domain] for one in of[topic.id])
            right += topic.best_route is not None and share[topic.best_route] == max(share.values())
        named = sum(topic.best_route is not None for topic in found.patterns)
        shares = [_purity([getattr(one, name) for one in group] for group in of.values()) for name in COLUMNS[3:]]
        rows.append([len(found.patterns), named, right, *shares])
    return np.array(rows, float)


def _purity(groups: Iterable[list[str]]) -> float:
    known = list(groups)
    return sum(max(Counter(group).values()) for group in known) / sum(map(len, known))


def main(path: str, seeds: int = 3) -> None:
    """Print the mean figures of each level."""
    told = np.mean([measured(Path(path), seed) for seed in range(seeds)], axis=0)
    print("level     ", *(f"{name:>9}" for name in COLUMNS))
    for level, row in zip(LEVELS, told, strict=True):
        name = {None: "all", AS_RATED: "by default"}.get(level, str(level))
        print(f"{name:10}", *(f"{one:9.2f}" for one in row))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:3]))
