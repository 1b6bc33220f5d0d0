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


def corrected(held: Reservoir) -> list[int]:
    return held.corrected[:, -1].tolist()


def test_the_latest_corrected_are_replayed_beside_the_sample_which_stays_as_it_is():
    usual = Reservoir.empty(80).offer(ids(0, 200), 3)
    held = usual.keeping(ids(0, 0), ids(190, 10))
    np.testing.assert_array_equal(held.ids, usual.ids)
    replayed = {row.tobytes() for row in held.replayed}
    assert replayed == {row.tobytes() for row in (*usual.ids, *ids(190, 10))}
    assert len(held.replayed) == len(replayed) <= 90
    assert held.is_stratified
    assert held.weights(held.replayed).sum() == pytest.approx(200)
    assert held.weights(ids(190, 10)).tolist() == [1.0] * 10
    assert held.sampled(held.replayed).sum() == 80
    np.testing.assert_array_equal(usual.replayed, usual.ids)


def test_of_the_corrected_the_latest_are_kept_and_those_taken_back_are_not():
    held = Reservoir.empty(32).offer(ids(0, 32), 0).keeping(ids(0, 0), ids(0, 3))
    held = held.keeping(ids(1, 2), ids(3, 1))  # 0 was taken back
    assert corrected(held) == [1, 2, 3]
    held = held.keeping(ids(2, 2), ids(1, 1))  # 1 was corrected again
    assert corrected(held) == [2, 3, 1]
    held = held.keeping(held.corrected[np.argsort(held.corrected[:, -1])], ids(7, 2))
    assert corrected(held) == [3, 1, 7, 8]  # an eighth of the sample's places
    assert not held.is_stratified  # the sample has everything
    assert len(Reservoir.empty(100_000).keeping(ids(0, 0), ids(0, 5000)).corrected) == 1024
    assert not len(Reservoir.empty(0).keeping(ids(0, 0), ids(0, 5)).corrected)


def test_versions_from_before_corrections_were_kept_are_read_and_store_nothing_else():
    before = Reservoir.empty(64).offer(ids(0, 100), 3)
    stored = before.to_arrays()
    assert "corrected" not in stored
    held = Reservoir.from_arrays(stored, 64).keeping(before.ids[:2], ids(100, 3))  # two corrections in the sample
    again = Reservoir.from_arrays(held.to_arrays(), 64)
    np.testing.assert_array_equal(again.corrected, np.concatenate([before.ids[:2], ids(100, 3)]))
