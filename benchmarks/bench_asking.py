"""The public calls that query an engine, with fresh arguments each time: `python -m benchmarks.bench_asking`.

The unit of every ratio is NumPy's top five of 100 x 256, on one thread, taking turns with the call. ParetoBandit's
decision over 26 features stands beside ours where it is installed.
"""

from __future__ import annotations

import importlib
import itertools
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.asked_space import MODELS, NAMES, TEXTS, Floats, asked_space, unit_rows
from benchmarks.report import Line, Options, race, run, seconds
from benchmarks.server import DIM, server
from sona_pg import SonaEngine

RNG = np.random.default_rng(1)
PRICES = {name: 0.1 * (place + 1) for place, name in enumerate(MODELS)}
PARETO = "ParetoBandit"


def queries() -> Iterator[Floats]:
    """Yield random unit vectors."""
    return itertools.cycle(list(unit_rows(RNG, 1024)))


def unit_of_ratios() -> Callable[[], object]:
    """Return NumPy's top five of 100 x 256, for a fresh query a call."""
    block, asked = unit_rows(RNG, 100), queries()

    def numpy() -> Floats:
        scores = block @ next(asked)
        best = np.argpartition(scores, -5)[-5:]
        return np.asarray(best[np.argsort(-scores[best])])

    return numpy


def compare(options: Options, what: str, call: Callable[[], object], target: float | None, less: Any = None) -> None:
    """Print a call in units; ``less`` is a part to subtract, such as the embedder."""
    with threadpool_limits(1):
        ours, unit, *other = race(call, unit_of_ratios(), *([less] if less else []), rounds=21)
    ours -= sum(other)
    ratio = ours / unit
    wanted = "" if target is None else f"{target:g} units"
    reached = None if target is None else ratio <= target
    options.emit(Line(what, seconds(ours), f"NumPy's top 5 of 100: {seconds(unit)}", ratio, wanted, reached))


def bench_patterns(options: Options, engine: SonaEngine, count: int, target: float) -> None:
    asked, centroids = queries(), np.stack([p.centroid for p in engine.find_patterns(np.ones(DIM), k=count)])
    for _ in range(100):
        query = next(asked)
        similar = [pattern.similarity for pattern in engine.find_patterns(query, k=5)]
        np.testing.assert_allclose(similar, np.sort(centroids @ query)[:-6:-1], atol=1e-5)
    what = f"find_patterns(x, k=5), {count:,} patterns"
    compare(options, what, lambda: engine.find_patterns(next(asked), k=5), target)
    read = f"  {what}, each read"
    compare(options, read, lambda: [p.quality for p in engine.find_patterns(next(asked), k=5)], None)
    filtered = f"  find_patterns(x, k=5, min_quality=.5, route=…), {count:,} patterns"
    compare(options, filtered, lambda: engine.find_patterns(next(asked), k=5, min_quality=0.5, route=MODELS[1]), None)


def bench_ranking(options: Options, engine: SonaEngine) -> None:
    asked, rows, given = queries(), unit_rows(RNG, 30), [f"given {place}" for place in range(30)]
    for count, target in ((30, 2.0), (1000, 12.0)):
        ids = NAMES[:count]
        whole = engine.rank(next(asked), ids=ids, k=count)
        assert sorted(whole.ids) == sorted(ids)
        assert (np.diff(whole.scores) <= 0).all()
        compare(options, f"rank(x, ids=…) of {count:,}", lambda ids=ids: engine.rank(next(asked), ids=ids), target)
    for what, number in (("in turn of 60 sets", 60), ("a new set each", 4096)):
        sets = itertools.cycle([[str(name) for name in RNG.permutation(NAMES)[:30]] for _ in range(number)])
        line = f"  rank(x, ids=…) of 30, {what}"
        compare(options, line, lambda sets=sets: engine.rank(next(asked), ids=next(sets)), None)
    compare(options, "  rank(x, candidates, ids=…) of 30", lambda: engine.rank(next(asked), rows, ids=given), None)


