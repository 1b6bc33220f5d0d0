"""``sona.quality_changes`` marks what is no chance, and little else: over many simulated spaces."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import numpy as np
import psycopg
import pytest

from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import LoopConfig, MaintenanceConfig

CONFIG = SonaConfig(loops=LoopConfig(automatic=False), maintenance=MaintenanceConfig(automatic=False))
SPACES, DAYS = 100, 60
FILL = """
INSERT INTO sona.daily_figures (space_id, day, kind, name, trajectories, steps, facts, corrections, retractions, rated,
    quality, costed, cost, delays, delay_counts)
SELECT %(space)s, t.day, 'space', '', t.rated, 0, 0, 0, 0, t.rated, t.quality, 0, 0, '{}', '{}'
FROM unnest(%(days)s::date[], %(rated)s::bigint[], %(quality)s::float8[]) AS t (day, rated, quality)
"""
SUMMED = """
INSERT INTO sona.summary_days (space_id, day, summed_at, took_ms)
SELECT %(space)s, d, now(), 1 FROM unnest(%(days)s::date[]) AS d
"""
CLEAR = ("DELETE FROM sona.daily_figures", "DELETE FROM sona.summary_days")
FOUND = "SELECT changed_on, difference FROM sona.quality_changes('default', %(days)s) ORDER BY 1"


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection]:
    with SonaEngine(4, database_url, config=CONFIG):
        pass
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def changes(
    connection: psycopg.Connection, rng: np.random.Generator, levels: np.ndarray, each: int
) -> list[tuple[date, float]]:
    """Return the changes that are found in days of ``each`` ratings whose means are ``levels`` (days,)."""
    rated = np.maximum(rng.poisson(each, len(levels)), 1)
    quality = rng.binomial(rated, levels).astype(float)
    last = datetime.now(UTC).date()
    days = [last - timedelta(days=len(levels) - 1 - place) for place in range(len(levels))]
    (space,) = connection.execute("SELECT space_id FROM sona.spaces").fetchone() or (0,)
    told = {"space": space, "days": days, "rated": rated.tolist(), "quality": quality.tolist()}
    with connection.transaction():
        for statement in CLEAR:
            connection.execute(statement)
        connection.execute(FILL, told)
        connection.execute(SUMMED, told)
    return [(day, difference) for day, difference in connection.execute(FOUND, {"days": len(levels)})]


@pytest.mark.parametrize(
    ("each", "between", "weekend"),
    [(5, 0.0, 0.0), (50, 0.0, 0.0), (2000, 0.0, 0.0), (2000, 0.03, 0.0), (200, 0.0, -0.1), (2000, 0.01, -0.1)],
)
def test_where_nothing_changed_hardly_a_space_is_marked(
    connection: psycopg.Connection, each: int, between: float, weekend: float
) -> None:
    rng = np.random.default_rng(each)
    marked = 0
    for turn in range(SPACES):
        levels = rng.normal(0.7, between, DAYS)  # days that differ by more than the chance of their ratings
        levels[(np.arange(DAYS) + turn) % 7 < 2] += weekend
        levels = np.clip(levels, 0, 1)
        marked += bool(changes(connection, rng, levels, each))
    print(f"{marked} of {SPACES} spaces of {each} ratings a day are marked")
    assert marked <= 3


@pytest.mark.parametrize(("each", "fall"), [(20, 0.2), (200, 0.06), (2000, 0.03)])
def test_a_change_is_found_within_days_of_when_it_happened(
    connection: psycopg.Connection, each: int, fall: float
) -> None:
    rng = np.random.default_rng(each)
    at, found, near = datetime.now(UTC).date() - timedelta(days=DAYS - 40 - 1), 0, 0
    for _ in range(SPACES):
        told = changes(connection, rng, np.where(np.arange(DAYS) < 40, 0.7, 0.7 - fall), each)
        found += len(told) == 1
        near += any(abs((day - at).days) <= 3 and abs(difference + fall) < 0.5 * fall for day, difference in told)
    print(f"a fall of {fall} of {each} ratings a day: {found} of {SPACES} found, {near} within three days")
    assert found >= 0.9 * SPACES
    assert near >= 0.75 * SPACES


@pytest.mark.parametrize("each", [40, 200])
def test_a_week_that_was_bad_is_told_by_its_two_ends(connection: psycopg.Connection, each: int) -> None:
    levels = np.full(DAYS, 0.8)
    levels[30:37] = 0.55
    first, second = changes(connection, np.random.default_rng(1), levels, each)
    start = datetime.now(UTC).date() - timedelta(days=DAYS - 1)
    assert abs((first[0] - start).days - 30) <= 1
    assert abs((second[0] - start).days - 37) <= 1
    assert first[1] == pytest.approx(-0.25, abs=0.06)
    assert second[1] == pytest.approx(0.25, abs=0.06)
