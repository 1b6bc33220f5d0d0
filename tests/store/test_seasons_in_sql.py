"""Seasons of patterns: asked in SQL like in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from fix_ledger import NOW, Ledger

from sona_pg.domain.memory import days_of
from sona_pg.learning.graph.seasons import PERIODS, Seasons, places_of
from sona_pg.store.stored_arrays import read_stored, write_stored
from sona_pg.store.transactions import transaction

DIM = 4
TODAY = days_of(NOW)


def test_the_seasons_in_sql_are_those_of_the_learner(ledger: Ledger) -> None:
    space, rng = ledger.space("seasons", DIM), np.random.default_rng(16)
    keys = [rng.integers(0, 256, 16).astype(np.uint8).tobytes() for _ in range(4)]
    counts = {
        key: {period: rng.integers(20, 30, length).astype(np.float64) / 3 for period, length in PERIODS.items()}
        for key in keys
    }
    counts[keys[0]]["hours"][9] = 90.0  # two patterns with a season
    counts[keys[1]]["weekdays"][6] = 90.0
    seasons = Seasons(TODAY, counts)
    ledger.execute(
        "INSERT INTO sona.state_versions (space_id, version, parent, cycle_id, status, created_at) "
        "VALUES (%s, 1, 0, gen_random_uuid(), 'live', %s)",
        space.space_id, NOW,
    )  # fmt: skip
    ledger.execute("UPDATE sona.spaces SET live_version = 1 WHERE space_id = %s", space.space_id)
    with transaction(ledger.database.engine, "test") as connection:
        write_stored(connection, space.space_id, 1, {"seasons": seasons.to_arrays()})
        read = {row.name: row for row in read_stored(connection, space.space_id, 1, "seasons")}
    assert {name: tuple(row.shape) for name, row in read.items()} == {
        "at": (), "keys": (4, 16), "hours": (4, 24), "weekdays": (4, 7)
    }  # fmt: skip
    found = ledger.rows("SELECT pattern_id, period, place, times, lift, seasonal FROM sona.pattern_seasons('seasons')")
    assert len(found) == 4 * (24 + 7)
    periods = {"hour": "hours", "weekday": "weekdays"}
    for pattern, period, place, times, _, _ in found:
        assert times == pytest.approx(counts[pattern.bytes][periods[period]][place], rel=1e-12)
    for hour in range(24):
        now = 20_775.0 + hour / 24 + 0.01
        at = places_of(now)
        lifts: dict[bytes, float] = {}
        for pattern, period, place, _, lift, seasonal in found:
            if seasonal and place == at[periods[period]]:
                lifts[pattern.bytes] = lifts.get(pattern.bytes, 1.0) * lift
        assert lifts == pytest.approx(seasons.lifts(now))
    assert {line[0].bytes for line in found if line[5]} >= set(keys[:2])
    with pytest.raises(Exception, match="there is no space 'nobody'"):
        ledger.rows("SELECT * FROM sona.pattern_seasons('nobody')")
