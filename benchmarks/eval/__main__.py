"""``python -m benchmarks.eval --data FOLDER``: run the experiments, print their tables, keep their figures."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path

import numpy as np

from benchmarks.eval.context import BEGAN, Context
from benchmarks.eval.data import ORIGINALS, missing_files
from benchmarks.eval.results import KeptResults
from benchmarks.eval.running import run_all
from benchmarks.eval.stats import Table
from sona_pg import __version__, kernels
from sona_pg.config import Environment

EXPERIMENTS = (
    "retrieval",
    "streaming",
    "small",
    "confidence",
    "rejected",
    "cold",
    "unseen",
    "robustness",
    "drift",
    "continual",
    "routing",
    "off_policy",
    "ablation",
    "cost",
    "recall",
    "dreams",
    "graph",
    "graph_sessions",
    "graph_uses",
    "money",
    "kinds",
)
USUAL_SEEDS = 5
SEEDS = {"money": 20, "kinds": 1}  # as many as the peer's paper has; nothing is drawn by the seed
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the requested experiments. Returns 0 also without data, with a message on stderr."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.eval", description=__doc__)
    parser.add_argument("--data", type=Path, help="the folder with the data sets")
    parser.add_argument("--only", action="append", choices=EXPERIMENTS, help="run this one; may be repeated")
    parser.add_argument("--seeds", type=int, help=f"of each experiment; by default {USUAL_SEEDS}, of money 20")
    parser.add_argument(
        "--split",
        choices=("validation", "test"),
        default="test",
        help="held-out split of CLINC150 and of the prompts with costs",
    )
    parser.add_argument("--output", type=Path, default=Path("build/eval"), help="where results go")
    parser.add_argument("--jobs", type=int, default=1, help="seeds that run at once")
    parser.add_argument("--again", action="store_true", help="run also what the output has results of already")
    parser.add_argument("--quick", action="store_true", help="leave out the slow baselines")
    asked = parser.parse_args(arguments)
    missing = None if asked.data is None else missing_files(asked.data)
    if missing is None or missing:
        reason = "no folder was given" if missing is None else f"{asked.data} lacks {', '.join(missing)}"
        print(f"EVALUATION SKIPPED: {reason}\n\n{ORIGINALS}", file=sys.stderr)
        return 0
    if (asked.seeds is not None and asked.seeds < 1) or asked.jobs < 1:
        parser.error("--seeds and --jobs are 1 or more")
    asked.output.mkdir(parents=True, exist_ok=True)
    with database() as url:
        context = Context(asked.data, asked.split, url, asked.output, asked.quick)
        tables: list[Table] = []
        took: dict[str, float] = {}  # minutes
        seeds = {name: asked.seeds or SEEDS.get(name, USUAL_SEEDS) for name in asked.only or EXPERIMENTS}
        for name, results in run_all(context, KeptResults.of(context), seeds, asked.jobs, again=asked.again):
            for table in import_module(f"benchmarks.eval.{name}").report(context, [one.figures for one in results]):
                print(f"\n{table.text()}\n", flush=True)
                keep(table, context, seeds[name])
                tables.append(table)
            took[name] = sum(one.minutes for one in results)
    print(verdict(tables))
    each = ", ".join(f"{name} {spent:.1f}" for name, spent in took.items())
    print(f"{(time.monotonic() - BEGAN) / 60:.0f} minutes, {sum(took.values()):.0f} one after the other: {each}")
    return 0


def verdict(tables: Sequence[Table]) -> str:
    """Return the number of targets reached, and the names of the others."""
    judged = [(table, cell) for table in tables for cell in table.cells if cell.target is not None]
    missed = [
        f"  {table.name}: {cell.method}, {cell.heading}: {cell.text(table.digits)}"
        for table, cell in judged
        if not cell.reached
    ]
    return "\n".join([f"{len(judged) - len(missed)} of {len(judged)} targets reached", *missed])


def keep(table: Table, context: Context, seeds: int) -> None:
    """Write a table's figures as JSON and as text."""
    made_with = {
        "sona_pg": __version__,
        "split": context.split,
        "seeds": seeds,
        "kernels": kernels.isa(),
        "numpy": np.__version__,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
    }
    path = context.output / f"{table.name}-{context.split}"
    path.with_suffix(".json").write_text(json.dumps({**table.as_dict(), "made_with": made_with}, indent=1) + "\n")
    path.with_suffix(".md").write_text(table.text() + "\n")


@contextlib.contextmanager
def database() -> Iterator[str]:
    """Give the database's URL; the embedded server runs until the end if none is set."""
    environment = Environment.read()
    if environment.url is not None:
        yield environment.url
        return
    from sona_pg.store.admin.embedded import start_embedded

    server = start_embedded(environment.home)
    try:
        yield server.url
    finally:
        server.release()


if __name__ == "__main__":
    sys.exit(main())
