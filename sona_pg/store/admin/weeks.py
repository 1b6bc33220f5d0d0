"""Weekly partitions of the ledger: listing, creating, filling from the default partition, and dropping them.

A partition is named after its week (``trajectories_w20261116`` begins on that Monday, UTC); all ids of a week lie in
``[first_id, end_id)``. Rows of weeks without a partition are in the default partitions ``*_rest``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql

LEDGER = {"trajectories": "id", "steps": "trajectory_id", "feedback": "trajectory_id"}  # by the column of the id
WEEK = timedelta(days=7)
MAX_MS = (1 << 48) - 1  # the largest timestamp of an id
LAST_ID = UUID(int=(1 << 128) - 1)

PARTITIONS = """
SELECT child.relname FROM pg_inherits
JOIN pg_class child ON child.oid = inhrelid
WHERE inhparent = to_regclass(%(parent)s) AND NOT inhdetachpending
ORDER BY child.relname
"""
# Only a UUIDv7 carries its time; rows with other ids stay in the default partition.
RESTING_WEEKS = sql.SQL("""
SELECT date_trunc('week', sona.uuid_time({id}) AT TIME ZONE 'UTC') AS monday, count(*)
FROM {rest} WHERE {id} < %(end)s AND substr({id}::text, 15, 1) = '7'
GROUP BY monday ORDER BY monday
""")
MAKE = "SELECT sona.ensure_partitions(%(at)s, 1, ARRAY[%(parent)s])"
DROP = sql.SQL("DROP TABLE {child}")
FORGET_SEALED = "DELETE FROM sona.sealed_weeks WHERE space_id = %(space)s AND first_id = %(first)s"
SPACES = "SELECT space_id FROM sona.spaces ORDER BY space_id"


@dataclass(frozen=True, slots=True, order=True)
class Week:
    """One week of the ledger."""

    monday: datetime  # its first moment, UTC

    @classmethod
    def of(cls, at: datetime) -> Week:
        """Return the week of a moment."""
        day = at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        return cls(day - timedelta(days=day.weekday()))

    @property
    def end(self) -> datetime:
        """First moment after the week."""
        return self.monday + WEEK

    @property
    def first_id(self) -> UUID:
        """The smallest id of the week."""
        return id_floor(self.monday)

    @property
    def end_id(self) -> UUID:
        """The smallest id after the week."""
        return id_floor(self.end)

    def partition(self, parent: str) -> str:
        """Return the name of the week's partition of ``parent``."""
        return f"{parent}_w{self.monday:%Y%m%d}"


def id_floor(at: datetime) -> UUID:
    """Return the smallest UUIDv7 of a moment, as ``sona.uuid_floor`` does."""
    return UUID(int=min(max(0, round(at.timestamp() * 1000)), MAX_MS) << 80)


def weeks_of(raw: psycopg.Connection[Any], parent: str) -> list[Week]:
    """Return the weeks that have a partition of ``parent``, oldest first."""
    named = re.compile(rf"{parent}_w(\d{{8}})")
    found = (named.fullmatch(name) for (name,) in raw.execute(PARTITIONS, {"parent": f"sona.{parent}"}))
    return sorted(Week(datetime.strptime(match[1], "%Y%m%d").replace(tzinfo=UTC)) for match in found if match)


def table(name: str) -> sql.Identifier:
    """Return a table's name as SQL."""
    return sql.Identifier("sona", name)


def resting_weeks(raw: psycopg.Connection[Any], end: Week) -> dict[Week, dict[str, int]]:
    """Return the number of rows in the default partitions, by week before ``end`` and by table."""
    found: dict[Week, dict[str, int]] = {}
    for parent, column in LEDGER.items():
        query = RESTING_WEEKS.format(id=sql.Identifier(column), rest=table(f"{parent}_rest"))
        for monday, rows in raw.execute(query, {"end": end.first_id}):
            found.setdefault(Week(monday.replace(tzinfo=UTC)), {})[parent] = rows
    return dict(sorted(found.items()))


def make(raw: psycopg.Connection[Any], week: Week, parent: str) -> list[str]:
    """Create the week's partition of ``parent`` if it is missing, and move its rows out of the default one.

    One transaction each, so that readers of several tables cannot deadlock with it.
    """
    return [name for (name,) in raw.execute(MAKE, {"at": week.monday, "parent": parent})]


def drop(raw: psycopg.Connection[Any], week: Week, parents: list[str]) -> None:
    """Drop the week's partitions of ``parents``, which the caller has locked."""
    for parent in parents:
        raw.execute(DROP.format(child=table(week.partition(parent))))
    if "trajectories" in parents:
        for space in spaces(raw):
            raw.execute(FORGET_SEALED, {"space": space, "first": week.first_id})


def spaces(raw: psycopg.Connection[Any]) -> Iterator[int]:
    """Yield the id of every space."""
    for (space,) in raw.execute(SPACES).fetchall():
        yield space
