"""The end of a run: write what killed processes left, learn the rest, rebuild, compare."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from sona_pg import SonaEngine
from sona_pg.domain.cycle import RebuildResult

from . import logs
from .check import Comparison, Failure, compare
from .crew import Member, Places
from .journal import Promises
from .monkey import Monkey
from .server import CrashingServer
from .settings import DIM, SPACE, config

REPLAY = 180.0  # seconds for what killed processes left in their spools
LAST_CYCLES = 20  # at most, until nothing waits


@dataclass(slots=True)
class Verdict:
    """Everything that is reported."""

    faults: Counter[str]
    missed: Counter[str]
    starts: dict[str, int]  # of each place of the crew
    by_process: dict[str, int]  # trajectories acknowledged
    comparison: Comparison
    rebuild: RebuildResult
    levels: Counter[str]  # of the lines that processes logged
    failures: list[Failure] = field(default_factory=list)
    cycles: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def fine(self) -> bool:
        """Whether nothing is wrong."""
        return not self.failures


def judge(places: Places, server: CrashingServer, crew: list[Member], monkey: Monkey) -> Verdict:
    """Say what came of the run; its processes have ended, and nothing is broken any more."""
    began = time.monotonic()
    settings = config("spool", learns=False, seconds=places.seconds)
    with SonaEngine(DIM, server.url, SPACE, config=settings) as engine:
        engine.flush(REPLAY)
        replayed = time.monotonic()
        for _ in range(LAST_CYCLES):
            if not engine.force_learn().trajectories:
                break
        learned = time.monotonic()
        rebuilt = engine.rebuild()
    finished = time.monotonic()
    promises = Promises.read(places.folder)
    with psycopg.connect(server.url) as connection:
        comparison = compare(connection, promises)
        cycles = connection.execute("SELECT count(*) FROM sona.cycles").fetchall()[0][0]
    levels, unexpected = logs.summary(places.folder)
    home = places.folder / "home"
    failures = [
        *comparison.failures,
        Failure.of("parts in which a rebuild differs from the live state", rebuilt.differences),
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
        seconds={"replay": replayed - began, "learn": learned - replayed, "rebuild": finished - learned},
    )


def _files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "lock"]
