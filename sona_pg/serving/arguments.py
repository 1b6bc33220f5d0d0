"""Validation and conversion of callers' arguments."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sona_pg.domain.answer import Context
from sona_pg.domain.pattern import KINDS
from sona_pg.domain.verdict import VERDICTS
from sona_pg.errors import DimensionMismatch, InvalidValue
from sona_pg.limits import MOST_FOUND, MOST_INT8
from sona_pg.recorder import Trajectory


def as_vector(values: ArrayLike, dim: int, what: str = "embedding") -> NDArray[np.float32]:
    """Return ``values`` as a contiguous (dim,) float32 array.

    Raises:
        DimensionMismatch: it has another length.
        InvalidValue: it is not a vector of finite numbers.
    """
    vector = _as_floats(values, what)
    if vector.ndim != 1:
        raise InvalidValue(f"{what} has shape {vector.shape}, expected one vector of {dim} numbers")
    if len(vector) != dim:
        raise DimensionMismatch(dim, len(vector), what)
    return vector


def as_direction(values: ArrayLike, dim: int, what: str = "x") -> NDArray[np.float32]:
    """Return ``values`` as ``as_vector`` does; raise ``InvalidValue`` for a vector of length 0 as well."""
    vector = as_vector(values, dim, what)
    if vector[0] == 0 and not vector.any():
        raise InvalidValue(f"{what} is all 0: it points in no direction, so nothing is near it; check what made it")
    return vector


def as_directions(values: ArrayLike, dim: int, what: str) -> NDArray[np.float32]:
    """Return ``values`` as ``as_matrix`` does; raise ``InvalidValue`` for a row of length 0 as well."""
    rows = as_matrix(values, dim, what)
    require_directions(rows, what)
    return rows


def require_directions(rows: NDArray[np.float32], what: str) -> None:
    """Raise ``InvalidValue`` if one of ``rows`` (n, dim) has length 0."""
    nowhere = np.flatnonzero(~rows.any(axis=1))
    if len(nowhere):
        raise InvalidValue(f"{what}[{nowhere[0]}] is all 0: it points in no direction; check what made it")


def require_count(k: int, least: int = 1, most: int = MOST_INT8, what: str = "k") -> int:
    """Return ``k``; raise ``InvalidValue`` unless it is a whole number from ``least`` to ``most``."""
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or not least <= int(k) <= most:
        upper = "2**63 - 1" if most == MOST_INT8 else most
        raise InvalidValue(f"{what}={k!r}: expected a whole number from {least} to {upper}")
    return int(k)


def require_version(version: int, what: str = "version") -> int:
    """Return ``version``; raise ``InvalidValue`` unless it is a valid version number."""
    return require_count(version, 0, what=what)


def require_amount(amount: float, what: str, most: float = sys.float_info.max) -> float:
    """Return ``amount``; raise ``InvalidValue`` unless it is a number from 0 to ``most``."""
    if not isinstance(amount, int | float | np.integer | np.floating) or not 0 <= amount <= most:
        upper = "a finite number, 0 or more" if most == sys.float_info.max else f"a finite number, 0 to {most:g}"
        raise InvalidValue(f"{what}={amount!r} cannot work: expected {upper}")
    return float(amount)


def require_text(text: str, what: str) -> str:
    """Return ``text``; raise ``InvalidValue`` if it is blank."""
    if not isinstance(text, str) or not text.strip():
        raise InvalidValue(f"{what}={text!r}: expected a text that says something")
    return text


def as_labels(context: Context | Sequence[str]) -> tuple[str, ...]:
    """Return the labels of a context."""
    labels: Sequence[str] = ()
    if isinstance(context, Context):
        named = (("user", context.user), ("session", context.session))
        for name, value in named:
            if value is not None and not isinstance(value, str):
                raise InvalidValue(f"context.{name}={value!r}: expected a text")
        labels = (*as_labels(context.labels), *(f"{name}:{value}" for name, value in named if value is not None))
    else:
        labels = context
    if isinstance(labels, str):
        raise InvalidValue(f"context={labels!r} is one text: expected a list of labels")
    for label in labels:
        if not isinstance(label, str):
            raise InvalidValue(f"context has the label {label!r}: expected texts")
    return tuple(labels)


def as_matrix(values: ArrayLike, dim: int, what: str) -> NDArray[np.float32]:
    """Return ``values`` as a contiguous (n, dim) float32 array; the same errors as ``as_vector``."""
    matrix = _as_floats(values, what)
    if matrix.ndim != 2:
        raise InvalidValue(f"{what} has shape {matrix.shape}, expected one row of {dim} numbers each")
    if matrix.shape[1] != dim:
        raise DimensionMismatch(dim, matrix.shape[1], what)
    return matrix


def as_uuid(trajectory: UUID | str | Trajectory | Any) -> UUID:
    """Return the id of a trajectory given by id, by its text, or by handle."""
    if isinstance(trajectory, UUID):
        return trajectory
    if isinstance(trajectory, Trajectory):
        return trajectory.id
    try:
        return UUID(trajectory)
    except (ValueError, AttributeError, TypeError) as exc:
        raise InvalidValue(
            f"trajectory id {trajectory!r} is no UUID: expected the id that its recording returned"
        ) from exc


def require_search(
    vector: NDArray[np.float32], k: int, route: str | None, min_quality: float | None, since: datetime | None
) -> None:
    """Raise ``InvalidValue`` for an impossible search."""
    require_count(k, most=MOST_FOUND)
    if route is not None and (not isinstance(route, str) or "\0" in route):
        raise InvalidValue(f"route={route!r}: expected a text without NUL")
    if not 0 < float(np.linalg.norm(vector)) < np.inf:
        raise InvalidValue("what is searched has length 0 or is too long for float32: it points in no direction")
    if min_quality is not None and not (isinstance(min_quality, int | float | np.number) and 0 <= min_quality <= 1):
        raise InvalidValue(f"min_quality={min_quality!r}: expected a number in [0, 1]")
    if since is not None and not isinstance(since, datetime):
        raise InvalidValue(f"since={since!r}: expected a datetime")
    if since is not None and since.tzinfo is None:
        raise InvalidValue(f"since {since} has no time zone: expected one, such as 2026-11-22T12:00:00+00:00")


def require_filters(min_quality: float, kind: str | None, verdict: str | None) -> None:
    """Raise ``InvalidValue`` for a filter that no pattern can pass."""
    if not isinstance(min_quality, int | float | np.number) or not min_quality <= 1:
        raise InvalidValue(f"min_quality={min_quality!r}: expected a number in [0, 1]")
    if kind is not None and kind not in KINDS:
        raise InvalidValue(f"kind={kind!r}: expected one of {', '.join(KINDS)}")
    if verdict is not None and verdict not in VERDICTS:
        raise InvalidValue(f"verdict={verdict!r}: expected one of {', '.join(VERDICTS)}")


def _as_floats(values: ArrayLike, what: str) -> NDArray[np.float32]:
    try:
        given = np.asarray(values)
        if given.dtype.kind in _NO_REALS:  # NumPy would read numbers out of texts, and drop imaginary parts
            raise InvalidValue(f"{what} holds {_NO_REALS[given.dtype.kind]}, expected real numbers alone")
        with np.errstate(over="ignore"):  # what float32 cannot hold is told below
            array = np.ascontiguousarray(given, np.float32)
    except (TypeError, ValueError) as exc:
        if isinstance(exc, InvalidValue):
            raise
        reason = "its rows have different lengths" if "inhomogeneous" in str(exc) else exc
        raise InvalidValue(f"{what} is no array of real numbers: {reason}") from exc
    if not np.isfinite(array).all():
        raise InvalidValue(f"{what} has values that are not finite numbers in float32: check what made it")
    return array


# By NumPy's kind; as the recorder says it.
_NO_REALS = {"U": "texts", "S": "bytes", "O": "other things", "c": "complex numbers", "M": "dates", "m": "durations"}
