"""Walks against the definition in Python, draw by draw, and their distribution against the transition matrix."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from sona_pg import kernels
from sona_pg.errors import DimensionMismatch, InvalidValue

MASK = 2**64 - 1


class SplitMix:
    """SplitMix64 in whole numbers."""

    def __init__(self, seed: int, walk: int) -> None:
        self.state = (seed + walk * 0xD1342543DE82EF95) & MASK
        self.state = self.next()

    def next(self) -> int:
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ z >> 27) * 0x94D049BB133111EB) & MASK
        return z ^ z >> 31

    def uniform(self) -> float:
        return (self.next() >> 11) * 2.0**-53


def graph(nodes: int = 40, degree: int = 6, seed: int = 0) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    degrees = random.integers(0, degree + 1, nodes)
    edges = int(degrees.sum())
    return {
        "starts": np.concatenate([[0], np.cumsum(degrees)]).astype(np.int64),
        "targets": random.integers(0, nodes, edges).astype(np.int32),
        "weights": random.random(edges, np.float32),
        "reinforced": random.random(edges) * 90.0,
        "kinds": random.integers(0, 3, edges).astype(np.uint8),
        "accesses": random.integers(0, 50, nodes),
        "begin": np.cumsum(random.random(nodes)),
        "jump": np.cumsum(np.ones(nodes)),
        "chances": (0.3, 0.1, 1.0),
        "moment": (60.0, 30.0, 1),
    }


def strengths(g: dict[str, Any], row: int) -> tuple[list[int], list[float]]:
    """Ends of a node's edges, and the probability of each before normalisation."""
    edges = range(g["starts"][row], g["starts"][row + 1])
    now, half_life, lasting = g["moment"]
    drawn = [
        float(g["weights"][e])
        * 2.0 ** (-max(now - float(g["reinforced"][e]), 0.0) / half_life * (g["kinds"][e] != lasting))
        * (1.0 + 1.0 / (1.0 + int(g["accesses"][g["targets"][e]])))
        for e in edges
    ]
    return [int(g["targets"][e]) for e in edges], [value ** (1.0 / g["chances"][2]) for value in drawn]


def walked(g: dict[str, Any], seed: int, number: int, path: int) -> tuple[list[int], list[int]]:
    """One walk by the definition."""
    draw = SplitMix(seed, number)
    jump, restart, _ = g["chances"]

    def drawn(sums: Any) -> int:
        wanted = draw.uniform() * sums[-1]
        return int(np.searchsorted(sums, wanted, side="right"))

    home = row = drawn(g["begin"])
    rows, marks = [row], [0]
    for _ in range(path - 1):
        jumped = draw.uniform() < jump
        if jumped:
            row = drawn(g["jump"])
        elif draw.uniform() < restart:
            row = home
        else:
            wanted = draw.uniform()
            ends, shares = strengths(g, row)
            sums = np.cumsum(shares)
            row = ends[int(np.searchsorted(sums, wanted * sums[-1], side="right"))] if sum(shares) > 0 else home
        rows.append(row)
        marks.append(int(jumped))
    return rows, marks


@pytest.mark.parametrize("temperature", [1.0, 0.3, 4.0])
@pytest.mark.parametrize("seed", [0, 2**63 + 1])
def test_each_step_is_that_of_the_definition(isa: str, temperature: float, seed: int) -> None:
    g = graph()
    g["chances"] = (0.3, 0.1, temperature)
    rows, marks = kernels.dream_walks(**g, seed=seed, first=3, count=20, path=15)
    for number in range(20):
        expected = walked(g, seed, 3 + number, 15)
        assert (rows[number].tolist(), marks[number].tolist()) == expected


def test_a_walk_depends_on_its_seed_and_number_alone(isa: str) -> None:
    g = graph()
    all_of_them, _ = kernels.dream_walks(**g, seed=5, first=0, count=9, path=15)
    later, _ = kernels.dream_walks(**g, seed=5, first=6, count=3, path=15)
    assert (all_of_them[6:] == later).all()
    assert not (kernels.dream_walks(**g, seed=6, first=0, count=9, path=15)[0] == all_of_them).all()


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_steps_are_distributed_as_the_transition_matrix_says(temperature: float) -> None:
    g = graph(nodes=12, degree=5, seed=3)
    g["chances"] = (0.0, 0.0, temperature)
    rows, _ = kernels.dream_walks(**g, seed=1, first=0, count=20_000, path=3)
    for row in range(12):
        ends, shares = strengths(g, row)
        followed = rows[rows[:, 0] == row, 1]
        expected = np.bincount(ends, np.array(shares) / sum(shares), 12) if shares else np.eye(12)[row]
        observed = np.bincount(followed, minlength=12) / len(followed)
        assert np.abs(observed - expected).max() < 4.5 * 0.5 / math.sqrt(len(followed))


def test_starts_and_jumps_follow_their_sums() -> None:
    g = graph(nodes=4)
    g["begin"], g["jump"] = np.cumsum([1.0, 0.0, 2.0, 1.0]), np.cumsum([0.0, 1.0, 0.0, 3.0])
    g["chances"] = (1.0, 0.0, 1.0)
    rows, marks = kernels.dream_walks(**g, seed=0, first=0, count=8000, path=2)
    assert np.bincount(rows[:, 0], minlength=4) / 8000 == pytest.approx([0.25, 0.0, 0.5, 0.25], abs=0.03)
    assert np.bincount(rows[:, 1], minlength=4) / 8000 == pytest.approx([0.0, 0.25, 0.0, 0.75], abs=0.03)
    assert marks[:, 1].all()
    assert not marks[:, 0].any()


def test_an_old_edge_of_a_forgotten_weight_is_not_followed() -> None:
    g = graph(nodes=3, degree=0)
    g |= {"starts": np.array([0, 2, 2, 2]), "targets": np.array([1, 2], np.int32), "weights": np.ones(2, np.float32)}
    g |= {
        "reinforced": np.array([0.0, 99_000.0]),
        "moment": (99_000.0, 30.0, 1),
        "kinds": np.zeros(2, np.uint8),
        "chances": (0.0, 0.0, 1.0),
    }
    rows, _ = kernels.dream_walks(**g, seed=0, first=0, count=200, path=2, home=0)
    assert set(rows[:, 1].tolist()) == {2}


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"starts": np.zeros(7, np.int64)}, DimensionMismatch),
        ({"starts": np.arange(41)[::-1].copy()}, InvalidValue),
        ({"targets": None}, InvalidValue),
        ({"begin": np.zeros(40)}, InvalidValue),
        ({"moment": (0.0, 0.0, 1)}, InvalidValue),
        ({"chances": (0.3, 0.1, 0.0)}, InvalidValue),
        ({"home": 40}, InvalidValue),
        ({"path": 0}, InvalidValue),
    ],
)
def test_input_that_no_walk_can_use_is_refused(changes: dict[str, Any], error: type[Exception]) -> None:
    g = {**graph(), "seed": 0, "first": 0, "count": 1, "path": 3}
    with pytest.raises(error):
        kernels.dream_walks(**(g | changes))


def test_an_edge_that_leaves_the_graph_is_refused() -> None:
    g = graph()
    g["targets"] = np.full_like(g["targets"], 40)
    g["chances"] = (0.0, 0.0, 1.0)
    with pytest.raises(InvalidValue, match="outside of the graph"):
        kernels.dream_walks(**g, seed=0, first=0, count=50, path=5)
