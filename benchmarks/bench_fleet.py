"""A fleet: from a publication to what twenty servers serve, races for leases, and two workers of a thousand spaces.

    python -m benchmarks.bench_fleet

Twenty servers, each a process, follow one space, while 1,000 trajectories a second are recorded in another one. Times
are from the return of the publishing transaction to the moment in which a server serves the version.
"""

from __future__ import annotations

import json
import multiprocessing
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Any

import numpy as np
import psycopg

from benchmarks.fleet_load import ROWS, People, Spaces, ended, spawn, spawn_worker
from benchmarks.report import Line, Options, run, seconds
from benchmarks.server import server
from sona_pg import SonaConfig, SonaEngine, Store
from sona_pg.config import GateConfig, LoopConfig, MaintenanceConfig
from sona_pg.domain.ids import uuid7
from sona_pg.store import leases
from sona_pg.store.database import Database
from sona_pg.store.gate_store import GateStore
from sona_pg.store.unit import LearningUnit

SERVERS, PUBLICATIONS, ROLLBACKS = 20, 30, 3
RACES = 1000
SPACES, RATE, LASTS = 1000, 10.0, 90.0  # spaces, feedbacks a second, seconds
PATIENCE = 120.0  # seconds for a server to serve what was published
QUIET = SonaConfig(
    hidden_dim=ROWS.shape[1],
    gate=GateConfig(margin=0.05),
    loops=LoopConfig(automatic=False, recent=0),
    maintenance=MaintenanceConfig(automatic=False),
)


def published(options: Options, url: str) -> None:
    """Measure publications, and rollbacks by the gate."""
    gated = [f"gated {number}" for number in range(ROLLBACKS)]
    with ExitStack() as stack:
        store = stack.enter_context(Store(url))
        beside = stack.enter_context(ended(spawn("record", url)))
        engines = {name: store.space(name, ROWS.shape[1], config=QUIET) for name in ("fleet", *gated)}
        servers = stack.enter_context(ended(spawn("follow", url, str(SERVERS), *engines, servers=SERVERS)))
        heard = Heard(servers)
        for number in range(PUBLICATIONS):
            People(engines["fleet"], number).ask(20, moved=0)
            with heard.returns_of("fleet", LearningUnit, "publish"):
                engines["fleet"].force_learn()
            time.sleep(0.5)
        for name in gated:
            _have_rolled_back(engines[name], heard, name)
        delays, rolled = heard.delays(["fleet"]), heard.delays(gated)
        assert beside.poll() is None, "the recorder beside has ended"
    for what, found in (
        (f"from a publication to what {SERVERS} servers serve", delays),
        (f"from the gate's rollback to what {SERVERS} servers serve", rolled),
    ):
        p50, p99 = statistics.median(found), found[int(0.99 * len(found))]
        told = f"most {seconds(found[-1])}, {len(found)} in all"
        options.emit(Line(f"{what}, p50", seconds(p50), told, None, "100 ms", p50 <= 0.1))
        options.emit(Line("  p99", seconds(p99), "", None, "1 s", p99 <= 1.0))


def _have_rolled_back(engine: SonaEngine, heard: Heard, name: str) -> None:
    """Publish a version that learned lies, and wait for the gate to take it back."""
    people = People(engine)
    people.ask(80, moved=0)
    engine.force_learn()
    people.ask(160, moved=3)  # a flood of wrong corrections
    bad = engine.force_learn().version
    asked = 0
    with heard.returns_of(name, GateStore, "roll_back"):
        while engine.version == bad and asked < 400:
            people.ask(20, moved=0)
            asked += 20
            engine.judge()
    assert engine.version > bad, "the gate did not roll a bad version back"


