"""Calls that describe the engine: its database, its version, its counters."""

from __future__ import annotations

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

    def get_stats(self, *, fresh: bool = False) -> str:
        """Return the figures of the space and this server, as JSON; counters survive restarts.

        Read from memory. ``totals`` and ``waiting_feedback`` are the database's last answer: about a poll old under
        regular calls (``LoopConfig.poll_interval``, a second), and read anew after half a minute without a call, or
        after this server has flushed or learned. If the database is away, the cached figures are returned, and
        ``database`` says so.

        Args:
            fresh: ask the database in any case, which takes milliseconds.

        Returns:
            space, dim: name and dimension of the space.
            version, version_age_seconds: the version that is served here, and its age.
            patterns, routes: number of its patterns; its routes, with the number of trajectories that took each.
            micro_norm, base_norm: norms of its adapters, 0 before they have learned.
            refused_version: why a newer version could not be taken up; null if none was refused.
            adapters: the version or the file that the adapters are of.
            server: this engine since it was opened: its ``id`` in ``sona.servers``; trajectories ``recorded``,
                ``dropped`` (the buffer was full) and ``abandoned`` (never ended); records ``waiting`` for their commit;
                ``instant_updates`` of loop A; ``automatic``, whether it runs cycles by itself; ``failed_cycles``;
                ``clock_skew_ms`` to the database; ``standby``, which
                answers reads; ``writer``, with what was committed (``trajectories``, ``steps``, ``feedback``,
                ``batches``), records ``waiting`` in memory or spool, the oldest for ``waiting_seconds`` at most,
                records ``rejected`` by Postgres, of these ``rejected_unsaved`` (in memory) and
                ``rejected_lost``, trajectories ``conflicting`` with other contents under their id,
                ``retries``, ``learner_errors`` of loop A, ``last_error`` and ``last_commit``.
            totals: of the space over all servers: live ``servers``, ``trajectories``, ``feedback``, ``dropped``, and
                ``waiting`` facts, which no cycle has learned from yet.
            waiting_feedback: ``facts`` whose trajectory has not arrived, and ``since`` when.
            database: ``answers``, or what is wrong.
        """
        return self._session.figures.text(fresh=fresh)

    def metrics(self, *, fresh: bool = True) -> dict[str, Any]:
        """Return the figures of ``get_stats`` as a dictionary; by default it asks the database."""
        return self._session.figures.read(fresh=fresh)
