"""Calls that tell of the engine itself: its database, its version, its counters."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from sona_pg.engine.lifetime import EngineLifetime


class StatusCalls(EngineLifetime):
    """Calls that describe the space and this server."""

    @property
    def url(self) -> str:
        """The database's URL, for psycopg or psql; the embedded server answers while an engine is open."""
        return self._session.url

    @property
    def server_id(self) -> UUID:
        """This server's id in ``sona.servers``; every engine has its own."""
        return self._session.server_id

    @property
    def version(self) -> int:
        """The state version this server serves; 0 before anything was learned."""
        return self._session.serving.version

    def get_stats(self) -> str:
        """Return what is known of the space and this server, as JSON; counters survive restarts.

        With the database away it tells what this server knows, and says so in ``database``.
        """
        return json.dumps(self.metrics(), indent=2, default=str)

    def metrics(self) -> dict[str, Any]:
        """Return what ``get_stats`` prints, as a dictionary."""
        return self._session.metrics()
