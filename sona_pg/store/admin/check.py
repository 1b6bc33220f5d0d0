"""Integrity check: every object of the migrations exists and is valid, and the rows are consistent with each other.

An interrupted restore leaves tables without rows, rows without indexes, detached partitions, or versions without their
arrays; Postgres reports none of these as an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg

from sona_pg.store.admin import sealing, weeks
from sona_pg.store.admin.inventory import INVENTORY
from sona_pg.store.admin.weeks import LEDGER, Week
from sona_pg.store.connect import connect, driver_connection, translated
from sona_pg.store.schema import metadata

THERE = """
SELECT 'table', relname::text FROM pg_class WHERE relnamespace = 'sona'::regnamespace AND relkind IN ('r', 'p')
UNION ALL
SELECT 'view', relname FROM pg_class WHERE relnamespace = 'sona'::regnamespace AND relkind = 'v'
UNION ALL
SELECT 'index', relname FROM pg_class WHERE relnamespace = 'sona'::regnamespace AND relkind IN ('i', 'I')
UNION ALL
SELECT 'function', proname FROM pg_proc WHERE pronamespace = 'sona'::regnamespace
UNION ALL
SELECT 'constraint', c.relname || '.' || k.conname FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
WHERE k.connamespace = 'sona'::regnamespace AND k.contype IN ('c', 'f', 'p', 'u')
"""
COLUMNS = """
SELECT c.relname::text, a.attname::text FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
WHERE c.relnamespace = 'sona'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped
"""
INVALID = """
SELECT 'index', c.relname::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE c.relnamespace = 'sona'::regnamespace AND NOT i.indisvalid
  AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index p WHERE p.relid = i.indrelid)
UNION ALL
SELECT 'constraint', c.relname || '.' || k.conname FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
WHERE k.connamespace = 'sona'::regnamespace AND NOT k.convalidated
"""
# Tables with a partition's name that are not attached; partitions without a primary key.
LOOSE = """
SELECT 'partition', c.relname::text,
       CASE WHEN c.relispartition THEN 'has no primary key' ELSE 'is not attached to its table' END
FROM pg_class c
WHERE c.relnamespace = 'sona'::regnamespace AND c.relkind = 'r'
  AND c.relname ~ '^((trajectories|steps|feedback)_(rest|w[0-9]{8})|(patterns|memory_nodes)_d[0-9]+)$'
  AND (NOT c.relispartition OR NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary))
"""
DIMENSIONS = "SELECT DISTINCT dim FROM sona.spaces ORDER BY dim"
SEALED = "SELECT DISTINCT w.first_id, s.dim FROM sona.sealed_weeks w JOIN sona.spaces s USING (space_id)"

# -- rows ---------------------------------------------------------------------------------------------------

NAMELESS = """
(SELECT space_id FROM sona.space_names EXCEPT SELECT space_id FROM sona.spaces)
UNION ALL
(SELECT space_id FROM sona.spaces EXCEPT SELECT space_id FROM sona.space_names)
"""
NO_LIVE_VERSION = """
SELECT s.space_id, s.live_version FROM sona.spaces s WHERE s.live_version > 0 AND NOT EXISTS (
    SELECT FROM sona.state_versions v
    WHERE v.space_id = s.space_id AND v.version = s.live_version AND v.status = 'live')
"""
WITHOUT_PARTS = """
SELECT v.space_id, v.version, part.name FROM sona.state_versions v
CROSS JOIN (VALUES ('micro adapter'), ('base adapters')) AS part (name)
WHERE NOT EXISTS (
    SELECT FROM sona.adapters a
    WHERE a.space_id = v.space_id AND a.version = v.version AND a.kind = split_part(part.name, ' ', 1))
