"""Faults injected into processes and server; each begins, lasts, and ends."""

from __future__ import annotations

from random import Random
from typing import Any, Protocol

import psycopg

from .crew import Member
from .pooler import Pooler
from .server import DATABASE, CrashingServer

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


class Kill:
    """A process is killed, and another started in its place."""

    longest = 0.0

    def __init__(self, crew: list[Member]) -> None:
        self._crew = crew

    def begin(self, chance: Random) -> None:
        chance.choice(self._crew).kill(chance)

    def end(self) -> None:
        pass


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


def all_faults(crew: list[Member], server: CrashingServer, pooler: Pooler | None) -> dict[str, Fault]:
    """Return every fault that this run can make, by the name that `--only` knows."""
    faults: dict[str, Fault] = {
        "kill": Kill(crew),
        "crash": Crash(server),
        "restart": Restart(server),
        "readonly": ReadOnly(server),
        "timeouts": Timeouts(server),
        "connections": Connections(server),
    }
    if pooler is not None:
        faults["pooler"] = KillPooler(pooler)
    if any(member.clock for member in crew):
        faults["clock"] = StepClock(crew)
    return faults


def _set(server: CrashingServer, name: str, value: str | None) -> None:
    """Set or reset a setting for new sessions of the database."""
    with server.administrator() as connection:
        change = f"RESET {name}" if value is None else f"SET {name} = '{value}'"
        connection.execute(f"ALTER DATABASE {DATABASE} {change}")