def bench_routing(options: Options, engine: SonaEngine) -> None:
    asked, texts = queries(), itertools.cycle(TEXTS)
    for count, target in ((2, 3.5), (20, 9.0)):
        routes = list(MODELS[:count])
        drawn = [engine.route(next(asked), routes) for _ in range(2000)]
        assert {decision.route for decision in drawn} <= set(routes)
        # If propensities are the sampling probabilities, importance weights average 1 for every route.
        weights = [decision.route == routes[0] and 1 / decision.propensity for decision in drawn]
        assert abs(np.mean(weights) - 1) < 6 * np.std(weights) / len(weights) ** 0.5 + 0.01
        compare(options, f"route(x, candidates) between {count}", lambda r=routes: engine.route(next(asked), r), target)
    for count, target in ((2, 4.0), (20, None)):
        routes = list(MODELS[:count])
        costs = {name: PRICES[name] for name in routes}
        budget = 0.15 if count == 2 else 0.8

        def paid(routes: list[str] = routes, costs: dict[str, float] = costs, budget: float = budget) -> Any:
            return engine.route(next(asked), routes, query=next(texts), costs=costs, budget=budget)

        spent = np.mean([paid().cost for _ in range(1000)])
        assert spent <= 1.1 * budget, (spent, budget)
        compare(options, f"route(x, candidates, query=, costs=, budget=) between {count}", paid, target)
    bench_pareto(options)


def bench_pareto(options: Options) -> None:
    """ParetoBandit over 25 features and a constant, with a budget, between 2."""
    what = f"  {PARETO}: route(x) between 2, 26 features, budget"
    try:
        pareto = importlib.import_module("pareto_bandit")
        features = importlib.import_module("pareto_bandit.feature_service")
        pacing = importlib.import_module("pareto_bandit.budget_pacer")
    except ImportError:
        options.emit(Line(what, "", "NOT INSTALLED: pip install paretobandit"))
        return
    logging.getLogger("pareto_bandit").setLevel(logging.ERROR)
    priced = {
        name: {"input_cost_per_m": cost, "output_cost_per_m": cost} for name, cost in (("weak", 0.1), ("strong", 10.0))
    }
    router = pareto.BanditRouter.create(
        model_registry=priced,
        priors="none",
        feature_service=features.FeatureService(custom_encoder=lambda text: np.zeros(25), embedding_dim=25),
        budget_pacer=pacing.BudgetPacer(0.005),
    )
    rows = np.hstack([RNG.standard_normal((512, 25)), np.ones((512, 1))])
    for row in rows:
        router.update("weak" if row[0] > 0 else "strong", row, reward=float(RNG.random()))
    asked = itertools.cycle(list(rows))
    assert router.route(next(asked))[0] in priced
    compare(options, what, lambda: router.route(next(asked)), None)
    choose = router.bandit.select_arm
    compare(options, f"  {PARETO}: its choice alone", lambda: choose(next(asked), list(priced)), None)


def bench_text(options: Options, engine: SonaEngine) -> None:
    texts = itertools.cycle([f"where is parcel {place}?" + " please" * (place % 40) for place in range(400)])
    response = engine.process(next(texts))
    assert len(response.patterns) == 3
    assert response.route in MODELS
    assert engine.dropped_count == 0
    compare(
        options, "process(text), without the embedder", lambda: engine.process(next(texts)), 3.0,
        lambda: engine.embed([next(texts)]),
    )  # fmt: skip
    engine.flush(600)
    told = json.loads(engine.get_stats())
    assert told["patterns"] == 100
    assert told["database"] == "answers"
    compare(options, "get_stats()", engine.get_stats, 10.0)


def suite(options: Options) -> None:
    with server(options.home) as url:
        with asked_space(url, 100) as engine:
            bench_patterns(options, engine, 100, 0.6)
            bench_ranking(options, engine)
            bench_routing(options, engine)
            bench_text(options, engine)
        with asked_space(url, 10_000) as engine:
            bench_patterns(options, engine, 10_000, 10.0)


if __name__ == "__main__":
    run(__doc__, suite)
