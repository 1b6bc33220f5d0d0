"""Ten thousand servers and a million spaces: unit costs measured here, then arithmetic and a simulation.

    python -m benchmarks.bench_scale

The costs are seconds of a core of this machine's Postgres, of statements as servers and workers send them.
``docs/scaling.md`` says what follows from the table.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import psycopg

from benchmarks.fleet_load import cpu_of
from benchmarks.report import Line, Options, run, seconds
from benchmarks.scale_model import Costs, Fleet, Unit, simulate
from benchmarks.server import server
from sona_pg.domain.ids import uuid7
from sona_pg.store import leases
from sona_pg.store.database import Database
from sona_pg.store.roll_call import Beat, Beats, Look, SpaceIds
from sona_pg.store.states import CHANNEL

STORED, FEW = 100_000, 1_000  # spaces
LISTENERS, NOTICES = (1, 61), 500
CYCLE = 0.12  # seconds: docs/measurements.md, 500 new trajectories
RECORD = 1 / 172_000  # seconds: docs/measurements.md, with a step
SIMULATED = 20.0  # seconds

FLEETS = (
    Fleet("a cell: 100 servers, 10,000 spaces", 100, 10_000, 4, 1_000.0, 100, 4),
    Fleet("1,000 servers, 100,000 spaces", 1_000, 100_000, 4, 10_000.0, 100, 40),
    Fleet("10,000 servers, a million spaces, one store", 10_000, 1_000_000, 4, 100_000.0, 100, 400),
)
INSERT = """
INSERT INTO sona.spaces (space_id, name, dim, created_at) SELECT n, 'space ' || n, 8, %s FROM generate_series(1, %s) n
"""
SERVERS = """
INSERT INTO sona.servers (space_id, server_id, host, pid, release, started_at, seen_at, serving_version)
SELECT n, md5(n::text)::uuid, 'here', 1, '0', %s, %s, 0 FROM generate_series(1, %s) n
"""


class Meter:
    """Measures the seconds of a core that Postgres uses, whatever else the machine does."""

    def __init__(self, url: str) -> None:
        """Measure the server at ``url``."""
        with psycopg.connect(url) as connection:
            (folder,) = connection.execute("SHOW data_directory").fetchone() or ("",)
        self._postmaster = int(Path(folder, "postmaster.pid").read_text().split("\n", 1)[0])

    def of(self, call: Callable[[], object], rounds: int) -> float:
        """Return the cost of a call."""
        call()
        before = cpu_of(self._postmaster, children=True)
        for _ in range(rounds):
            call()
        return (cpu_of(self._postmaster, children=True) - before) / rounds

    def unit(self, few: Callable[[], object], many: Callable[[], object], rows: tuple[int, int]) -> Unit:
        """Return fixed cost and cost a row from calls with two numbers of rows."""
        less, more = self.of(few, 300), self.of(many, max(5, 20_000 // rows[1]))
        row = max(0.0, (more - less) / (rows[1] - rows[0]))
        return Unit(max(0.0, less - row * rows[0]), row)


def measured(url: str) -> Costs:
    """Measure the statements of servers and workers on a store of ``STORED`` spaces."""
    now = datetime.now(UTC)
    with psycopg.connect(url) as connection:
        connection.execute(INSERT, [now, STORED])
        connection.execute(SERVERS, [now, now, STORED])
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE sona.spaces, sona.servers")
    database, meter = Database.at(url, 1), Meter(url)
    ids = {count: SpaceIds.of(range(1, count + 1)) for count in (100, FEW, STORED)}
    known = {count: database.call_roll(Look(spaces)).digest for count, spaces in ids.items()}
    names = {n: UUID(hashlib.md5(str(n).encode()).hexdigest()) for n in range(1, 10_001)}
    beats = {count: Beats.of(Beat(n, names[n], 0) for n in range(1, count + 1)) for count in (100, 10_000)}
    one = SpaceIds.of([1])

    def poll(count: int) -> Callable[[], object]:
        return lambda: database.call_roll(Look(ids[count], known=known[count]))

    idle = database.call_roll(Look(one)).digest

    def beat(count: int) -> Callable[[], object]:
        return lambda: database.call_roll(Look(one, beats=beats[count], known=idle))

    def look(count: int) -> Callable[[], object]:
        return lambda: database.waiting_facts(ids[count])

    costs = Costs(
        poll=meter.unit(poll(100), poll(FEW), (100, FEW)),
        beat=meter.unit(beat(100), beat(10_000), (100, 10_000)),
        look=meter.unit(look(FEW), look(STORED), (FEW, STORED)),
        listing=Unit(0.0, meter.of(database.names, 5) / STORED),
        notice=notices(url, meter),
        lease=meter.of(lambda: lease(database), 200),
        cycle=CYCLE,
        record=RECORD,
    )
    database.close()
    return costs


def lease(database: Database) -> None:
    """Take a lease, and give it back."""
    with database.engine.begin() as connection:
        taken = leases.take(connection, 1, uuid7(), timedelta(seconds=10))
    assert taken is not None
    with database.engine.begin() as connection:
        leases.give_back(connection, taken)


def notices(url: str, meter: Meter) -> Unit:
    """Measure what a notice costs the server, by the number of listening connections."""
    used = []
    for count in LISTENERS:
        with ExitStack() as stack:
            speaker = stack.enter_context(psycopg.connect(url, autocommit=True))
            for _ in range(count):
                listener = stack.enter_context(psycopg.connect(url, autocommit=True))
                listener.execute(f"LISTEN {CHANNEL}")

            def speak(speaker: psycopg.Connection[Any] = speaker) -> None:
                speaker.execute(f"NOTIFY {CHANNEL}, '1'")
                time.sleep(0.002)  # else several come together

            used.append(meter.of(speak, NOTICES))
    row = max(0.0, (used[1] - used[0]) / (LISTENERS[1] - LISTENERS[0]))
    return Unit(max(0.0, used[0] - row), row)


def main(options: Options) -> None:
    """Measure, and print the loads of three fleets."""
    with server(options.home) as url:
        Database.open(url).close()
        costs = measured(url)
    for name, cost in (("poll", costs.poll), ("heartbeat", costs.beat), ("worker's look", costs.look)):
        options.emit(Line(f"a {name}", seconds(cost.fixed), f"and {seconds(cost.row)} a space"))
    options.emit(Line("a worker's list of spaces", "", f"{seconds(costs.listing.row)} a space"))
    told = f"and {seconds(costs.notice.row)} a listener"
    options.emit(Line("a notice, of Postgres's cores", seconds(costs.notice.fixed), told))
    options.emit(Line("a lease taken and given back", seconds(costs.lease)))
    for fleet in FLEETS:
        found = simulate(fleet, costs, SIMULATED, deaths=0.001)
        loads = fleet.loads(costs) | {"leases": found.attempts / SIMULATED * costs.lease}
        whole = sum(loads.values())
        first = max(loads, key=lambda name: loads[name])
        options.emit(Line(fleet.name, f"{whole:,.1f} cores", f"most by {first}", None, "", None))
        for name, cores in loads.items():
            options.emit(Line(f"  {name}", f"{cores:,.2f} cores"))
        told = f"{found.wasted / max(1, found.attempts):.0%} of leases in vain, workers {found.busy:.0%} busy"
        p99 = float(np.quantile(found.lags, 0.99))
        options.emit(Line("  lag of a due space, simulated, p99", seconds(p99), told))


if __name__ == "__main__":
    run(__doc__, main)
