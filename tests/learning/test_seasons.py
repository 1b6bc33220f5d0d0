"""Seasons of patterns: found where the data show them, and only there."""

from __future__ import annotations

import numpy as np
import pytest

from sona_pg.learning.graph.expectation import Expectation
from sona_pg.learning.graph.seasons import Seasons, places_of
from tests.learning.graph_slices import CATALOG, DIM, PATTERNS, Turn, after, learned, pattern_of, slice_of

NINE, TEN_AT_NIGHT = 9 / 24, 22 / 24


def asked(days: int, hours: dict[int, list[float]]) -> list[Turn]:
    """Return one session a day and moment: each topic at its hours."""
    return [
        Turn(f"{topic}-{day}-{moment}", topic, topic, day=day + moment)
        for day in range(days)
        for topic, moments in hours.items()
        for moment in moments
    ]


def seasons(turns: list[Turn]) -> Seasons:
    return Seasons.from_arrays(after(slice_of(turns)).arrays["seasons"])


def test_moments_have_an_hour_and_a_weekday():
    assert places_of(0.0) == {"hours": 0, "weekdays": 3}, "1970 began on a Thursday"
    assert places_of(20_779.5) == {"hours": 12, "weekdays": 6}, "2026-11-22 is a Sunday"


def test_a_pattern_that_is_asked_about_at_one_hour_is_expected_then():
    found = seasons(asked(40, {0: [NINE], 1: [TEN_AT_NIGHT], 2: [NINE, TEN_AT_NIGHT]}))
    morning, night = found.lifts(40 + NINE), found.lifts(40 + TEN_AT_NIGHT)
    ids = [pattern.id.bytes for pattern in PATTERNS]
    assert morning[ids[0]] > 1.5
    assert morning[ids[1]] < 0.5
    assert night[ids[1]] > 1.5
    assert ids[2] not in morning, "asked about at the usual times"


def test_chance_makes_no_season():
    rng = np.random.default_rng(2)
    turns = [Turn(f"s{row}", int(rng.integers(DIM)), day=float(rng.random() * 28)) for row in range(1500)]
    found = seasons(turns)
    assert all(not found.lifts(28 + hour / 24) for hour in range(24))
    few = seasons(asked(8, {0: [NINE], 1: [TEN_AT_NIGHT]}))
    assert not few.lifts(9 + NINE)


def test_a_season_fades_merges_and_goes_with_its_pattern():
    state = after(slice_of(asked(40, {0: [NINE], 1: [TEN_AT_NIGHT]})))
    heir = pattern_of(5, merged_from=(pattern_of(0).id,))
    later = after(slice_of([Turn("z", 1, day=70)]), state, patterns=[heir, pattern_of(1)])
    found = Seasons.from_arrays(later.arrays["seasons"])
    assert set(found.counts) == {heir.id.bytes, pattern_of(1).id.bytes}
    before = Seasons.from_arrays(state.arrays["seasons"]).counts[pattern_of(0).id.bytes]["hours"]
    faded = 2.0 ** (-(70 - 39 - TEN_AT_NIGHT) / 30)
    assert found.counts[heir.id.bytes]["hours"] == pytest.approx(faded * before, rel=1e-3)


def test_what_is_in_season_is_expected_with_the_candidates_it_uses():
    turns = asked(40, {0: [NINE], 1: [TEN_AT_NIGHT]})
    graph, lifts = learned(slice_of(turns)), seasons(turns).lifts(40 + NINE)
    expected = Expectation.of(graph, PATTERNS, CATALOG, 40 + NINE, 30.0, lifts)
    slots, values = expected.slots(expected.expected(None))
    of_slot = dict(zip(slots.tolist(), values.tolist(), strict=True))
    assert of_slot.get(0, 0.0) > 0.3
    assert of_slot.get(1, 0.0) == 0.0
    assert not Expectation.of(graph, PATTERNS, CATALOG, 40 + NINE, 30.0).expected(None).any()
