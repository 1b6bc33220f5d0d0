"""Running experiments: each seed is a task of its own, and tasks of all experiments share the processes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from importlib import import_module

from benchmarks.eval.context import Context
from benchmarks.eval.results import KeptResults, SeedResult

ALONE = ("cost",)  # measure time: nothing runs beside them
TOGETHER = (("retrieval", "confidence", "robustness", "ablation"),)  # share engine runs of the same seed


def run_all(
    context: Context, kept: KeptResults, seeds: Mapping[str, int], jobs: int, *, again: bool = False
) -> Iterator[tuple[str, list[SeedResult]]]:
    """Run experiments with so many ``seeds`` each, and yield each with its results, in their order.

    Results that are kept are not computed again, unless ``again``.
    """
    alone = [name for name in seeds if name in ALONE]
    beside = {name: count for name, count in seeds.items() if name not in alone}
    yield from _run(context, kept, beside, jobs, again)
    yield from _run(context, kept, {name: seeds[name] for name in alone}, 1, again)


def run_task(context: Context, kept: KeptResults, names: Sequence[str], seed: int) -> dict[str, SeedResult]:
    """Run some experiments with one seed, and keep their results."""
    made = {}
    with context.sharing():
        for name in names:
            began = time.monotonic()
            figures = import_module(f"benchmarks.eval.{name}").run_seed(context, seed)
            made[name] = SeedResult(figures, (time.monotonic() - began) / 60)
            kept.keep(name, seed, made[name])
    return made


def tasks_of(seeds: Mapping[str, int], known: Mapping[tuple[str, int], SeedResult]) -> list[tuple[list[str], int]]:
    """Return the experiments and the seed of each task, without those that are ``known``."""
    tasks: list[tuple[list[str], int]] = []
    for name in seeds:
        group = next((group for group in TOGETHER if name in group), (name,))
        names = [one for one in group if one in seeds]
        if name != names[0]:
            continue
        for seed in range(max(seeds[one] for one in names)):
            missing = [one for one in names if seed < seeds[one] and (one, seed) not in known]
            if missing:
                tasks.append((missing, seed))
    return tasks


def _run(
    context: Context, kept: KeptResults, seeds: Mapping[str, int], jobs: int, again: bool
) -> Iterator[tuple[str, list[SeedResult]]]:
    every = [(name, seed) for name, count in seeds.items() for seed in range(count)]
    found = {} if again else {at: result for at in every if (result := kept.load(*at)) is not None}
    tasks = tasks_of(seeds, found)
    if len(found):
        context.say(f"{len(found)} of {len(every)} results are there already")
    waiting = _computed(context, kept, tasks, jobs)
    for name, count in seeds.items():
        own = [(name, seed) for seed in range(count)]
        while any(at not in found for at in own):
            names, seed, made = next(waiting)
            found |= {(one, seed): made[one] for one in names}
        yield name, [found[at] for at in own]


def _computed(
    context: Context, kept: KeptResults, tasks: Sequence[tuple[list[str], int]], jobs: int
) -> Iterator[tuple[list[str], int, dict[str, SeedResult]]]:
    """Compute tasks, ``jobs`` at once, and yield them in their order."""
    if jobs == 1 or len(tasks) < 2:
        for names, seed in tasks:
            yield names, seed, run_task(context, kept, names, seed)
        return
    pool = ProcessPoolExecutor(jobs)
    try:
        futures: list[Future[dict[str, SeedResult]]] = []
        futures = [pool.submit(run_task, context, kept, names, seed) for names, seed in tasks]
        for (names, seed), future in zip(tasks, futures, strict=True):
            yield names, seed, future.result()
    finally:
        pool.shutdown(cancel_futures=True)