"""
WITHOUT_PATTERNS = """
SELECT c.space_id, c.version, c.patterns - count(p.pattern_id), c.patterns FROM sona.version_contents c
LEFT JOIN sona.version_patterns p ON p.space_id = c.space_id AND p.version = c.version
GROUP BY c.space_id, c.version, c.patterns HAVING count(p.pattern_id) < c.patterns
"""
SLOTS = """
SELECT space_id, count(slot), max(slot) + 1 FROM sona.candidates WHERE slot IS NOT NULL
GROUP BY space_id HAVING count(slot) <> max(slot) + 1
"""
# Only batches that lie entirely in existing weeks: retention may have dropped part of the others.
MISSING = """
SELECT b.space_id, count(*), sum(b.trajectories - b.stored) FROM (
    SELECT b.space_id, b.batch, b.trajectories, (
        SELECT count(*) FROM sona.trajectories t
        WHERE t.space_id = b.space_id AND t.batch = b.batch AND t.id >= b.first_id AND t.id <= b.last_id
    ) AS stored
    FROM sona.batches b
    WHERE b.first_id >= %(first)s AND b.last_id < %(end)s AND b.trajectories > 0
) b WHERE b.stored < b.trajectories GROUP BY b.space_id
"""
MISSING_STEPS = """
SELECT t.space_id, t.steps - coalesce(s.steps, 0) FROM (
    SELECT space_id, sum(step_count) AS steps FROM sona.trajectories
    WHERE id >= %(first)s AND id < %(end)s GROUP BY space_id
) t LEFT JOIN (
    SELECT space_id, count(*) AS steps FROM sona.steps
    WHERE trajectory_id >= %(first)s AND trajectory_id < %(end)s GROUP BY space_id
) s ON s.space_id = t.space_id
WHERE coalesce(s.steps, 0) < t.steps
"""
NO_FEEDBACK = """
SELECT b.space_id, sum(b.feedback) FROM sona.batches b
JOIN sona.spaces s ON s.space_id = b.space_id AND s.given_up_feedback = 0
WHERE b.feedback > 0 AND NOT EXISTS (SELECT FROM sona.feedback f WHERE f.space_id = b.space_id)
GROUP BY b.space_id
"""


@dataclass(frozen=True, slots=True)
class Fault:
    """One missing or inconsistent object."""

    kind: str  # table, column, view, index, function, constraint, partition, space, version, rows
    name: str
    problem: str


def faults(url: str) -> list[Fault]:
    """Return every fault of a database whose schema is at this release's revision.

    Counts the ledger's rows: about a second for a million trajectories.

    Raises:
        DatabaseError: Postgres does not answer, or refuses.
    """
    engine = connect(url)
    try:
        with translated("checking the database", engine.url), engine.connect() as connection:
            raw = driver_connection(connection)
            raw.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            raw.execute("SET LOCAL statement_timeout = 0")
            return find(raw)
    finally:
        engine.dispose()


def find(raw: psycopg.Connection[Any]) -> list[Fault]:
    """Return every fault visible to the transaction of ``raw``."""
    found = list(_schema(raw))
    if not any(fault.kind in ("table", "column") for fault in found):  # else the queries would fail
        found += [*_partitions(raw), *_rows(raw)]
    return found


def _schema(raw: psycopg.Connection[Any]) -> Iterator[Fault]:
    there = set(raw.execute(THERE).fetchall())
    for kind, names in INVENTORY.items():
        for name in names.split():
            if (kind, name) not in there:
                yield Fault(kind, name, "is not there")
    columns = set(raw.execute(COLUMNS).fetchall())
    for table in metadata.sorted_tables:
        for column in table.columns:
            if ("table", table.name) in there and (table.name, column.name) not in columns:
                yield Fault("column", f"{table.name}.{column.name}", "is not there")
    for kind, name in raw.execute(INVALID):
        yield Fault(kind, name, "is not valid")


def _partitions(raw: psycopg.Connection[Any]) -> Iterator[Fault]:
    for kind, name, problem in raw.execute(LOOSE):
        yield Fault(kind, name, problem)
    there = set(raw.execute(THERE).fetchall())
    for (dim,) in raw.execute(DIMENSIONS).fetchall():
        for parent in ("patterns", "memory_nodes"):
            for kind, name in (("table", f"{parent}_d{dim}"), ("index", f"{parent}_d{dim}_hnsw")):
                if (kind, name) not in there:
                    yield Fault(kind, name, f"is not there, and a space has {dim} dimensions")
    known = {week.first_id: week for week in weeks.weeks_of(raw, "trajectories")}
    for first_id, dim in raw.execute(SEALED).fetchall():
        week = known.get(first_id)
        if week is not None and sealing.is_valid(raw, week, dim) is None:
            yield Fault("index", sealing.index_name(week, dim), "is not there, and sona.sealed_weeks says that it is")


def _rows(raw: psycopg.Connection[Any]) -> Iterator[Fault]:
    for (space,) in raw.execute(NAMELESS):
        yield Fault("space", str(space), "is in only one of sona.spaces and sona.space_names")
    for space, version in raw.execute(NO_LIVE_VERSION):
        yield Fault("version", f"{version} of space {space}", "should be live, and is not among sona.state_versions")
    for space, version, part in raw.execute(WITHOUT_PARTS):
        yield Fault("version", f"{version} of space {space}", f"has no {part}")
    for space, version, lost, of in raw.execute(WITHOUT_PATTERNS):
        yield Fault("version", f"{version} of space {space}", f"lacks {lost} of its {of} patterns")
    for space, slots, expected in raw.execute(SLOTS):
        yield Fault("rows", f"candidates of space {space}", f"{expected - slots} of {expected} slots are not there")
    there = {parent: set(weeks.weeks_of(raw, parent)) for parent in LEDGER}
    for first, last in _stretches(sorted(there["trajectories"])):
        for space, batches, lost in raw.execute(MISSING, {"first": first.first_id, "end": last.end_id}):
            yield Fault("rows", f"trajectories of space {space}", f"{lost} of {batches} batches are not there")
    for week in sorted(there["trajectories"] & there["steps"]):
        for space, lost in raw.execute(MISSING_STEPS, {"first": week.first_id, "end": week.end_id}):
            yield Fault("rows", f"{week.partition('steps')} of space {space}", f"{lost} steps are not there")
    for space, facts in raw.execute(NO_FEEDBACK):
        yield Fault("rows", f"feedback of space {space}", f"none of {facts} facts is there")


def _stretches(there: list[Week]) -> Iterator[tuple[Week, Week]]:
    """Yield the first and last week of each run of consecutive weeks."""
    first = last = None
    for week in there:
        if last is not None and last.end == week.monday:
            last = week
            continue
        if first is not None and last is not None:
            yield first, last
        first = last = week
    if first is not None and last is not None:
        yield first, last
