"""The plane of centroids keeps the two directions along which they differ most."""

from __future__ import annotations

import numpy as np

from sona_pg.learning.patterns.plane import Plane


def test_points_of_a_plane_keep_their_distances() -> None:
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.standard_normal((16, 2)))[0].T
    rows = (rng.standard_normal((40, 2)) @ axes + 3.0).astype(np.float32)
    plane = Plane.through(rows, 16)
    places = plane.place(rows)
    apart = np.linalg.norm(rows[:, None] - rows[None], axis=2)
    assert np.allclose(np.linalg.norm(places[:, None] - places[None], axis=2), apart, atol=1e-4)
    assert np.isclose(sum(plane.explained), 1.0)
    assert plane.explained[0] >= plane.explained[1]


def test_the_same_points_are_drawn_alike_each_time() -> None:
    rows = np.random.default_rng(1).standard_normal((30, 8)).astype(np.float32)
    assert np.allclose(Plane.through(rows, 8).place(rows), Plane.through(rows[::-1], 8).place(rows), atol=1e-4)


def test_few_or_equal_points_have_a_place_too() -> None:
    for rows in (np.zeros((0, 4)), np.ones((1, 4)), np.ones((5, 4)), np.ones((3, 1))):
        placed = Plane.through(rows.astype(np.float32), rows.shape[1]).place(rows.astype(np.float32))
        assert placed.shape == (len(rows), 2)
        assert np.isfinite(placed).all()
