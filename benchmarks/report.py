"""Shared by the speed benchmarks: result lines, timing, and the table."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from threadpoolctl import threadpool_limits

from sona_pg import kernels

HEADINGS = ("what", "sona-pg", "beside it", "ratio", "target", "reached")
PEERS = ("numpy", "psycopg", "sqlalchemy", "scikit-learn", "faiss-cpu", "paretobandit")


@dataclass(frozen=True)
class Line:
    """One comparison."""

    what: str
    ours: str
    beside: str = ""
    ratio: float | None = None  # ours to the peer's: of times, or of rates where the target says so
    target: str = ""
    reached: bool | None = None  # None: there is no target, or it could not be measured

    def cells(self) -> tuple[str, ...]:
        """Return the line as the columns of ``HEADINGS``."""
        ratio = "" if self.ratio is None else f"{self.ratio:.5f}" if self.ratio < 0.01 else f"{self.ratio:.3f}"
        reached = {None: "not measured" if self.target else "", True: "yes", False: "NO"}[self.reached]
        return self.what, self.ours, self.beside, ratio, self.target, reached


@dataclass(frozen=True)
class Options:
    """Options of the command line."""

    data: Path | None  # a folder with clinc150.npz
    home: Path  # folder for the data of measured servers
    scale: float  # of the amounts of rows
    results: Path | None  # lines are appended here as JSON

    def rows(self, full: int) -> int:
        """Return the number of rows to use in place of ``full``."""
        return max(1000, int(full * self.scale))

    def emit(self, line: Line) -> None:
        """Print a line, and keep it for the table."""
        what, ours, beside, ratio, target, reached = line.cells()
        print(f"{what:<66} {ours:>22}  {beside:<36} {ratio:>8}  {target:<24} {reached}", flush=True)
        if self.results is not None:
            with self.results.open("a") as file:
                file.write(json.dumps(asdict(line), default=lambda number: number.item()) + "\n")  # NumPy's


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return the parser that all benchmarks share."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--data", type=Path, help="a folder with clinc150.npz: real embeddings for k-means")
    made.add_argument("--home", type=Path, help="where the databases go, up to 6 GB; default: memory, or the disk")
    made.add_argument("--quick", action="store_true", help="a twentieth of the rows: to try the commands, not to judge")
    return made


def options(parsed: argparse.Namespace) -> Options:
    """Return the options that ``parser`` has parsed."""
    memory = Path("/dev/shm")
    home = parsed.home or (memory if _free(memory) > 8 << 30 else Path("/var/tmp"))
    return Options(parsed.data, home, 0.05 if parsed.quick else 1.0, getattr(parsed, "results", None))


def run(description: str | None, suite: Callable[[Options], None]) -> None:
    """Run one benchmark as a command."""
    made = parser(description)
    made.add_argument("--results", type=Path, help=argparse.SUPPRESS)
    suite(options(made.parse_args()))


def _free(folder: Path) -> int:
    try:
        status = os.statvfs(folder)
    except OSError:
        return 0
    return status.f_bavail * status.f_frsize


# -- taking times -------------------------------------------------------------------------------------------


def seconds(value: float) -> str:
    """Return a duration to three digits."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value / 1e-6:.3f} µs"


def race(*runs: Callable[[], object], rounds: int = 15, budget: float = 0.02) -> list[float]:
    """Return the median seconds of one call of each, taking turns; a round repeats a call until it lasts ``budget``."""
    repeats = []
    for run in runs:
        run()
        start = time.perf_counter()
        run()
        repeats.append(max(1, int(budget / max(time.perf_counter() - start, 1e-8))))
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(rounds):
        for run, repeat, seen in zip(runs, repeats, times, strict=True):
            start = time.perf_counter()
            for _ in range(repeat):
                run()
            seen.append((time.perf_counter() - start) / repeat)
    return [statistics.median(seen) for seen in times]


def race_numpy(ours: Callable[[], object], numpy: Callable[[], object]) -> tuple[float, float]:
    """Return seconds of both; NumPy at its best of one thread and of its BLAS's default."""
    with threadpool_limits(1):
        alone = race(ours, numpy)
    mine, peer = min(alone, race(ours, numpy), key=lambda pair: pair[1])
    return mine, peer


# -- the machine -----------------------------------------------------------------------------------------


def machine() -> str:
    """Return the processor, the load, the versions and the instruction set."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        named = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        cpu = named[0] if named else cpu
    versions = [f"Python {platform.python_version()}"]
    for name in PEERS:
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            versions.append(f"no {name}")
    load = os.getloadavg()[0]
    return f"{cpu}, {os.cpu_count()} cores, load {load:.1f}, {kernels.isa()}; {', '.join(versions)}"


def markdown(lines: list[Line], title: str) -> str:
    """Return the table."""
    rows = [HEADINGS, tuple("---" for _ in HEADINGS), *(line.cells() for line in lines)]
    return title + "\n\n" + "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"
