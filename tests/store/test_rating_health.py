"""The doctor says where hardly any rating is good and many requests have none: perhaps only the unhappy rate."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import psycopg
import pytest

from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import LoopConfig
from sona_pg.domain.finding import Finding
from sona_pg.store.admin.rating_health import rating_checks
from sona_pg.store.database import Database

DIM = 4
QUIET = SonaConfig(loops=LoopConfig(automatic=False))


def found(url: str, *, bad: int, good: int, unrated: int) -> list[Finding]:
    """Record requests with such ratings, sum up the day and examine."""
    with SonaEngine(DIM, url, space="support", config=QUIET) as engine:
        for quality in [0.0] * bad + [1.0] * good + [None] * unrated:
            engine.end_trajectory(engine.begin_trajectory(np.ones(DIM, np.float32)), quality)
        engine.flush()
    with closing(Database.open(url)) as database:
        database.sum_up()
    with psycopg.connect(url, autocommit=True) as raw:
        return list(rating_checks(raw))


def test_ratings_of_the_unhappy_alone_are_a_warning(database_url: str) -> None:
    (finding,) = found(database_url, bad=45, good=8, unrated=20)
    assert (finding.check, finding.status) == ("ratings", "warning")
    assert "of 73 requests in support" in finding.found
    assert "53 are rated, with a mean quality of 0.15" in finding.found


@pytest.mark.parametrize(
    ("bad", "good", "unrated"),
    [(45, 8, 5), (45, 30, 200), (30, 2, 200)],
    ids=["all rate", "the happy rate too", "too few to tell"],
)
def test_other_ratings_are_none(database_url: str, bad: int, good: int, unrated: int) -> None:
    assert found(database_url, bad=bad, good=good, unrated=unrated) == []
