"""Limited-memory BFGS: minimise a smooth function of one array with a handful of gradients."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Objective = Callable[[FloatArray], tuple[float, FloatArray]]

_ARMIJO = 1e-4
_MOST_HALVINGS = 8
_LEAST_CURVATURE = 1e-10


def minimise(
    objective: Objective,
    start: FloatArray,
    *,
    iterations: int,
    memory: int = 6,
    tolerance: float = 1e-3,
) -> FloatArray:
    """Return a point no worse than `start`, after at most `iterations` accepted steps.

    `objective(x)` returns the value and the gradient, of the shape of `x`, which may be anything.
    It stops early when the gradient's norm has fallen to `tolerance` times what it was, or when no
    step along the direction lowers the value (float32 has no more to give).

    Two-loop recursion of Nocedal and Wright, "Numerical Optimization", algorithm 7.4, with Armijo
    backtracking; pairs without positive curvature are not stored, so a non-convex objective is safe.
    """
    x = start
    value, gradient = objective(x)
    enough = tolerance * float(np.linalg.norm(gradient))
    pairs: deque[tuple[FloatArray, FloatArray, float]] = deque(maxlen=memory)
    for _ in range(iterations):
        if not float(np.linalg.norm(gradient)) > enough:
            break
        direction = _two_loop(gradient, pairs)
        slope = -float(np.vdot(gradient, direction))
        if not slope < 0.0:
            break
        step = 1.0
        for _ in range(_MOST_HALVINGS):
            candidate = x - np.float32(step) * direction
            candidate_value, candidate_gradient = objective(candidate)
            if candidate_value <= value + _ARMIJO * step * slope:
                break
            step *= 0.4
        else:
            break
        moved, turned = candidate - x, candidate_gradient - gradient
        curvature = float(np.vdot(moved, turned))
        if curvature > _LEAST_CURVATURE * float(np.vdot(turned, turned)):
            pairs.append((moved, turned, 1.0 / curvature))
        x, value, gradient = candidate, candidate_value, candidate_gradient
    return x


def _two_loop(gradient: FloatArray, pairs: deque[tuple[FloatArray, FloatArray, float]]) -> FloatArray:
    """Multiply the gradient by the inverse Hessian that the stored pairs describe."""
    if not pairs:
        return gradient / np.float32(np.linalg.norm(gradient))
    direction = gradient.copy()
    coefficients: list[float] = []
    for moved, turned, inverse in reversed(pairs):
        coefficient = inverse * float(np.vdot(moved, direction))
        coefficients.append(coefficient)
        direction -= np.float32(coefficient) * turned
    moved, turned, inverse = pairs[-1]
    direction *= np.float32(1.0 / (inverse * float(np.vdot(turned, turned))))
    for (moved, turned, inverse), coefficient in zip(pairs, reversed(coefficients), strict=True):
        direction += np.float32(coefficient - inverse * float(np.vdot(turned, direction))) * moved
    return direction
