"""Output: tables on a terminal, JSON in a pipe."""

from __future__ import annotations

import json
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


def show_rows(rows: Sequence[Mapping[str, Any]], title: str, hide: Sequence[str] = ()) -> None:
    """Print rows as a table, or as one JSON object a line."""
    if not sys.stdout.isatty():
        for row in rows:
            print(json.dumps(row, default=_plain))
        return
    table = Table(title=title, title_justify="left")
    names = [name for name in (rows[0] if rows else {}) if name not in hide]
    for name in names:
        table.add_column(name, justify="right" if isinstance(rows[0][name], int | float | Decimal) else "left")
    for row in rows:
        table.add_row(*(_cell(row[name]) for name in names))
    Console().print(table if rows else f"{title}: none yet")


def show_rows_as_they_come(rows: Iterable[Mapping[str, Any]], title: str) -> None:
    """Print slowly produced rows: each immediately in a pipe, with a progress line on a terminal."""
    if not sys.stdout.isatty():
        for row in rows:
            print(json.dumps(row, default=_plain), flush=True)
        return
    collected = []
    with Console(stderr=True).status(title) as status:
        for row in rows:
            collected.append(row)
            status.update(f"{title}: {' '.join(str(value) for value in list(row.values())[:2])}")
    show_rows(collected, title) if collected else Console().print(f"{title}: nothing to do")


def show_facts(facts: Mapping[str, Any], title: str) -> None:
    """Print one set of facts as a two-column table, or as one JSON object."""
    if not sys.stdout.isatty():
        print(json.dumps(facts, default=_plain))
        return
    table = Table(title=title, title_justify="left", show_header=False)
    for name, value in facts.items():
        table.add_row(name, _cell(value))
    Console().print(table)


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
        return f"{float(value):.3f}"
    if isinstance(value, timedelta):
        return str(value).split(".")[0]
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    text = json.dumps(value, default=_plain) if isinstance(value, dict | list) else str(value)
    return text if len(text) <= WIDE else text[: WIDE - 1] + "…"


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
