"""Learning curve as an SVG file, written without a plotting library."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from sona_pg.errors import ConfigError

WIDTH, HEIGHT = 700, 420
LEFT, RIGHT, TOP, BOTTOM = 64, 684, 16, 372  # of the area between the axes, in pixels
TICKS = 5  # ticks of an axis, without its ends
SEED, MEAN, FROZEN = "#9db4c0", "#14213d", "#e07a5f"
STYLE = "text{font:13px sans-serif;fill:#222}polyline{fill:none}"


def check_output(output: Path) -> None:
    """Raise ConfigError if ``output`` is not a valid name of an SVG file."""
    if output.suffix.lower() != ".svg":
        raise ConfigError(f"the learning curve is an SVG picture: choose an --output that ends in .svg, not {output}")


def plot_curves(curves: Sequence[Sequence[tuple[int, float]]], output: Path) -> None:
    """Draw one line a seed, (feedbacks, held-out accuracy), and their mean, into ``output``.

    Raises:
        ConfigError: the file cannot be written.
    """
    shortest = min(len(curve) for curve in curves)
    mean = [(curves[0][row][0], sum(curve[row][1] for curve in curves) / len(curves)) for row in range(shortest)]
    last = max(curve[-1][0] for curve in curves) or 1
    frozen = [(0, mean[0][1]), (last, mean[0][1])]
    lines = [
        *(_line(curve, last, SEED, 1) for curve in curves),
        _line(frozen, last, FROZEN, 1.2, dashes="6 4"),
        _line(mean, last, MEAN, 2.2),
        *_legend([(MEAN, "", f"mean of {len(curves)} seeds"), (FROZEN, "6 4", "frozen embedding")]),
    ]
    size = f'width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
    picture = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}>',
        f'<style>{STYLE}</style><rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        *_axes(last),
        *lines,
        "</svg>\n",
    ]
    try:
        output.write_text("\n".join(picture), encoding="utf-8")
    except OSError as exc:
        raise ConfigError(f"{output} cannot be written: {exc.strerror}; choose another --output") from exc


def _x(feedbacks: float, last: int) -> float:
    return LEFT + (RIGHT - LEFT) * feedbacks / last


def _y(accuracy: float) -> float:
    return BOTTOM - (BOTTOM - TOP) * accuracy


def _line(points: Iterable[tuple[int, float]], last: int, colour: str, width: float, dashes: str = "") -> str:
    places = " ".join(f"{_x(feedbacks, last):.1f},{_y(accuracy):.1f}" for feedbacks, accuracy in points)
    return f'<polyline points="{places}" stroke="{colour}" stroke-width="{width}" stroke-dasharray="{dashes}"/>'


def _text(x: float, y: float, anchor: str, text: str, turned: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{turned}>{text}</text>'


def _axes(last: int) -> Iterable[str]:
    """Yield the two axes, with ticks at round numbers of feedbacks and at every fifth of accuracy."""
    yield f'<polyline points="{LEFT},{TOP} {LEFT},{BOTTOM} {RIGHT},{BOTTOM}" stroke="#222"/>'
    step = _round_step(last)
    for feedbacks in range(0, last + 1, step):
        yield f'<path d="M{_x(feedbacks, last):.1f} {BOTTOM}v5" stroke="#222"/>'
        yield _text(_x(feedbacks, last), BOTTOM + 20, "middle", f"{feedbacks:,}")
    for row in range(TICKS + 1):
        yield f'<path d="M{LEFT} {_y(row / TICKS):.1f}h-5" stroke="#222"/>'
        yield _text(LEFT - 9, _y(row / TICKS) + 4, "end", f"{row / TICKS:.1f}")
    yield _text((LEFT + RIGHT) / 2, HEIGHT - 10, "middle", "thumbs up or down")
    middle = (TOP + BOTTOM) / 2
    yield _text(18, middle, "middle", "held-out accuracy", f' transform="rotate(-90 18 {middle:.1f})"')


def _round_step(last: int) -> int:
    """Return the smallest of 1, 2, 5, 10, 20, 50, … that cuts ``last`` into at most ``TICKS`` + 1 parts."""
    scale = 1
    while True:
        for step in (scale, 2 * scale, 5 * scale):
            if last <= step * (TICKS + 1):
                return step
        scale *= 10


def _legend(entries: Iterable[tuple[str, str, str]]) -> Iterable[str]:
    for row, (colour, dashes, text) in enumerate(entries):
        y = BOTTOM - 42 + 22 * row
        yield f'<path d="M500 {y}h34" stroke="{colour}" stroke-width="2" stroke-dasharray="{dashes}"/>'
        yield _text(544, y + 4, "start", text)
