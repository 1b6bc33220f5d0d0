"""Sealing: builds the HNSW indexes of a week that has ended, one for each dimension in it.

The partition being written has none: there an index costs two hundred times the insert. Builds run CONCURRENTLY,
outside a transaction, so that a recorder with late rows from a spool does not wait.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql

from sona_pg.store.admin.weeks import Week, table

MAX_HALFVEC = 4000  # dimensions that HNSW accepts as halfvec; above, binary quantisation with an exact re-rank

DIMENSIONS = sql.SQL("""
SELECT DISTINCT s.dim FROM sona.spaces s
WHERE EXISTS (SELECT FROM {child} t WHERE t.space_id = s.space_id) ORDER BY s.dim
""")
STATE = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%(name)s)"
BEING_BUILT = """
SELECT count(*) FROM pg_stat_progress_create_index
WHERE datname = current_database() AND relid = to_regclass(%(child)s)
"""
# The condition excludes rows of other dimensions from the cast; every search must repeat it.
BUILD = sql.SQL("CREATE INDEX CONCURRENTLY {name} ON {child} USING hnsw ({expression}) WHERE {condition}")
HALF = sql.SQL("(embedding::halfvec({dim})) halfvec_cosine_ops")
BITS = sql.SQL("(binary_quantize(embedding)::bit({dim})) bit_hamming_ops")
CONDITION = sql.SQL("vector_dims(embedding) = {dim}")
REMARK = sql.SQL("COMMENT ON INDEX {name} IS 'Serves: nearest trajectories of a sealed week; see sona.sealed_weeks'")
UNMAKE = sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {name}")
FREEZE = sql.SQL("VACUUM (FREEZE, ANALYZE) {child}")
NOT_NOTED = sql.SQL("""
SELECT count(*) FROM sona.spaces s
WHERE s.dim = ANY(%(dims)s) AND EXISTS (SELECT FROM {child} t WHERE t.space_id = s.space_id)
  AND NOT EXISTS (SELECT FROM sona.sealed_weeks w WHERE w.space_id = s.space_id AND w.first_id = %(first)s)
""")
NOTE = sql.SQL("""
INSERT INTO sona.sealed_weeks (space_id, first_id, end_id, trajectories, indexed, sealed_at)
SELECT c.space_id, %(first)s, %(end)s, c.trajectories, sum(c.trajectories) OVER (PARTITION BY s.dim), %(at)s
FROM (SELECT t.space_id, count(*) AS trajectories FROM {child} t GROUP BY t.space_id) c
JOIN sona.spaces s ON s.space_id = c.space_id
WHERE s.dim = ANY(%(dims)s)
ON CONFLICT (space_id, first_id) DO UPDATE SET
    end_id = excluded.end_id, trajectories = excluded.trajectories, indexed = excluded.indexed,
    sealed_at = excluded.sealed_at
""")
COUNT = sql.SQL("SELECT count(*) FROM {child} WHERE vector_dims(embedding) = %(dim)s")

NODE_BYTES = 900  # per graph node during the build, without its vector: measured with m = 16


def dimensions(raw: psycopg.Connection[Any], week: Week) -> list[int]:
    """Return the dimensions of the spaces that have trajectories in a week."""
    return [dim for (dim,) in raw.execute(DIMENSIONS.format(child=_child(week)))]


def index_name(week: Week, dim: int) -> str:
    """Return the name of the index of a week and dimension."""
    return f"{week.partition('trajectories')}_d{dim}_hnsw"


def is_valid(raw: psycopg.Connection[Any], week: Week, dim: int) -> bool | None:
    """Return whether the index is valid; None if it does not exist."""
    row = raw.execute(STATE, {"name": f"sona.{index_name(week, dim)}"}).fetchone()
    return None if row is None else bool(row[0])


def is_being_built(raw: psycopg.Connection[Any], week: Week) -> bool:
    """Return whether any session is building an index on the week."""
    row = raw.execute(BEING_BUILT, {"child": f"sona.{week.partition('trajectories')}"}).fetchone()
    return row is not None and row[0] > 0


def freeze(raw: psycopg.Connection[Any], week: Week) -> None:
    """Vacuum, freeze and analyse a week, which hardly changes from now on."""
    raw.execute(FREEZE.format(child=_child(week)))


def count(raw: psycopg.Connection[Any], week: Week, dim: int) -> int:
    """Return the number of the week's trajectories of a dimension."""
    counted = raw.execute(COUNT.format(child=_child(week)), {"dim": dim}).fetchone()
    return 0 if counted is None else int(counted[0])


def build(raw: psycopg.Connection[Any], week: Week, dim: int) -> None:
    """Build the index of a week and dimension on the autocommit connection ``raw``."""
    number = sql.Literal(dim)
    query = BUILD.format(
        name=sql.Identifier(index_name(week, dim)),
        child=_child(week),
        expression=(HALF if dim <= MAX_HALFVEC else BITS).format(dim=number),
        condition=CONDITION.format(dim=number),
    )
    raw.execute(query)
    raw.execute(REMARK.format(name=_index(week, dim)))


def unmake(raw: psycopg.Connection[Any], week: Week, dim: int) -> None:
    """Drop the index of a week and dimension, valid or not."""
    raw.execute(UNMAKE.format(name=_index(week, dim)))


def needs_note(raw: psycopg.Connection[Any], week: Week, dims: list[int]) -> bool:
    """Return whether ``sona.sealed_weeks`` lacks a space with trajectories in the week."""
    row = raw.execute(NOT_NOTED.format(child=_child(week)), {"dims": dims, "first": week.first_id}).fetchone()
    return row is not None and row[0] > 0


def note(raw: psycopg.Connection[Any], week: Week, dims: list[int], at: datetime) -> None:
    """Record in ``sona.sealed_weeks`` that searches may use the week's indexes of ``dims``, with each space's rows."""
    values = {"dims": dims, "first": week.first_id, "end": week.end_id, "at": at}
    raw.execute(NOTE.format(child=_child(week)), values)


def megabytes(rows: int, dim: int, limit: int) -> int:
    """Return the memory in MB for building an index of ``rows`` vectors."""
    vector = 2 * dim if dim <= MAX_HALFVEC else dim // 8
    return max(16, min(limit, (rows * (NODE_BYTES + vector) >> 20) + 16))


def _child(week: Week) -> sql.Identifier:
    return table(week.partition("trajectories"))


def _index(week: Week, dim: int) -> sql.Identifier:
    return sql.Identifier("sona", index_name(week, dim))
