"""Pieces of Prometheus' text format."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def gauge_lines(name: str, told: str, value: float) -> Iterator[str]:
    """Give one gauge of the process."""
    yield from figure_lines(name, "gauge", told, [("", value)])


def figure_lines(name: str, kind: str, told: str, values: Iterable[tuple[str, float]]) -> Iterator[str]:
    """Give the values of a figure, each with its labels."""
    yield f"# HELP {name} {told}"
    yield f"# TYPE {name} {kind}"
    yield from (f"{name}{labels} {value:.12g}" for labels, value in values)


def of_space(name: str) -> str:
    """Return the label of a space."""
    escaped = name.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'{{space="{escaped}"}}'
