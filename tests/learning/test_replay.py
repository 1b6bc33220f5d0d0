"""The reservoir: a uniform sample of bounded size, the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest

from sona_pg.learning.replay import Reservoir


def ids(first: int, n: int) -> np.ndarray:
    return np.arange(first, first + n, dtype=">u8").view(np.uint8).reshape(n, 8).repeat(2, axis=1)


def test_it_keeps_everything_until_it_is_full_and_never_more():
    held = Reservoir.empty(10).offer(ids(0, 7), 0)
    assert len(held.ids) == 7
    held = held.offer(ids(7, 1000), 1)
    assert (len(held.ids), held.seen) == (10, 1007)


def test_every_id_is_kept_with_the_same_probability():
    counts = np.zeros(40)
    for seed in range(3000):
        held = Reservoir.empty(8).offer(ids(0, 15), seed).offer(ids(15, 25), seed)
        counts[held.ids[:, -1].astype(int)] += 1
    assert abs(counts / 3000 - 0.2).max() < 0.04


def test_the_same_seed_gives_the_same_sample_and_storing_changes_nothing():
    one, other = (Reservoir.empty(8).offer(ids(0, 100), 3) for _ in range(2))
    np.testing.assert_array_equal(one.ids, other.ids)
    again = Reservoir.from_arrays(one.to_arrays(), 8)
    np.testing.assert_array_equal(again.ids, one.ids)
    assert again.seen == 100


@pytest.mark.parametrize("capacity", [0, 3])
def test_nothing_offered_and_nothing_wanted_are_fine(capacity):
    held = Reservoir.empty(capacity).offer(ids(0, 0), 0).offer(ids(0, 2), 0)
    assert len(held.ids) == min(capacity, 2)
    assert len(Reservoir.from_arrays(held.to_arrays(), 1).ids) <= 1