class Heard:
    """When transactions returned, and when servers began to serve their versions."""

    def __init__(self, servers: subprocess.Popen[str]) -> None:
        """Listen to the servers' process."""
        self._served: dict[tuple[int, str], dict[int, float]] = {}
        self._returned: list[tuple[str, int, float]] = []  # space, version, time
        threading.Thread(target=self._listen, args=[servers.stdout], daemon=True).start()

    def _listen(self, lines: Any) -> None:
        for line in lines:
            place, name, version, at = json.loads(line)
            self._served.setdefault((place, name), {}).setdefault(version, at)

    @contextmanager
    def returns_of(self, name: str, owner: type, method: str) -> Iterator[None]:
        """Note, while the block runs, when calls return that publish a version of the space ``name``."""
        usual: Callable[..., Any] = getattr(owner, method)

        def noted(*arguments: Any, **named: Any) -> Any:
            result = usual(*arguments, **named)
            version = result if isinstance(result, int) else arguments[0].next_version
            self._returned.append((name, version, time.time()))
            return result

        setattr(owner, method, noted)
        try:
            yield
        finally:
            setattr(owner, method, usual)

    def delays(self, names: Sequence[str]) -> list[float]:
        """Return the sorted delays of every version of these spaces on every server, once all serve the last."""
        published = [known for known in self._returned if known[0] in names]
        deadline = time.monotonic() + PATIENCE
        found: list[float] = []
        for name, version, at in published:
            for place in range(SERVERS):
                while not (served := self._since(place, name, version)):
                    assert time.monotonic() < deadline, "a server does not serve the last version"
                    time.sleep(0.05)
                found.append(min(served) - at)
        return sorted(found)

    def _since(self, place: int, name: str, version: int) -> list[float]:
        """Return when a server began to serve a version, or a newer one if it was late."""
        return [at for number, at in list(self._served.get((place, name), {}).items()) if number >= version]


def race(url: str, place: int, spaces: list[int], together: Any, won: Any) -> None:
    """Try to take the lease of each space, at one moment with the other process."""
    database, learner = Database.at(url, 1), uuid7()
    mine = []
    for space in spaces:
        together.wait(60)
        with database.engine.begin() as connection:
            if leases.take(connection, space, learner, timedelta(seconds=60)) is not None:
                mine.append(space)
    won.put((place, mine))
    database.close()


def races(options: Options, url: str) -> None:
    """Count the winners of races of two processes for a lease."""
    with psycopg.connect(url) as connection:
        made = connection.execute(
            "INSERT INTO sona.spaces (space_id, name, dim, created_at)"
            " SELECT 1000000 + n, 'race ' || n, 8, now() FROM generate_series(1, %s) n RETURNING space_id",
            [RACES],
        ).fetchall()
    context = multiprocessing.get_context("spawn")
    together, won = context.Barrier(2), context.Queue()
    spaces = [space for (space,) in made]
    racers = [context.Process(target=race, args=(url, place, spaces, together, won)) for place in (0, 1)]
    for racer in racers:
        racer.start()
    found = dict(won.get(timeout=300) for _ in racers)
    for racer in racers:
        racer.join()
    winners = sorted(found[0] + found[1])
    told = f"{len(found[0])} and {len(found[1])}"
    exact = winners == sorted(spaces)
    options.emit(
        Line(f"winners of {RACES} races of two workers for a lease", str(len(winners)), told, None, "one each", exact)
    )
    with psycopg.connect(url) as connection:
        connection.execute("DELETE FROM sona.leases WHERE space_id > 1000000")
        connection.execute("DELETE FROM sona.spaces WHERE space_id > 1000000")


def shared(options: Options, url: str) -> None:
    """Let two workers learn a thousand spaces in which little is said."""
    count = max(50, int(SPACES * options.scale))
    with Spaces(url, count) as spaces, ExitStack() as stack:
        workers = [stack.enter_context(ended(spawn_worker(url))) for _ in range(2)]
        spaces.first_facts()
        spaces.wait_until_learned(300)
        before = spaces.usage([each.pid for each in workers])
        told = spaces.tell(RATE * count / SPACES, LASTS)
        after = spaces.usage([each.pid for each in workers])
        lag = spaces.lags(told)
    of_workers, of_server = after[0] - before[0], after[1] - before[1]
    wall = after[2] - before[2]
    what = f"{count} spaces, {RATE * count / SPACES:g} feedbacks a second in all, two workers: longest lag of a space"
    options.emit(
        Line(what, seconds(max(lag)), f"median {seconds(float(np.median(lag)))}", None, "60 s", max(lag) <= 60)
    )
    options.emit(
        Line(
            "  cores that they use",
            f"{of_workers / wall:.2f}",
            f"Postgres beside them {of_server / wall:.2f}",
            None,
            "1",
            of_workers / wall < 1.0,
        )
    )


def main(options: Options) -> None:
    """Run all."""
    with server(options.home) as url:
        Database.open(url).close()
        races(options, url)
        published(options, url)
        shared(options, url)


if __name__ == "__main__":
    run(__doc__, main)
