"""Limited-memory BFGS for a smooth function of one array."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

_ARMIJO = 1e-4
_MAX_BACKTRACKS = 8
_BACKTRACK = 0.1, 0.5  # bounds of the factor by which a failed step is shortened
_LEAST_CURVATURE = 1e-10


class SearchPoint(Protocol):
    """An objective at one point; its gradient is computed on demand."""

    @property
    def at(self) -> FloatArray:
        """The point."""

    @property
    def value(self) -> float:
        """The objective's value there."""

    def gradient(self) -> FloatArray:
        """Return the gradient there, in the shape of the point."""

    def line(self, direction: FloatArray) -> Callable[[float], Self]:
        """Return the function of a step that gives the point `at - step * direction`."""


Point = TypeVar("Point", bound=SearchPoint)


class _Pair(NamedTuple):
    moved: FloatArray  # change of x (s in the literature)
    turned: FloatArray  # change of the gradient (y)
    scaled: FloatArray  # `turned` times the given inverse Hessian
    inverse: float  # 1 / (moved · turned)


def minimise(
    start: Point,
    *,
    iterations: int,
    memory: int = 6,
    tolerance: float = 1e-3,
    inverse: Callable[[FloatArray], FloatArray] | None = None,
) -> Point:
    """Return a point no worse than `start`, after at most `iterations` accepted steps.

    Stops early when the norm of the gradient has fallen to `tolerance` times its first value, or when no step along
    the direction lowers the value (the limit of float32).

    `inverse` multiplies by an approximate inverse Hessian, symmetric and positive definite, used as a preconditioner: a
    good one saves most iterations.

    Two-loop recursion of Nocedal and Wright, "Numerical Optimization", algorithm 7.4, with Armijo
    backtracking by interpolation (section 3.5); pairs without positive curvature are not stored, so a
    non-convex objective is safe.
    """
    point, gradient = start, start.gradient()
    scaled = gradient if inverse is None else inverse(gradient)
    enough = tolerance * float(np.linalg.norm(gradient))
    pairs: deque[_Pair] = deque(maxlen=memory)
    for left in reversed(range(iterations)):
        length = float(np.linalg.norm(gradient))
        if not length > enough:
            break
        if pairs:
            direction = _two_loop(gradient, scaled, pairs)
        else:
            direction = scaled / np.float32(length) if inverse is None else scaled
        slope = -float(np.vdot(gradient, direction))
        found = _lower(point, direction, slope) if slope < 0.0 else None
        if found is None:
            break
        if not left:  # the last gradient is not needed
            return found
        moved, turned = found.at - point.at, -gradient
        point, gradient = found, found.gradient()
        turned += gradient
        scaled_before, scaled = scaled, gradient if inverse is None else inverse(gradient)
        curvature = float(np.vdot(moved, turned))
        if curvature > _LEAST_CURVATURE * float(np.vdot(turned, turned)):
            pairs.append(_Pair(moved, turned, turned if inverse is None else scaled - scaled_before, 1.0 / curvature))
    return point


def _lower(point: Point, direction: FloatArray, slope: float) -> Point | None:
    """Return a point on a line that is lower by Armijo's condition; None if no step along it is."""
    line, step = point.line(direction), 1.0
    for _ in range(_MAX_BACKTRACKS):
        found = line(step)
        if found.value <= point.value + _ARMIJO * step * slope:
            return found
        step *= _shortened(step * slope, found.value - point.value)
    return None


def _shortened(expected: float, found: float) -> float:
    """Return the factor that shortens a step to the minimum of the interpolating parabola."""
    least, most = _BACKTRACK
    if not found - expected > 0.0 or not np.isfinite(found):
        return least
    return min(max(-expected / (2.0 * (found - expected)), least), most)


def _two_loop(gradient: FloatArray, scaled: FloatArray, pairs: deque[_Pair]) -> FloatArray:
    """Return the product of the inverse Hessian approximation with the gradient (two-loop recursion).

    `scaled` is the gradient times the given inverse, the recursion's initial matrix.
    """
    rest, direction = gradient.copy(), scaled.copy()
    coefficients: list[float] = []
    for pair in reversed(pairs):
        coefficient = pair.inverse * float(np.vdot(pair.moved, rest))
        coefficients.append(coefficient)
        rest -= np.float32(coefficient) * pair.turned
        direction -= np.float32(coefficient) * pair.scaled
    last = pairs[-1]
    direction *= np.float32(1.0 / (last.inverse * float(np.vdot(last.turned, last.scaled))))
    for pair, coefficient in zip(pairs, reversed(coefficients), strict=True):
        direction += np.float32(coefficient - pair.inverse * float(np.vdot(pair.turned, direction))) * pair.moved
    return direction
