"""The demo's first process: it asks real questions, gets thumbs, learns, and reports the other's answers."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from sona_pg.config import LoopConfig, SonaConfig
from sona_pg.demo.corpus import Corpus, load_corpus, split
from sona_pg.demo.mishap import learn_nonsense, roll_back
from sona_pg.demo.plot import plot_curves
from sona_pg.demo.serving_process import Point, ServingProcess
from sona_pg.demo.teaching import Lesson
from sona_pg.engine import SonaEngine
from sona_pg.store.database import Database

CYCLE = 50  # feedbacks between two cycles of learning
EXPLORATION = 1.0
DIM = 256
ON_DEMAND = SonaConfig(loops=LoopConfig(automatic=False))  # cycles run only when the demo asks for them


def run_demo(url: str, data: Path | None, seeds: int, output: Path) -> None:
    """Run ``seeds`` splits one after another, and print and plot the learning curve.

    Raises:
        SonaError: the store cannot be used, or the serving process ended.
    """
    console = Console()
    interactions = load_corpus(data)
    run = uuid4().hex[:8]
    curves: list[list[Point]] = []
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        for seed in range(seeds):
            corpus = split(interactions, seed)
            if seed == 0:
                progress.console.print(
                    f"{len(interactions)} real questions and answers, {len(corpus.topics)} topics; "
                    f"{len(corpus.stream)} to learn from, {len(corpus.held_out)} distinct questions held out"
                )
            last, space = seed == seeds - 1, _space_of(run, seed)
            try:
                curve, mishap = _learn(url, space, corpus, seed, progress, then_nonsense=last)
            finally:
                if seed > 0:  # a space a run is enough to look at
                    _remove(url, space)
            curves.append(curve)
    shown = _space_of(run, 0)
    _report(console, url, shown, curves)
    console.print(mishap)
    plot_curves([[(p.feedbacks, p.accuracy) for p in curve] for curve in curves], output)
    console.print(f"learning curve: {output.resolve()}")
    console.print(
        f"see it in a browser: [bold]make dashboard[/bold] in a clone, else [bold]sona-pg serve --demo[/bold]; then "
        f"http://127.0.0.1:8700/?space={shown}; not needed any more: sona-pg space remove {shown} --yes",
        soft_wrap=True,
    )


def _space_of(run: str, seed: int) -> str:
    return f"demo-{run}-{seed}" if seed else f"demo-{run}"


def _remove(url: str, space: str) -> None:
    database = Database.open(url)
    try:
        if space in database.names().values():
            database.remove_space(space)
    finally:
        database.close()


def _learn(
    url: str, space: str, corpus: Corpus, seed: int, progress: Progress, *, then_nonsense: bool
) -> tuple[list[Point], str]:
    """Return the serving process's accuracy with each version, and the report of the wrong feedback."""
    told = ""
    task = progress.add_task(f"seed {seed}", total=len(corpus.stream))
    with ServingProcess(url, space, corpus, DIM) as other, SonaEngine(DIM, url, space, config=ON_DEMAND) as engine:
        lesson = Lesson(engine, corpus, EXPLORATION)
        points = [other.point(0, 0, time.time())]
        for start in range(0, len(corpus.stream), CYCLE):
            end = min(start + CYCLE, len(corpus.stream))
            for row in range(start, end):
                lesson.ask(row)
                progress.advance(task)
            asked = time.time()
            result = engine.force_learn()
            points.append(other.point(end, result.version, asked))
            progress.update(task, description=f"seed {seed}: held-out accuracy {points[-1].accuracy:.0%}")
        if then_nonsense:
            before, bad = points[-1], learn_nonsense(lesson, other)
            told = roll_back(engine, other, before, bad)
    return points, told


def _report(console: Console, url: str, space: str, curves: list[list[Point]]) -> None:
    table = Table(title="Held-out questions answered with the right topic, by the process that only serves")
    for name in ("", "before", "after", "gain"):
        table.add_column(name, justify="right")
    for label, pick in (("accuracy", "accuracy"), ("balanced over topics", "balanced")):
        before = np.array([getattr(curve[0], pick) for curve in curves])
        after = np.array([getattr(curve[-1], pick) for curve in curves])
        table.add_row(label, _spread(before), _spread(after), _spread(after - before))
    console.print(table)
    last = [point for curve in curves for point in curve[1:]]
    console.print(
        f"{curves[0][-1].feedbacks} thumbs a seed, {len(curves)} seeds; from the call to learn in one process until "
        f"the other served the new version: {np.median([p.spread for p in last]):.2f} s (median, learning included); "
        f"a ranking took {np.median([p.microseconds for p in last]):.0f} µs"
    )
    database = Database.open(url)
    try:
        opened = database.find_space(space)
        _rows(console, "Patterns: SELECT * FROM sona.pattern_summary", [
            {"most typical question": row["typical_query"], "kind": row["kind"], "size": row["size"],
             "quality": "" if row["quality"] is None else f"{row['quality']:.2f}",
             "best answer": _best(row["routes"] or {})}
            for row in database.read_view("pattern_summary", opened, 8)
        ])  # fmt: skip
        _rows(console, "Servers: SELECT * FROM sona.fleet", [
            {"server": str(row["server_id"])[-12:], "pid": row["pid"], "serves version": row["serving_version"],
             "behind": row["versions_behind"], "recorded": row["trajectories"], "feedback": row["feedback"]}
            for row in database.read_view("fleet", opened, 8)
        ])  # fmt: skip
    finally:
        database.close()


def _best(known: Mapping[str, Mapping[str, float | None]]) -> str:
    """Return the best route and its share of right answers, smoothed so that a lucky one does not win."""
    routes = {name: (one["quality"], one["size"] or 0) for name, one in known.items() if one["quality"] is not None}
    if not routes:
        return ""
    name, (quality, size) = max(routes.items(), key=lambda item: item[1][0] * item[1][1] / (item[1][1] + 2))
    return f"{name}: right in {quality:.0%} of {size:.0f}"


def _rows(console: Console, title: str, rows: list[dict[str, Any]]) -> None:
    table = Table(title=title, title_justify="left")
    for name in rows[0]:
        table.add_column(name)
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    console.print(table)


def _spread(values: np.ndarray[Any, np.dtype[np.float64]]) -> str:
    return f"{100 * values.mean():.1f} ± {100 * values.std(ddof=1 if len(values) > 1 else 0):.1f} %"
