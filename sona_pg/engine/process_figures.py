"""Figures of a space that this process has in memory: they are there while the database is away or locked."""

from __future__ import annotations

from typing import Any

from sona_pg.engine.sona_engine import SonaEngine


def process_figures(engine: SonaEngine) -> dict[str, Any]:
    """Return the figures of ``SonaEngine.metrics`` but those of the database, with the counters of the recorder."""
    counted = {
        "recorded": engine.recorded_count,
        "dropped": engine.dropped_count,
        "abandoned": engine.abandoned_count,
        "waiting": engine.waiting,
    }
    return {**engine._session.figures.of_process(), **counted}
