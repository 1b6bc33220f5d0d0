"""Reads that may be a little old: on a standby while it follows closely, else on the primary."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple, TypeVar
from uuid import UUID

from sqlalchemy import Engine, text

from sona_pg.errors import DatabaseError
from sona_pg.store.connect import connect
from sona_pg.store.transactions import BRIEF, reading, transaction

log = logging.getLogger(__name__)

Result = TypeVar("Result")

CONNECTIONS = 2  # to the standby
RETRY = 5.0  # seconds until a standby that was left is looked at again
LOOKS = 4  # in the time that the standby may lag
ASK_EVERY = 0.02  # seconds between two questions whether it shows a heartbeat
MOST_BEATS = 3  # in one look
UNUSED = "was not needed yet"
NO_SERVER = "no space is open here whose server could send a heartbeat"

# Commits are not waited for on synchronous standbys: the standby may be the one that is away.
NOT_WAITING = text("SET LOCAL synchronous_commit = local")
BEAT = text("""
UPDATE sona.servers SET seen_at = clock_timestamp()
WHERE space_id = :space_id AND server_id = :server_id AND ended_at IS NULL
RETURNING seen_at
""")
SHOWN = text("""
SELECT pg_is_in_recovery(),
       (SELECT seen_at FROM sona.servers WHERE space_id = :space_id AND server_id = :server_id)
""")


class ReadReplica(NamedTuple):
    """Address of a standby, and how far it may lag behind the primary."""

    url: str
    most_lag: float  # seconds


class OwnServer(NamedTuple):
    """Key of the row in ``sona.servers`` of a server in this process."""

    space_id: int
    server_id: UUID


class LookBeat(NamedTuple):
    """A heartbeat sent by a look, as the primary has it."""

    server: OwnServer
    at: datetime


class ReadSide:
    """Runs reads on the standby while it is known to lag less than allowed, else on the primary.

    A look sends a heartbeat of a server of this process, and waits for the standby to show it. For ``most_lag`` seconds
    from then on the standby has all that was committed before the look. (Positions in the log would prove less: a
    standby that has not followed a failover may be ahead, on the old timeline.) No read waits for a look: it runs in a
    thread of its own, when a read needs it.
    """

    def __init__(self, primary: Engine, replica: ReadReplica | None) -> None:
        """Read from ``primary`` until a look has found the standby well; connects to nothing."""
        self._primary = primary
        self._most_lag = 0.0 if replica is None else replica.most_lag
        self._standby = None if replica is None else connect(replica.url, pool_size=CONNECTIONS, overflow=0)
        self._servers: dict[OwnServer, None] = {}  # in the order in which they joined
        self._looking = threading.Lock()
        self._well_until = 0.0  # monotonic seconds
        self._next_look = 0.0
        self._problem = UNUSED
        self._said = ""  # problem in the log; empty: none
        self._closed = threading.Event()

    def join(self, server: OwnServer) -> None:
        """Send the heartbeats of looks for ``server``, too."""
        self._servers[server] = None

    def depart(self, server: OwnServer) -> None:
        """Send no more heartbeats for ``server``."""
        self._servers.pop(server, None)

    @property
    def engines(self) -> Sequence[Engine]:
        """Primary and standby."""
        return [self._primary] if self._standby is None else [self._primary, self._standby]

    @property
    def state(self) -> str | None:
        """``"used"``, or why the standby is not; None if there is none."""
        if self._standby is None:
            return None
        return "used" if time.monotonic() < self._well_until else self._problem

    def run(self, work: Callable[[Engine], Result]) -> Result:
        """Return the result of ``work``, a read; if the standby fails, it runs again on the primary."""
        return self._run_on(work, self._primary, self._standby)

    def _run_on(self, work: Callable[[Engine], Result], primary: Engine, standby: Engine | None) -> Result:
        """Run ``work`` over connections to these two."""
        if standby is None:
            return work(primary)
        now = time.monotonic()
        if now >= self._next_look and self._looking.acquire(blocking=False):
            self._next_look = now + RETRY
            threading.Thread(target=self._look_once, name="sona-pg standby", daemon=True).start()
        if now < self._well_until:
            try:
                return work(standby)
            except DatabaseError as exc:
                self._leave(str(exc))
        return work(primary)

    def look(self) -> bool:
        """Look at the standby now; return whether it is used."""
        with self._looking:
            self._look()
        return self.state == "used"

    def close(self) -> None:
        """Close all connections to the standby."""
        self._closed.set()
        if self._standby is not None:
            self._standby.dispose()

    def _look_once(self) -> None:
        """Look, in a thread that holds the lock."""
        try:
            self._look()
        finally:
            self._looking.release()

    def _look(self) -> None:
        standby, began = self._standby, time.monotonic()
        if standby is None:
            return
        try:
            beat = self._beat()
        except DatabaseError as exc:  # during a failover: the standby is what can be read, for as long as it may lag
            log.debug("the standby's lag is not known: %s", exc)
            self._next_look = began + self._most_lag / LOOKS
            return
        try:
            problem = NO_SERVER if beat is None else self._wait_for(standby, beat, began)
        except DatabaseError as exc:
            problem = str(exc)
        if problem:
            self._leave(problem)
            return
        self._well_until, self._next_look = began + self._most_lag, began + self._most_lag / LOOKS
        if self._said:
            log.warning("reads go to the standby again")
            self._said = ""

    def _beat(self) -> LookBeat | None:
        """Send a heartbeat for a server of this process; return it, or None if no server has a row."""
        for server in tuple(self._servers):
            with transaction(self._primary, "sending a heartbeat", BRIEF) as connection:
                connection.execute(NOT_WAITING)
                at = connection.scalar(BEAT, server._asdict())
            if at is not None:
                return LookBeat(server, at)
            self.depart(server)  # it joins again once it has a row again
        return None

    def _wait_for(self, standby: Engine, beat: LookBeat, began: float) -> str:
        """Wait until the standby shows a heartbeat of this look; return the problem, if any."""
        sent = 1
        with reading(standby, "asking the standby", self._most_lag + BRIEF) as connection:
            while True:
                recovering, shown = connection.execute(SHOWN, beat.server._asdict()).one()
                if not recovering:
                    return "the read URL names no standby: it takes writes itself"
                if shown == beat.at:
                    return ""
                if shown is not None and shown > beat.at and sent < MOST_BEATS:  # a periodic one has overtaken it
                    again, sent = self._beat(), sent + 1
                    if again is None:
                        return NO_SERVER
                    beat = again
                if time.monotonic() > began + self._most_lag:
                    return f"the standby lags more than {self._most_lag:g} s, or does not follow this primary"
                if self._closed.wait(ASK_EVERY):
                    return "closed"

    def _leave(self, problem: str) -> None:
        """Read on the primary until a later look."""
        self._well_until, self._next_look, self._problem = 0.0, time.monotonic() + RETRY, problem
        if problem != self._said and not self._closed.is_set():
            log.warning("reads go to the primary: %s", problem)
            self._said = problem


class BesideReads(ReadSide):
    """Reads as another side does, which knows how the standby is, over connections of its own."""

    def __init__(self, primary: Engine, replica: ReadReplica | None, known: ReadSide) -> None:
        """Read from ``primary``, or from the standby while ``known`` finds that well; connects to nothing."""
        super().__init__(primary, replica)
        self._known = known

    def run(self, work: Callable[[Engine], Result]) -> Result:
        """Return the result of ``work``, a read; if the standby fails, it runs again on the primary."""
        return self._known._run_on(work, self._primary, self._standby)
