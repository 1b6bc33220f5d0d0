"""Figures of a space and of this server: what ``SonaEngine.metrics`` returns."""

from __future__ import annotations

import time
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sona_pg.errors import DatabaseError

if TYPE_CHECKING:
    from sona_pg.engine.session import Session

WAITING_FOR = 60.0  # seconds for which the count of feedback without its trajectory is good
SILENT_FOR = 5.0  # seconds beyond a poll after which a database counts as away, and is not asked for figures


class Figures:
    """Reads the figures of a session; what takes a scan is remembered for a minute."""

    def __init__(self, session: Session) -> None:
        """Start with nothing remembered."""
        self._session = session
        self._waiting: tuple[float, dict[str, Any] | None] = (0.0, None)

    def read(self) -> dict[str, Any]:
        """Return what is known of the space and this server, as JSON-ready values."""
        session = self._session
        figures = self._of_server()
        problem = session.silence(SILENT_FOR)
        if problem is not None:
            return {**figures, "database": problem}
        try:
            figures["totals"] = session.database.totals(session.space)
            figures["waiting_feedback"] = {name: _as_json(value) for name, value in self._waiting_feedback().items()}
            figures["database"] = "answers"
        except DatabaseError as exc:
            figures["database"] = str(exc)
        return figures

    def _of_server(self) -> dict[str, Any]:
        session = self._session
        hot, held, skew = session.hot, session.held, session.member.skew_ms
        return {
            "space": session.space_name,
            "dim": hot.dim,
            **held.serving.described(),
            "refused_version": None if held.refused is None else str(held.refused.reason),
            "adapters": held.adapters,
            "server": {
                "id": str(session.server_id),
                "recorded": hot.recorded_count,
                "dropped": hot.dropped_count,
                "abandoned": hot.abandoned_count,
                "waiting": hot.waiting,
                "instant_updates": held.instant.metrics().updates,
                "failed_cycles": session.failures,
                "clock_skew_ms": None if skew is None else round(skew, 3),
                "writer": {name: _as_json(value) for name, value in asdict(session.writer.stats()).items()},
            },
        }

    def _waiting_feedback(self) -> dict[str, Any]:
        """Return what is known of feedback without its trajectory, at most a minute old: it takes a scan."""
        asked, known = self._waiting
        if known is None or time.monotonic() - asked > WAITING_FOR:
            known = self._session.database.waiting_feedback(self._session.space)
            self._waiting = (time.monotonic(), known)
        return known


def _as_json(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
