"""A model that breaks for one kind of question: python -m benchmarks.eval.topic_routes CLINC.jsonl [SEEDS].

33 intents of CLINC150's validation split, three questions each, with three greetings; 60 days, in which one model
takes 60 % of the requests and two others the rest, 40 % are rated, 70 % of these good. From the 30th day on the first
model is right on one intent 10 % of the time. By number of requests: stores in which that is told in a sentence of
questions most of which are of this intent, and stores in which something else is told as well; beside stores in which
nothing breaks.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import numpy as np

from benchmarks.eval.coarse_topics import CONFIG, Request, requests_of
from sona_pg import SonaEngine
from sona_pg.engine.overview import Overview

MODELS, SHARES = ("std", "mini", "premium"), (0.6, 0.2, 0.2)
RATED, GOOD, BROKEN = 0.4, 0.7, 0.1
DAYS, HALF = 60, 30
TIMES = (1, 2, 4)  # each request


def measured(asked: list[Request], breaks: bool, rng: np.random.Generator) -> tuple[bool, bool]:
    """Return of one store whether the broken intent is told, and whether anything else is."""
    intent = asked[0].intent
    newest = datetime.now(UTC)
    with SonaEngine(256, space=f"broken-{uuid4().hex[:8]}", config=CONFIG) as engine:
        vectors = engine.embed([one.text for one in asked])
        for place, (one, vector) in enumerate(zip(asked, vectors, strict=True)):
            days_ago = DAYS * (1 - place / len(asked))
            model = MODELS[rng.choice(len(MODELS), p=SHARES)]
            is_broken = breaks and days_ago < HALF and (one.intent, model) == (intent, MODELS[0])
            trajectory = engine.begin_trajectory(vector, query=one.text, started_at=newest - timedelta(days=days_ago))
            engine.set_trajectory_route(trajectory, model)
            good = rng.random() < (BROKEN if is_broken else GOOD)
            engine.end_trajectory(trajectory, float(good) if rng.random() < RATED else None)
        engine.force_learn()
        engine.refresh()
        told = Overview(engine).topics_in_period(HALF).routes
        patterns = engine.find_patterns(vectors[0], 1000)
        nearest = np.argmax(vectors @ np.array([one.centroid for one in patterns]).T, axis=1)
        of = [patterns[place].id for place in nearest]
    right = []
    for change in (one.change for one in told):
        there = [one.intent for one, pattern in zip(asked, of, strict=True) if pattern in change.patterns]
        right.append(breaks and change.route == MODELS[0] and 2 * there.count(intent) > len(there))
    return any(right), not all(right)


def main(path: str, seeds: int = 10) -> None:
    """Print in how many stores of each size what is told."""
    print(f"stores of each row: {seeds}\nrequests  broken: told  and other things  nothing broken: told")
    for times in TIMES:
        told = other = by_chance = 0
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            asked = [one for _ in range(times) for one in requests_of(Path(path), np.random.default_rng(seed))]
            asked = [asked[place] for place in rng.permutation(len(asked))]
            found, more = measured(asked, breaks=True, rng=rng)
            _, chance = measured(asked, breaks=False, rng=rng)
            told, other, by_chance = told + found, other + more, by_chance + chance
        print(f"{len(asked):8}{told:14}{other:18}{by_chance:22}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:3]))
