"""The database's clock, as an engine has last measured it."""

from __future__ import annotations

import time

from sona_pg.engine.sona_engine import SonaEngine


def database_time(engine: SonaEngine) -> float:
    """Return the seconds since 1970 by the clock of the database, which ids are made by; until it is known by ours."""
    opened = engine._opened
    return time.time() if opened is None else opened.member.now
