"""A database whose daily figures a test makes up: those of a space without any trajectory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import LoopConfig, MaintenanceConfig

CONFIG = SonaConfig(loops=LoopConfig(automatic=False), maintenance=MaintenanceConfig(automatic=False))
FILL = """
INSERT INTO sona.daily_figures (space_id, day, kind, name, trajectories, steps, facts, corrections, retractions, rated,
    quality, costed, cost, delays, delay_counts)
SELECT %(space)s, t.day, t.kind, t.name, t.rated, 0, 0, 0, 0, t.rated, t.quality, 0, 0, '{}', '{}'
FROM unnest(%(kinds)s::text[], %(names)s::text[], %(days)s::date[], %(rated)s::bigint[], %(quality)s::float8[])
    AS t (kind, name, day, rated, quality)
"""
SUMMED = """
INSERT INTO sona.summary_days (space_id, day, summed_at, took_ms)
SELECT %(space)s, d, now(), 1 FROM unnest(%(days)s::date[]) AS d
"""
CLEAR = ("DELETE FROM sona.daily_figures", "DELETE FROM sona.summary_days")
Series = tuple[str, str, Sequence[int], Sequence[float]]  # kind, name, ratings of each day and their sums of quality


class DailyFigures:
    """The daily figures of the space ``default``, up to today (UTC)."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self.connection = connection

    def fill(self, series: Sequence[Series]) -> None:
        """Put these figures in place of all others."""
        length = len(series[0][2])
        last = datetime.now(UTC).date()
        days = [last - timedelta(days=length - 1 - place) for place in range(length)]
        rows = [
            (kind, name, day, int(count), float(total))
            for kind, name, rated, quality in series
            for day, count, total in zip(days, rated, quality, strict=True)
        ]
        names = ("kinds", "names", "days", "rated", "quality")
        told = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
        (space,) = self.connection.execute("SELECT space_id FROM sona.spaces").fetchone() or (0,)
        with self.connection.transaction():
            for statement in CLEAR:
                self.connection.execute(statement)
            self.connection.execute(FILL, {**told, "space": space})
            self.connection.execute(SUMMED, {"space": space, "days": days})


@pytest.fixture
def daily_figures(database_url: str) -> Iterator[DailyFigures]:
    with SonaEngine(4, database_url, config=CONFIG):
        pass
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield DailyFigures(connection)
