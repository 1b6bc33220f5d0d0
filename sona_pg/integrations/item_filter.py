"""Filters of LangGraph's ``search``: exact values, nested ones, and comparisons."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "$eq": operator.eq,
    "$ne": operator.ne,
    "$gt": lambda value, bound: float(value) > float(bound),
    "$gte": lambda value, bound: float(value) >= float(bound),
    "$lt": lambda value, bound: float(value) < float(bound),
    "$lte": lambda value, bound: float(value) <= float(bound),
}


def passes(value: Any, wanted: Any) -> bool:
    """Return whether a stored value is as wanted.

    Raises:
        ValueError: a comparison is unknown.
    """
    if isinstance(wanted, Mapping):
        if any(str(name).startswith("$") for name in wanted):
            return all(_compares(name, value, bound) for name, bound in wanted.items())
        return isinstance(value, Mapping) and all(passes(value.get(name), one) for name, one in wanted.items())
    if isinstance(wanted, list | tuple):
        if not isinstance(value, list | tuple) or len(value) != len(wanted):
            return False
        return all(passes(one, other) for one, other in zip(value, wanted, strict=True))
    return bool(value == wanted)


def _compares(name: str, value: Any, bound: Any) -> bool:
    comparison = COMPARISONS.get(name)
    if comparison is None:
        raise ValueError(f"unknown comparison {name!r}: expected one of {', '.join(COMPARISONS)}")
    try:
        return comparison(value, bound)
    except (TypeError, ValueError):  # a value that is no number is neither more nor less
        return False
