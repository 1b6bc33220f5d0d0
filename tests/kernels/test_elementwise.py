"""Fisher, EWC, normalisation and finiteness against float64."""

from __future__ import annotations

import numpy as np
import pytest

from sona_pg import kernels
from sona_pg.errors import InvalidValue

from .conftest import LENGTHS, Maker, gamma


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("decay", [0.0, 0.9, 0.999, 1.0])
def test_fisher_is_the_moving_average_of_squares(isa: str, floats: Maker, n: int, decay: float) -> None:
    F, g = np.abs(floats(n)), floats(n)
    exact = decay * F.astype(np.float64) + (1 - decay) * g.astype(np.float64) ** 2
    kernels.fisher_update(F, g, decay)
    assert np.all(np.abs(F - exact) <= gamma(4) * exact)  # all terms are positive: the error is relative


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("step", [0.0, 1e-3, 1.0, 1e6])
def test_the_proximal_step_meets_its_formula(isa: str, floats: Maker, n: int, step: float) -> None:
    theta, F, optimum = floats(n), np.abs(floats(n)), floats(n)
    pull = np.float64(np.float32(step)) * F
    exact = (theta + pull * optimum) / (1 + pull)
    magnitude = (np.abs(theta) + pull * np.abs(optimum)) / (1 + pull)
    kernels.ewc_prox(theta, F, optimum, step)
    assert np.all(np.abs(theta - exact) <= gamma(6) * magnitude)


@pytest.mark.parametrize("d", LENGTHS)
def test_rows_are_normalised_and_zero_rows_counted(isa: str, floats: Maker, d: int) -> None:
    X = floats(6, d)
    X[1] = 0
    X[2] *= np.float32(1e-25)  # squares underflow float32
    X[3] *= np.float32(1e25)  # squares overflow it
    exact = X.astype(np.float64)
    lengths = np.linalg.norm(exact, axis=1)
    exact /= np.where(lengths == 0, 1, lengths)[:, None]
    out = floats(6, d)
    assert kernels.normalize_rows(X, out) == np.sum(lengths == 0)
    # The sum of squares carries gamma(d), its root half of that, then a division and a product.
    assert np.all(np.abs(out - exact) <= gamma(d / 2 + 4) * np.abs(exact))
    kernels.normalize_rows(X, X)
    np.testing.assert_array_equal(X, out)


@pytest.mark.parametrize("n", LENGTHS)
def test_every_position_of_a_value_that_is_not_finite_is_seen(isa: str, floats: Maker, n: int) -> None:
    x = floats(n)
    if n:
        x[0] = np.finfo(np.float32).max
        x[-1] = -np.finfo(np.float32).max
    assert kernels.all_finite(x)
    for at in range(0, n, max(1, n // 40)):
        for poison in (np.nan, np.inf, -np.inf):
            kept, x[at] = x[at], poison
            assert not kernels.all_finite(x)
            x[at] = kept


def test_wrong_arguments_are_named(floats: Maker) -> None:
    with pytest.raises(InvalidValue, match=r"g has shape \(3,\), expected \(4,\)"):
        kernels.fisher_update(floats(4), floats(3), 0.5)
    with pytest.raises(InvalidValue, match=r"decay is 1\.5"):
        kernels.fisher_update(floats(4), floats(4), 1.5)
    with pytest.raises(InvalidValue, match="step is nan"):
        kernels.ewc_prox(floats(4), floats(4), floats(4), float("nan"))
    with pytest.raises(InvalidValue, match="step is -1"):
        kernels.ewc_prox(floats(4), floats(4), floats(4), -1.0)
