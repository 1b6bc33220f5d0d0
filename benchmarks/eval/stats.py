"""Figures over seeds, and the tables they make."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import t as student


@dataclass(frozen=True, slots=True)
class Target:
    """A figure to reach: at least (or ``at_most``) ``value``."""

    value: float
    at_most: bool = False

    def reached(self, figure: float) -> bool:
        """Whether ``figure`` is good enough; not rounded, so 94.97 does not reach 95."""
        return figure <= self.value if self.at_most else figure >= self.value


@dataclass(frozen=True, slots=True)
class Cell:
    """One method's figure under one heading, over all seeds."""

    method: str
    heading: str
    values: tuple[float, ...]
    target: Target | None = None

    @property
    def mean(self) -> float:
        """The mean over seeds."""
        return float(np.mean(self.values))

    @property
    def half_width(self) -> float:
        """Half the 95 % confidence interval of the mean (Student's t); NaN for one seed."""
        n = len(self.values)
        if n < 2:
            return float("nan")
        return float(student.ppf(0.975, n - 1) * np.std(self.values, ddof=1) / np.sqrt(n))

    @property
    def reached(self) -> bool | None:
        """Whether the target is reached; None without a target."""
        return None if self.target is None else self.target.reached(self.mean)

    def text(self, digits: int) -> str:
        """Return ``mean ± half width``, then the target and whether it is reached."""
        text = f"{self.mean:.{digits}f}"
        if len(self.values) > 1:
            text += f" ± {self.half_width:.{digits}f}"
        if self.target is not None:
            sign = "≤" if self.target.at_most else "≥"
            text += f" ({sign} {self.target.value:g}: {'yes' if self.reached else 'no'})"
        return text

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        interval = None if len(self.values) < 2 else self.half_width
        return {**dataclasses.asdict(self), "mean": self.mean, "ci95": interval, "reached": self.reached}


@dataclass(frozen=True, slots=True)
class Table:
    """An experiment's figures: methods by headings."""

    name: str
    title: str
    cells: Sequence[Cell]
    digits: int = 1
    notes: Sequence[str] = ()

    def text(self) -> str:
        """Return it as Markdown."""
        headings = list(dict.fromkeys(cell.heading for cell in self.cells))
        methods = list(dict.fromkeys(cell.method for cell in self.cells))
        known = {(cell.method, cell.heading): cell.text(self.digits) for cell in self.cells}
        rows = [["", *headings]]
        rows += [[method, *(known.get((method, heading), "") for heading in headings)] for method in methods]
        widths = [max(len(row[column]) for row in rows) for column in range(len(headings) + 1)]
        lines = ["| " + " | ".join(entry.ljust(width) for entry, width in zip(row, widths, strict=True)) + " |"
                 for row in rows]  # fmt: skip
        lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
        return "\n".join([f"### {self.title}", "", *lines, *(["", *self.notes] if self.notes else [])])

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {
            "name": self.name,
            "title": self.title,
            "cells": [cell.as_dict() for cell in self.cells],
            "notes": list(self.notes),
        }


Figures = dict[str, dict[str, float]]
"""Results of one seed: method -> heading -> figure."""


def gather(seeds: Sequence[Figures], targets: dict[tuple[str, str], Target] | None = None) -> list[Cell]:
    """Return one cell for each method and heading, in the order in which the seeds name them; a seed may lack some."""
    targets = targets or {}
    named = dict.fromkeys((method, heading) for figures in seeds for method, row in figures.items() for heading in row)
    return [
        Cell(
            method,
            heading,
            tuple(figures[method][heading] for figures in seeds if heading in figures.get(method, {})),
            targets.get((method, heading)),
        )
        for method, heading in named
    ]
