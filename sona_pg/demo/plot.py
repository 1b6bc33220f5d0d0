"""The learning curve as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sona_pg.errors import ConfigError


def plot_curves(curves: Sequence[Sequence[tuple[int, float]]], output: Path) -> None:
    """Write one line a seed, (feedbacks, held-out accuracy), and their mean, to ``output``.

    Raises:
        ConfigError: matplotlib is missing, or the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as exc:
        raise ConfigError("the plot needs an extra: pip install 'sona-pg[demo]'") from exc
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for curve in curves:
        axes.plot(*zip(*curve, strict=True), color="#9db4c0", linewidth=1)
    shortest = min(len(curve) for curve in curves)
    mean = [(curves[0][row][0], sum(curve[row][1] for curve in curves) / len(curves)) for row in range(shortest)]
    axes.plot(*zip(*mean, strict=True), color="#14213d", linewidth=2.2, label=f"mean of {len(curves)} seeds")
    axes.axhline(mean[0][1], color="#e07a5f", linestyle="--", linewidth=1.2, label="frozen embedding")
    axes.set(xlabel="thumbs up or down", ylabel="held-out accuracy", ylim=(0, 1), xlim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    try:
        figure.savefig(output, dpi=150)
    except OSError as exc:
        raise ConfigError(f"{output} cannot be written: {exc.strerror}; choose another --output") from exc
