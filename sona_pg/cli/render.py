"""Output: tables on a terminal, JSON in a pipe or with ``--json``."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

WIDE = 60  # characters of a cell
NARROW = 24  # to which a long text is cut before columns are left out


_forced = False


def wants_json() -> bool:
    """Whether to print JSON: with ``--json``, or if standard output is no terminal."""
    return _forced or not sys.stdout.isatty()


def force_json(given: bool) -> None:
    """Note for the command that runs whether ``--json`` was given."""
    global _forced
    _forced = given


def show_rows(rows: Sequence[Mapping[str, Any]], title: str, hide: Sequence[str] = (), *, wrap: bool = False) -> None:
    """Print rows as a table, or as one JSON object a line.

    Of a table that is wider than the terminal, the last columns are left out; with ``wrap`` its cells are wrapped.
    """
    if wants_json():
        for row in rows:
            print(json.dumps(row, default=_plain))
        return
    console = Console()
    if not rows:
        console.print(f"{title}: none yet")
        return
    names = [name for name in rows[0] if name not in hide]
    cells = [[str(row[name]) if wrap else _cell(row[name]) for name in names] for row in rows]
    shown = len(names) if wrap else _fitting(names, cells, console.width)
    told = f"not shown: {', '.join(names[shown:])} (see --json)" if shown < len(names) else None
    table = Table(title=title, title_justify="left", caption=told, caption_justify="left")
    most = None if wrap else _longest_shown(names[:shown], cells, console.width)
    for name in names[:shown]:
        right = isinstance(rows[0][name], int | float | Decimal)
        table.add_column(
            name, justify="right" if right else "left", no_wrap=not wrap, overflow="ellipsis", max_width=most
        )
    for row_cells in cells:
        table.add_row(*row_cells[:shown])
    console.print(table)


def _fitting(names: Sequence[str], cells: Sequence[Sequence[str]], width: int) -> int:
    """Return how many of the columns fit ``width``, if long texts are cut to ``NARROW`` characters."""
    taken = 1
    for place, name in enumerate(names):
        longest = max(len(row[place]) for row in cells)
        taken += 3 + max(len(name), min(longest, NARROW))
        if taken > width and place > 0:
            return place
    return len(names)


def _longest_shown(names: Sequence[str], cells: Sequence[Sequence[str]], width: int) -> int:
    """Return to how many characters cells are cut so that the table fits ``width``: only long texts are cut."""
    wanted = [max(len(name), *(len(row[place]) for row in cells)) for place, name in enumerate(names)]
    room = width - 1 - 3 * len(names)
    most = max(wanted)
    while most > NARROW and sum(min(length, most) for length in wanted) > room:
        most -= 1
    return most


def show_rows_as_they_come(rows: Iterable[Mapping[str, Any]], title: str) -> None:
    """Print slowly produced rows: each immediately in a pipe, with a progress line on a terminal."""
    if wants_json():
        for row in rows:
            print(json.dumps(row, default=_plain), flush=True)
        return
    collected = []
    with Console(stderr=True).status(title) as status:
        for row in rows:
            collected.append(row)
            status.update(f"{title}: {' '.join(str(value) for value in list(row.values())[:2])}")
    show_rows(collected, title) if collected else Console().print(f"{title}: nothing to do")


def show_facts(facts: Mapping[str, Any], title: str, *, by_part: bool = False) -> None:
    """Print one set of facts as a two-column table (``by_part``: grouped by what precedes the dot), or as JSON."""
    if wants_json():
        print(json.dumps(facts, default=_plain))
        return
    table = Table(title=title, title_justify="left", show_header=False)
    part = next(iter(facts), "").partition(".")[0]
    for name, value in facts.items():
        if by_part and name.partition(".")[0] != part:
            part = name.partition(".")[0]
            table.add_section()
        table.add_row(name, _cell(value))
    Console().print(table)


def show_whole(facts: Mapping[str, Any]) -> None:
    """Print facts as JSON, also on a terminal: nothing of a receipt may be cut."""
    print(json.dumps(facts, default=_plain, indent=None if wants_json() else 2))


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """Yield a callback (done, total) that draws a progress bar on a terminal, and nothing in a pipe."""
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float | Decimal):
        return _number(float(value))
    if isinstance(value, timedelta):
        return str(value).split(".")[0]
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    text = json.dumps(value, default=_plain) if isinstance(value, dict | list) else str(value)
    return text if len(text) <= WIDE else text[: WIDE - 1] + "…"


def _number(value: float) -> str:
    """Return three decimals, or three significant digits of a smaller number, such as a cost."""
    if not 1e-12 < abs(value) < 0.1:
        return f"{value:.3f}"
    return f"{value:.{2 - math.floor(math.log10(abs(value)))}f}"


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
