"""Learning curves as pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

COLOURS = ("#14213d", "#2a9d8f", "#e07a5f", "#9b5de5", "#f4a261")


def plot_curves(curves: Mapping[str, Sequence[Mapping[str, float]]], frozen: float, path: Path) -> None:
    """Draw the mean over seeds of each curve, with the range of the seeds behind it, into ``path``."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for (name, seeds), colour in zip(curves.items(), COLOURS, strict=False):
        counts = [int(count) for count in seeds[0]]
        values = np.array([[curve[str(count)] for count in counts] for curve in seeds])
        axes.plot(counts, values.mean(axis=0), color=colour, linewidth=2, label=name)
        axes.fill_between(counts, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.2, linewidth=0)
    axes.axhline(frozen, color="#888888", linestyle="--", linewidth=1.2, label="frozen embedding")
    axes.set(xlabel="feedbacks", ylabel="held-out accuracy, %", xlim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    figure.savefig(path, dpi=150)
