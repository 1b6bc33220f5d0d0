"""Learning cycles over large catalogs, backlogs, histories and many routes: `python -m benchmarks.bench_cycles`.

Each figure is taken in a separate process, a server that learns; its memory is the peak. Rows are inserted by COPY,
without the writer. Ratios compare two spaces whose cycles alternate in one process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from benchmarks.cycles_fill import Filler, Queries
from benchmarks.report import Line, Options, run, seconds
from benchmarks.server import DIM, server
from sona_pg.store.database import Database

CANDIDATES, WAITING, ROUTES, HISTORY = 100_000, 2_000_000, 24_000, 20_000
CYCLES = 7


def probe(task: str, **arguments: Any) -> Any:
    """Return the figures printed by a measurement in a separate process."""
    command = [sys.executable, "-m", "benchmarks.cycles_probe", task, json.dumps(arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


class Spaces:
    """Spaces of one database, filled."""

    def __init__(self, url: str) -> None:
        """Make the schema."""
        self.url = url
        self._database = Database.open(url)

    def make(self, name: str) -> tuple[int, Filler]:
        """Return a new space and its filler."""
        space = self._database.open_space(name, DIM, self._database.now())
        return space.space_id, Filler(self.url, space.space_id)

    def close(self) -> None:
        """Close the connections."""
        self._database.close()


def limit(options: Options, what: str, value: float, most: float, ours: str, target: str, beside: str = "") -> None:
    """Print a figure that must not exceed ``most``."""
    options.emit(Line(what, ours, beside, None, target, value <= most))


def bench_catalog(options: Options, spaces: Spaces) -> None:
    count = options.rows(CANDIDATES)
    space_id, filler = spaces.make("catalog")
    filler.candidates(0, Queries(1).draw(count))
    found = probe("catalog", url=spaces.url, space_id=space_id, candidates=count, cycles=CYCLES)
    what = f"{count:,} candidates: "
    limit(options, what + "first cycle", found["first"], 5.0, seconds(found["first"]), "5 s")
    busy = f"fastest {seconds(found['fastest'])}, processor {seconds(found['busy'])}"
    later = found["later"]
    limit(options, what + "later cycles, 500 facts, served", later, 0.3, seconds(later), "0.3 s", busy)
    limit(options, what + "peak memory of a server", found["peak"], 500, f"{found['peak']:.0f} MB", "500 MB")
    stored = f"{found['state'] / 1e6:.1f} MB in memory"
    limit(
        options,
        what + "stored for a version",
        found["stored"],
        10e6,
        f"{found['stored'] / 1e6:.1f} MB",
        "10 MB",
        stored,
    )


def bench_growth(options: Options, spaces: Spaces) -> None:
    """Compare cycles with ten times the history, and with ten times the candidates, to the base case."""
    queries = Queries(2)
    wanted = []
    small, few = options.rows(HISTORY), options.rows(CANDIDATES // 10)
    for name, history, count in (
        ("one", small, few), ("old", 10 * small, few), ("wide", small, 10 * few),
    ):  # fmt: skip
        space_id, filler = spaces.make(name)
        answers = Queries(1).draw(count)
        names = filler.candidates(0, answers)
        filler.trajectories(queries, history, 1000, ["model-a", "model-b", "model-c"], names, answers)
        wanted.append({"name": name, "space": space_id, "candidates": count})
    one, old, wide = probe("compare", url=spaces.url, spaces=wanted, cycles=CYCLES)
    for what, many, most in (("history", old, 1.2), ("candidates", wide, 1.5)):
        ratio = many["later"] / one["later"]
        line = (
            f"a cycle of 500 facts with ten times the {what}",
            seconds(many["later"]),
            f"with one {seconds(one['later'])}",
        )
        options.emit(Line(*line, ratio, f"{most} of its time", ratio <= most))


def bench_routes(options: Options, spaces: Spaces) -> None:
    count = options.rows(ROUTES)
    space_id, _ = spaces.make("routes")
    found = probe("routes", url=spaces.url, space_id=space_id, count=count, cycles=CYCLES)
    what = f"{count:,} routes: "
    target = max(count / 8000, 1.0)
    limit(
        options, f"{what}first cycle, {count:,} facts", found["first"], target, seconds(found["first"]), seconds(target)
    )
    busy = f"processor {seconds(found['busy'])}"
    limit(options, what + "later cycles, 500 facts", found["later"], 1.0, seconds(found["later"]), "1 s", busy)


def bench_backlog(options: Options, spaces: Spaces) -> None:
    waiting = options.rows(WAITING)
    _, filler = spaces.make("backlog")
    filler.trajectories(Queries(3), waiting, 1000, ["model-a", "model-b", "model-c"])
    found = probe("backlog", url=spaces.url, waiting=waiting)
    rate = found["trajectories"] / found["took"]
    what = f"{waiting:,} waiting trajectories, learned in {found['cycles']} slices"
    busy = f"processor {found['trajectories'] / found['busy']:,.0f}/s"
    options.emit(Line(what, f"{rate:,.0f}/s", busy, None, "20,000/s", rate >= 20_000))
    limit(options, what + ": peak memory", found["peak"], 1000, f"{found['peak']:.0f} MB", "1,000 MB")
    recorded = f"{found['recorded'] / found['took']:,.0f}/s recorded"
    options.emit(Line(what + ": p99 of find_patterns meanwhile", seconds(found["p99"]), recorded))


def suite(options: Options) -> None:
    for bench in (bench_catalog, bench_routes, bench_growth, bench_backlog):
        with server(options.home) as url:
            spaces = Spaces(url)
            try:
                bench(options, spaces)
            finally:
                spaces.close()


if __name__ == "__main__":
    run(__doc__, suite)
