"""An engine's row in ``sona.servers``: registration, heartbeats, departure, and its clock skew."""

from __future__ import annotations

import logging
import os
import socket
import time

from sona_pg._version import __version__
from sona_pg.config import SonaConfig
from sona_pg.domain.gate import version_for
from sona_pg.domain.ids import uuid7
from sona_pg.domain.space import Space
from sona_pg.engine.followed_space import ClockReading
from sona_pg.errors import DatabaseError
from sona_pg.recorder import HotPath
from sona_pg.store.arrival import Arrival
from sona_pg.store.database import Database
from sona_pg.store.fleet import Server
from sona_pg.store.read_side import OwnServer

log = logging.getLogger(__name__)


class FleetMember:
    """One server of one space's fleet; it sets the clock skew of the recorder ``hot``."""

    def __init__(self, hot: HotPath, database: Database) -> None:
        """Prepare; ``register`` inserts the row."""
        self._hot = hot
        self._database = database
        self.server_id = uuid7()
        self._server = Server(self.server_id, socket.gethostname(), os.getpid(), __version__)
        self.skew_ms: float | None = None  # skew of this machine's clock; None until measured
        self._since_1970: float | None = None  # seconds, when this machine's monotonic clock was 0; None until measured

    @property
    def now(self) -> float:
        """Seconds since 1970 by the database's clock, as last measured; by this machine's until then."""
        return time.time() if self._since_1970 is None else self._since_1970 + time.monotonic()

    def join(self, name: str, config: SonaConfig, *, create: bool) -> Arrival:
        """Open the space called ``name`` and add this server to its fleet; see ``Database.open_space``."""
        arrived = self._database.join_space(name, self._hot.dim, self._server, create=create, config=config)
        self.measure_clock(ClockReading(arrived.asked_at, arrived.at, arrived.answered_at, time.monotonic()))
        self._database.reads.join(OwnServer(arrived.space.space_id, self.server_id))
        return arrived

    def register(self, space: Space) -> None:
        """Add the server to the fleet again; idempotent."""
        self._database.register(space, self._server)
        self._database.reads.join(OwnServer(space.space_id, self.server_id))

    def heartbeat(self, space: Space, serving: int) -> int:
        """Send a heartbeat with the served version; return the version to serve."""
        before = time.time()
        heard = self._database.heartbeat(space, self.server_id, serving, self.skew_ms)
        self.measure_clock(ClockReading(before, heard.at, time.time(), time.monotonic()))
        if not heard.registered:  # maintenance deleted the row: this machine slept for days
            self.register(space)
        return version_for(self.server_id, heard.live_version, heard.canary)

    def depart(self, space: Space, serving: int) -> None:
        """Leave the fleet, with the version served last."""
        self._database.reads.depart(OwnServer(space.space_id, self.server_id))
        try:
            self._database.depart(space, self.server_id, serving)
        except DatabaseError as exc:
            log.debug("the server could not sign off, and will count as gone: %s", exc)

    def measure_clock(self, clock: ClockReading) -> None:
        """Tell the recorder how far this machine's clock is ahead of the database's."""
        self.skew_ms = clock.ahead * 1000
        self._since_1970 = clock.offset
        self._hot.set_clock_ahead(round(clock.ahead * 1e6), uncertainty=round(clock.uncertainty * 1e6))
