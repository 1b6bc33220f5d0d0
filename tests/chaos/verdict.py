"""The end of a run: replay the spools of killed processes, learn the rest, rebuild, compare."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from sona_pg import SonaEngine
from sona_pg.domain.cycle import RebuildResult
from sona_pg.errors import SonaError

from . import logs
from .check import Comparison, Failure, compare
from .crew import Member, Places
from .journal import Promises
from .monkey import Monkey
from .settings import DIM, SPACE, config

REPLAY = 180.0  # seconds for the spools of killed processes
LAST_CYCLES = 20  # at most, until nothing waits


@dataclass(slots=True)
class Verdict:
    """Report of a run."""

    faults: Counter[str]
    missed: Counter[str]
    starts: dict[str, int]  # by place of the crew
    by_process: dict[str, int]  # trajectories acknowledged
    comparison: Comparison
    rebuild: RebuildResult | None  # None: it did not come to that
    levels: Counter[str]  # of the lines that processes logged
    failures: list[Failure] = field(default_factory=list)
    cycles: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def fine(self) -> bool:
        """Whether nothing is wrong."""
        return not self.failures


def judge(places: Places, crew: list[Member], monkey: Monkey, apart: list[str]) -> Verdict:
    """Judge a run whose processes have ended and whose faults are repaired; ``apart`` served another version."""
    settings = config("spool", learns=False, seconds=places.seconds)
    seconds: dict[str, float] = {}
    cut_short: list[str] = []
    rebuilt = None
    try:
        with SonaEngine(DIM, places.url, SPACE, config=settings) as engine:
            with _timed(seconds, "replay"):
                engine.flush(REPLAY)
            with _timed(seconds, "learn"):
                _learn_the_rest(engine)
            with _timed(seconds, "rebuild"):
                rebuilt = engine.rebuild()
    except SonaError as exc:
        cut_short.append(f"{type(exc).__name__}: {exc}")
    promises = Promises.read(places.folder)
    with psycopg.connect(places.url) as connection:
        comparison = compare(connection, promises)
        cycles = connection.execute("SELECT count(*) FROM sona.cycles").fetchall()[0][0]
    levels, unexpected = logs.summary(places.folder)
    home = places.folder / "home"
    failures = [
        *comparison.failures,
        Failure.of("errors of the engine that ends the run", cut_short),
        Failure.of("parts in which a rebuild differs from the live state", rebuilt.differences if rebuilt else []),
        Failure.of("servers that do not serve the live version", apart),
        Failure.of("processes that ended by themselves", [words for member in crew for words in member.ended]),
        Failure.of("tracebacks that nobody may expect", [f"{n} times {last}" for last, n in unexpected.items()]),
        Failure.of("files of records that Postgres refused", _files(home / "rejected")),
        Failure.of("spool segments that were never written", _files(home / "spool")),
    ]
    return Verdict(
        faults=monkey.done,
        missed=monkey.missed,
        starts={member.spec.name: member.spec.run + 1 for member in crew},
        by_process=promises.by_process,
        comparison=comparison,
        rebuild=rebuilt,
        levels=levels,
        failures=[failure for failure in failures if failure.count],
        cycles=cycles,
        seconds=seconds,
    )


def _learn_the_rest(engine: SonaEngine) -> None:
    for _ in range(LAST_CYCLES):
        read = engine.force_learn()
        if not read.trajectories and not read.feedback:
            return


@contextmanager
def _timed(seconds: dict[str, float], what: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    seconds[what] = time.monotonic() - began


def _files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "lock"]
