"""One process of the crew: `python -m tests.chaos.process '<Spec as JSON>'`, until SIGTERM.

SIGTERM is blocked from before the process starts and looked for between bursts, so it is never missed.
Acknowledged records go into the journal; an unexpected error is raised, and the crew reports how the process ended.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import random
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np

from sona_pg import SonaEngine
from sona_pg.config import Durability
from sona_pg.errors import DatabaseError, DatabaseUnavailable
from sona_pg.store.database import Database
from sona_pg.worker.store_worker import StoreWorker

from .journal import Journal
from .settings import DIM, SPACE, config
from .traffic import Traffic

STOP = {signal.SIGTERM}
LAST_FLUSH = 120.0  # seconds
HUSH = "hush"  # a file in the folder of the journals: nobody records any more

log = logging.getLogger("chaos")


@dataclass(frozen=True, slots=True)
class Spec:
    """Arguments of a process, as JSON."""

    name: str
    role: Literal["record", "preload", "learn", "work"]
    level: Durability
    url: str
    folder: str  # of the journals
    learns: bool  # by itself, when a cycle is due
    seed: int
    seconds: float  # that the whole run takes
    run: int = 0  # how often it was started before

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse the output of ``str``."""
        return cls(**json.loads(text))

    def __str__(self) -> str:
        return json.dumps(asdict(self))


def stopped(within: float = 0.0) -> bool:
    """Wait for SIGTERM for so many seconds; return whether it came."""
    came = signal.sigtimedwait(STOP, within)
    # If the process is stopped meanwhile until the time is over, CPython returns the fields of no signal.
    return came is not None and came.si_signo == signal.SIGTERM


def seed_all() -> None:
    """Seed the global random generators, as applications do: no unique value may be drawn from them."""
    random.seed(0)
    np.random.seed(0)


def opened(spec: Spec) -> SonaEngine:
    """Open the space as soon as that can be done; SystemExit if SIGTERM comes first."""
    settings = config(spec.level, learns=spec.learns, seconds=spec.seconds)
    while True:
        try:
            return SonaEngine(DIM, spec.url, SPACE, config=settings)
        except DatabaseError as exc:
            log.info("cannot be opened yet: %s", exc)
        if stopped(within=0.2):
            sys.exit(0)


def traffic_on(engine: SonaEngine, spec: Spec, source: str, run: int) -> Traffic:
    """Return traffic with a journal of its own."""
    return Traffic(engine, Journal(Path(spec.folder), f"{source}.{run}"), source, run, spec.seed)


def record(engine: SonaEngine, traffic: Traffic, spec: Spec, between: Callable[[], object] = lambda: None) -> None:
    """Record in bursts until SIGTERM; then flush. ``between`` is called after every burst."""
    chance = random.Random(f"{spec.seed} {spec.name} {spec.run} pace")
    while True:
        if not Path(spec.folder, HUSH).exists():
            traffic.burst(400 if chance.random() < 0.01 else chance.randrange(1, 25))
        if spec.level != "memory" or flushed(engine, 1.0):
            traffic.acknowledged()
        if stopped(within=chance.uniform(0.2, 2.0)):
            break
        between()
    engine.flush(LAST_FLUSH)
    traffic.acknowledged()
    log.info("%d calls said that Postgres is away, %d records were refused", traffic.unavailable, engine.dropped_count)


def flushed(engine: SonaEngine, timeout: float) -> bool:
    """Return whether all that was recorded is committed, within ``timeout`` seconds."""
    try:
        engine.flush(timeout)
    except DatabaseUnavailable:
        return False
    return True


def learn(engine: SonaEngine, spec: Spec) -> None:
    """Ask for cycles until SIGTERM, at times of its own; about a hundred in a whole run."""
    chance = random.Random(f"{spec.seed} {spec.name} {spec.run} pace")
    while not stopped(within=chance.uniform(0.5, 1.5) * spec.seconds / 100):
        try:
            result = engine.force_learn()
        except DatabaseError as exc:
            log.info("no cycle: %s", exc)
        else:
            log.info("version %d of %d trajectories", result.version, result.trajectories)


def work(spec: Spec) -> None:
    """Learn and maintain as `sona-pg worker` does, until SIGTERM."""
    database = Database.at(spec.url)
    settings = config(spec.level, learns=True, seconds=spec.seconds)
    worker = StoreWorker(database, maintenance=settings.maintenance)
    stop = threading.Event()
    thread = threading.Thread(target=worker.run, args=[stop])
    thread.start()
    while not stopped(within=1.0):
        pass
    stop.set()
    thread.join()
    worker.end()
    database.close()


def main() -> None:
    """Run the process that the first argument describes."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    log.setLevel(logging.INFO)
    faulthandler.register(signal.SIGUSR1)  # to see where a process hangs
    spec = Spec.parse(sys.argv[1])
    seed_all()
    if spec.role == "work":
        work(spec)
        return
    with opened(spec) as engine:
        if spec.role == "learn":
            learn(engine, spec)
        elif spec.role == "preload":
            from .preload import Workers  # needs this module

            workers = Workers(engine, spec)
            record(engine, traffic_on(engine, spec, spec.name, spec.run), spec, workers.tend)
            workers.end()
        else:
            record(engine, traffic_on(engine, spec, spec.name, spec.run), spec)


if __name__ == "__main__":
    main()
