"""The learning curve of the README as SVG, from the figures of ``make eval``.

``python -m benchmarks.eval.learning_svg build/eval/retrieval-test.json > docs/figures/learning-curve.svg``
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

WIDTH, HEIGHT = 780, 340
LEFT, RIGHT, TOP, BOTTOM = 52, 540, 34, 296  # of the area between the axes, in pixels
LOWEST, HIGHEST = 65, 97  # per cent
COUNTS = {"1k": 1000, "5k": 5000, "10k": 10_000}
LINES = {  # method: its name in the picture, colour, width
    "sona-pg, right answer told": ("sona-pg, told the answer", "#0f766e", 2.6),
    "sona-pg, thumbs only": ("sona-pg, thumbs", "#1d4ed8", 2.6),
    "centroid memory, thumbs only": ("centroid memory, thumbs", "#9a6b00", 1.4),
    "logistic regression, thumbs only": ("logistic regression, thumbs", "#b4533c", 1.4),
    "frozen embedding, thumbs only": ("frozen embedding", "#6b7280", 1.4),
}
STYLE = "text{font:12px system-ui,sans-serif;fill:#111827}polyline{fill:none}"


def picture(told: dict[str, Any]) -> str:
    """Return the SVG of a table of the experiment ``retrieval``: mean over seeds with its 95 % interval."""
    cells = {(cell["method"], cell["heading"]): cell for cell in told["cells"]}
    start = cells["frozen embedding, thumbs only", "1k"]["mean"]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}">',
        f'<title>{told["title"]}</title><style>{STYLE}</style><rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="12" y="18">Right answers to unseen queries, % from {LOWEST} on (CLINC150, 150 intents)</text>',
        *_axes(),
    ]
    for method, (name, colour, width) in LINES.items():
        found = [(count, cells[method, heading]) for heading, count in COUNTS.items()]
        places = [(0, start), *((count, cell["mean"]) for count, cell in found)]
        points = " ".join(f"{_x(count):.1f},{_y(mean):.1f}" for count, mean in places)
        parts.append(f'<polyline points="{points}" stroke="{colour}" stroke-width="{width}"/>')
        for count, cell in found:
            ends = _y(cell["mean"] + cell["ci95"]), _y(cell["mean"] - cell["ci95"])
            parts.append(f'<path d="M{_x(count):.1f} {ends[0]:.1f}V{ends[1]:.1f}" stroke="{colour}" stroke-width="4"/>')
        last = places[-1][1]
        parts.append(f'<text x="{RIGHT + 10}" y="{_y(last) + 4:.1f}" style="fill:{colour}">{last:.1f} {name}</text>')
    return "\n".join([*parts, "</svg>\n"])


def _x(count: int) -> float:
    return LEFT + (RIGHT - LEFT) * count / max(COUNTS.values())


def _y(percent: float) -> float:
    return BOTTOM - (BOTTOM - TOP) * (percent - LOWEST) / (HIGHEST - LOWEST)


def _axes() -> Iterator[str]:
    yield f'<polyline points="{LEFT},{TOP} {LEFT},{BOTTOM} {RIGHT},{BOTTOM}" stroke="#111827"/>'
    for percent in range(70, HIGHEST, 5):
        yield f'<path d="M{LEFT} {_y(percent):.1f}H{RIGHT}" stroke="#e5e7eb"/>'
        yield f'<text x="{LEFT - 8}" y="{_y(percent) + 4:.1f}" text-anchor="end">{percent}</text>'
    for count in (0, *COUNTS.values()):
        yield f'<text x="{_x(count):.1f}" y="{BOTTOM + 18}" text-anchor="middle">{count:,}</text>'
    yield f'<text x="{(LEFT + RIGHT) / 2}" y="{BOTTOM + 36}" text-anchor="middle">answers that were judged</text>'


if __name__ == "__main__":
    sys.stdout.write(picture(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
