"""Embeddings converted as they are read: equal to the whole array, whatever is read, selected or added."""

from __future__ import annotations

import numpy as np
import pytest

from sona_pg.learning.graph.node_vectors import NodeVectors, followed_by, halved, selected

RNG = np.random.default_rng(4)
HALVES, SINGLES = RNG.standard_normal((5, 3)).astype(np.float16), RNG.standard_normal((3, 3)).astype(np.float32)
PLACE = np.array([0, -1, 1, 2, -2, 3, -3, 4], np.int32)
WHOLE = np.stack([HALVES[at].astype(np.float32) if at >= 0 else SINGLES[-1 - at] for at in PLACE])
ROWS = [np.array([7, 1, 1, 0]), np.array([1, 4]), np.array([0, 2]), np.zeros(0, np.int64), slice(2, 6), slice(9, 12)]


@pytest.mark.parametrize("rows", ROWS, ids=str)
def test_rows_are_those_of_the_whole_array(rows: np.ndarray | slice) -> None:
    vectors = NodeVectors(HALVES, SINGLES, PLACE)
    assert (vectors[rows] == WHOLE[rows]).all()
    assert vectors[rows].shape == WHOLE[rows].shape
    assert vectors[rows].dtype == np.float32
    if isinstance(rows, np.ndarray):
        assert (halved(vectors, rows) == WHOLE[rows].astype(np.float16)).all()
        assert (np.asarray(selected(vectors, rows)) == WHOLE[rows]).all()


def test_one_row_and_all_rows_are_read() -> None:
    vectors = NodeVectors(HALVES, SINGLES, PLACE)
    assert (vectors[6] == WHOLE[6]).all()
    assert (vectors[np.int64(0)] == WHOLE[0]).all()
    assert (np.asarray(vectors) == WHOLE).all()
    assert np.asarray(vectors, np.float64).dtype == np.float64
    assert (vectors.shape, len(vectors)) == (WHOLE.shape, 8)


def test_rows_are_added_after_others_were_dropped() -> None:
    kept, more = np.array([0, 1, 6]), RNG.standard_normal((2, 3)).astype(np.float32)
    for embeddings in (NodeVectors(HALVES, SINGLES, PLACE), WHOLE):
        grown = followed_by(followed_by(selected(embeddings, kept), more), more[:1])
        assert (np.asarray(grown) == np.concatenate([WHOLE[kept], more, more[:1]])).all()


def test_a_graph_without_stored_vectors_has_rows_all_the_same() -> None:
    vectors = NodeVectors(np.zeros((0, 3), np.float16), SINGLES, np.array([-3, -1], np.int32))
    assert (np.asarray(vectors) == SINGLES[[2, 0]]).all()
