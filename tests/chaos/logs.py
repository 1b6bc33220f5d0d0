"""Logs of the processes: tracebacks by their last line, and the number of lines of each level."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

# psycopg 3.3 expects one answer to the end of a COPY; PgBouncer gives two when its server dies. The writer tries again.
KNOWN = {"copy_end": "ValueError: too many values to unpack (expected 1)"}
POOL = " ERROR sqlalchemy.pool."  # logs why it throws a connection away
# Expected during a fault: Postgres is away, or refuses writes.
EXPECTED = ("sona_pg.errors.DatabaseUnavailable", "sona_pg.errors.DatabaseError")
START = "Traceback (most recent call last):"
CHAINED = ("The above exception was", "During handling of the above")
LEVEL = re.compile(r"^\d{4}-\S+ \S+ (DEBUG|INFO|WARNING|ERROR|CRITICAL) ")


def tracebacks(lines: list[str]) -> Iterator[tuple[str, bool]]:
    """Yield the last line of each traceback, and whether it may be there.

    Not allowed: an exception that ends a thread, or one that could not be reported.
    """
    place = 0
    while place < len(lines):
        if lines[place] != START:
            place += 1
            continue
        before = lines[place - 1] if place else ""
        place, last, function = _end(lines, place)
        lost = before.startswith(("Exception in thread", "Exception ignored"))
        known = KNOWN.get(function) == last or POOL in before
        yield last, not lost and (known or last.split(":")[0] in EXPECTED)


def summary(folder: Path) -> tuple[Counter[str], Counter[str]]:
    """Return the levels of the log lines of all processes, and the unexpected tracebacks."""
    levels: Counter[str] = Counter()
    unexpected: Counter[str] = Counter()
    for path in sorted(folder.glob("*.log")):
        lines = path.read_text(errors="replace").splitlines()
        levels.update(match[1] for line in lines if (match := LEVEL.match(line)))
        unexpected.update(f"{path.stem}: {_shape(last)}" for last, fine in tracebacks(lines) if not fine)
    return levels, unexpected


def _end(lines: list[str], place: int) -> tuple[int, str, str]:
    """Return the place after a traceback and those chained to it, its last line, and the function that raised."""
    last = function = ""
    while place < len(lines) and lines[place] == START:
        place += 1
        while place < len(lines) and lines[place].startswith(" "):
            function = lines[place].rsplit(", in ", 1)[-1] if lines[place].startswith("  File ") else function
            place += 1
        last = lines[place] if place < len(lines) else "cut short"
        ahead = place + 1
        while ahead < len(lines) and lines[ahead] != START and not LEVEL.match(lines[ahead]):
            ahead += 1
        if not any(line.startswith(CHAINED) for line in lines[place:ahead]):
            return place, last, function
        place = ahead
    return place, last, function


def _shape(line: str) -> str:
    """Return a line with its numbers taken out, so that equal mistakes are counted as one."""
    return re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|\d+", "#", line)[:200]
