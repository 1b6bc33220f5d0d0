"""Faults injected into processes and server; each begins, lasts, and ends."""

from __future__ import annotations

from random import Random
from typing import Any, Protocol

import psycopg

from .crew import Member
from .pooler import Pooler
from .server import DATABASE, CrashingServer
from .standby import Pair

HOUR, DAY = 3600, 86_400  # seconds
TIMEOUTS = {
    "statement_timeout": [20, 100, 500],
    "lock_timeout": [10, 100],
    "idle_in_transaction_session_timeout": [20, 100, 500],
}  # milliseconds


class Fault(Protocol):
    """A fault. Either step may find the server away, and raise ``psycopg.OperationalError``."""

    longest: float  # seconds that it lasts at most

    def begin(self, chance: Random) -> None:
        """Begin the fault."""

    def end(self) -> None:
        """Repair it; called again if it raises."""


class Network(Protocol):
    """A proxy that misbehaves on demand: `tests/fix_proxy.py`."""

    def cut(self) -> None: ...
    def refuse(self) -> None: ...
    def accept(self) -> None: ...
    def stall(self) -> None: ...
    def resume(self) -> None: ...
    def deaf(self) -> None: ...
    def hear(self) -> None: ...


class Kill:
    """A process is killed, and another started in its place."""

    longest = 0.0

    def __init__(self, crew: list[Member]) -> None:
        self._crew = crew

    def begin(self, chance: Random) -> None:
        chance.choice(self._crew).kill(chance)

    def end(self) -> None:
        pass


class Stop:
    """A process is stopped in the middle of whatever it does, for longer than a lease lasts, and goes on."""

    longest = 15.0

    def __init__(self, crew: list[Member]) -> None:
        self._crew = crew
        self._stopped: Member | None = None

    def begin(self, chance: Random) -> None:
        self._stopped = chance.choice(self._crew)
        self._stopped.pause()

    def end(self) -> None:
        if self._stopped is not None:
            self._stopped.resume()


class Cuts:
    """The network between some processes and Postgres resets connections, refuses them, stalls, or takes no answer."""

    longest = 6.0

    def __init__(self, proxy: Network) -> None:
        self._proxy = proxy

    def begin(self, chance: Random) -> None:
        chance.choice([self._proxy.cut, self._proxy.refuse, self._proxy.stall, self._proxy.deaf])()

    def end(self) -> None:
        self._proxy.accept()
        self._proxy.resume()
        self._proxy.hear()
        self._proxy.cut()  # those that were taken and never answered


class Failover:
    """The primary is killed; its standby is promoted, and another one made."""

    longest = 3.0

    def __init__(self, pair: Pair) -> None:
        self._pair = pair

    def begin(self, chance: Random) -> None:
        self._pair.crash()

    def end(self) -> None:
        self._pair.fail_over()


class Crash:
    """Postgres is killed with everything that it was doing."""

    longest = 3.0

    def __init__(self, server: CrashingServer) -> None:
        self._server = server

    def begin(self, chance: Random) -> None:
        self._server.crash()

    def end(self) -> None:
        self._server.start()


class Restart(Crash):
    """Postgres is shut down in order, and its sessions with it."""

    def begin(self, chance: Random) -> None:
        self._server.stop()


class ReadOnly:
    """Every new session is read-only, as on a standby; sessions opened meanwhile stay read-only."""

    longest = 5.0

    def __init__(self, server: CrashingServer) -> None:
        self._server = server

    def begin(self, chance: Random) -> None:
        _set(self._server, "default_transaction_read_only", "on")
        self._server.end_sessions()

    def end(self) -> None:
        _set(self._server, "default_transaction_read_only", None)


class Timeouts:
    """Every new session has the timeouts of an impatient administrator; at the end all sessions are ended."""

    longest = 6.0

    def __init__(self, server: CrashingServer) -> None:
        self._server = server

    def begin(self, chance: Random) -> None:
        for name, values in TIMEOUTS.items():
            _set(self._server, name, str(chance.choice(values)))
        self._server.end_sessions()

    def end(self) -> None:
        for name in TIMEOUTS:
            _set(self._server, name, None)
        self._server.end_sessions()


class Connections:
    """Another client takes every connection available to an ordinary role."""

    longest = 4.0

    def __init__(self, server: CrashingServer) -> None:
        self._server = server
        self._taken: list[psycopg.Connection[Any]] = []

    def begin(self, chance: Random) -> None:
        try:
            while True:
                self._taken.append(psycopg.connect(self._server.url, connect_timeout=5))
        except psycopg.OperationalError:  # there are none left
            if not self._taken:
                raise

    def end(self) -> None:
        while self._taken:
            self._taken.pop().close()


class KillPooler:
    """The pooler is killed with all its sessions."""

    longest = 2.0

    def __init__(self, pooler: Pooler) -> None:
        self._pooler = pooler

    def begin(self, chance: Random) -> None:
        self._pooler.kill()

    def end(self) -> None:
        self._pooler.start()


class StepClock:
    """The wall clock of one server jumps, ahead or back; it stays there."""

    longest = 0.0

    def __init__(self, crew: list[Member]) -> None:
        self._clocks = [member.clock for member in crew if member.clock and member.spec.name == "stepping"]

    def begin(self, chance: Random) -> None:
        for clock in self._clocks:
            clock.set(chance.choice([-DAY, -HOUR, -60, -1, 0, 1, 60, HOUR, DAY, 30 * DAY]))

    def end(self) -> None:
        pass


def failover_faults(crew: list[Member], pair: Pair) -> dict[str, Fault]:
    """Return the faults of a run with a standby."""
    return {"failover": Failover(pair), "kill": Kill(crew), "stop": Stop(crew)}


def all_faults(
    crew: list[Member], server: CrashingServer, pooler: Pooler | None, proxy: Network | None
) -> dict[str, Fault]:
    """Return every fault that this run can make, by the name that `--only` knows."""
    faults: dict[str, Fault] = {
        "kill": Kill(crew),
        "stop": Stop(crew),
        "crash": Crash(server),
        "restart": Restart(server),
        "readonly": ReadOnly(server),
        "timeouts": Timeouts(server),
        "connections": Connections(server),
    }
    if pooler is not None:
        faults["pooler"] = KillPooler(pooler)
    if proxy is not None:
        faults["network"] = Cuts(proxy)
    if any(member.clock for member in crew):
        faults["clock"] = StepClock(crew)
    return faults


def _set(server: CrashingServer, name: str, value: str | None) -> None:
    """Set or reset a setting for new sessions of the database."""
    with server.administrator() as connection:
        change = f"RESET {name}" if value is None else f"SET {name} = '{value}'"
        connection.execute(f"ALTER DATABASE {DATABASE} {change}")
