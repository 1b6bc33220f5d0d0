"""Nearest-neighbour search over the trajectories of a space.

The id range of a space is divided into spans: sealed weeks with many of its trajectories, each searched by its HNSW
index, and the ranges between them (the current week, small weeks, the default partition), scanned exactly. One
statement selects the k nearest of each span and merges them. Spans cover all ids regardless of the partitions that
exist when the statement runs: a week sealed or dropped meanwhile affects the access path of its own rows only.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, TypeAlias
from uuid import UUID

import numpy as np
import psycopg
from numpy.typing import NDArray
from pgvector import HalfVector
from pgvector.sqlalchemy import BIT, HALFVEC
from psycopg.rows import namedtuple_row
from sqlalchemy import (
    REAL,
    ColumnElement,
    Connection,
    Integer,
    Row,
    Select,
    bindparam,
    case,
    cast,
    column,
    func,
    literal_column,
    select,
    table,
    type_coerce,
    union_all,
)
from sqlalchemy import Uuid as UuidType
from sqlalchemy.dialects.postgresql import psycopg as postgresql_psycopg

from sona_pg.domain.answer import FoundTrajectory, SearchResult
from sona_pg.domain.ids import made_at
from sona_pg.domain.space import Space
from sona_pg.store.admin.sealing import MAX_HALFVEC
from sona_pg.store.admin.weeks import id_floor
from sona_pg.store.connect import driver_connection
from sona_pg.store.schema import sealed_weeks, trajectories

# enable_sort = off makes the planner prefer the index; without an index it sorts all the same.
SETTINGS = (
    "SET LOCAL citus.propagate_set_commands = 'local'",  # to the worker that has the space; without Citus just a name
    "SET LOCAL jit = off",
    "SET LOCAL hnsw.iterative_scan = 'relaxed_order'",
    "SET LOCAL hnsw.ef_search = 128",
    "SET LOCAL hnsw.max_scan_tuples = 20000",
    "SET LOCAL enable_sort = off",
    "SET LOCAL enable_seqscan = off",
)
NO_JIT = ("SET LOCAL jit = off",)  # compilation takes longer than the scan of a space
EF_SEARCH = 128  # recall@10 of 0.96 with 1,000,000 stored; 100 gives 0.95, 200 0.97 for a third more time
COSTLIER = 40  # cost of visiting a graph node relative to scanning a row (0.4 µs): measured at 256 dimensions
ALWAYS_EXACT = 2_000  # rows of a space in a week below which a scan beats the index
AGAIN_EXACT = 100_000  # rows up to which a span is rescanned if its index returned too few
RERANK = 20  # candidates by binary quantisation for each result
# SQLSTATEs of a statement whose partition is dropped while it runs: undefined table, internal error, deadlock.
VANISHED = ("42P01", "XX000", "40P01")
ATTEMPTS = 3
REMEMBERED = 2.0  # seconds for which the list of sealed weeks is cached
DIALECT = postgresql_psycopg.dialect()  # type: ignore[no-untyped-call]
FIRST, LAST = UUID(int=0), UUID(int=2**128 - 1)

Column: TypeAlias = ColumnElement[Any]

latest_feedback = table(
    "latest_feedback",
    column("space_id"),
    column("trajectory_id"),
    column("source"),
    column("quality", REAL),
    column("correction"),
    schema="sona",
)


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """Number of results and filters of a search."""

    k: int
    route: str | None = None
    min_quality: float | None = None
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """An inclusive range of ids, with its access path."""

    first: UUID
    last: UUID
    rows: int = 0  # trajectories of the space in it, if it is searched by index
    exact: bool = True


class SealedWeeks:
    """Cache of the sealed weeks of each space, refreshed every few seconds.

    A stale entry costs time, never a result: a week sealed since is scanned, a dropped one has no rows.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[float, list[Row[Any]]]] = {}

    def of(self, connection: Connection, space_id: int) -> list[Row[Any]]:
        """Return the sealed weeks of a space, oldest first."""
        read_at, rows = self._known.get(space_id, (-REMEMBERED, []))
        if time.monotonic() - read_at > REMEMBERED:
            rows = list(connection.execute(SEALED, {"space": space_id, "least": ALWAYS_EXACT}))
            connection.rollback()
            self._known[space_id] = (time.monotonic(), rows)
        return rows

    def forget(self) -> None:
        """Clear the cache."""
        self._known.clear()


def search(
    connection: Connection,
    weeks: SealedWeeks,
    space: Space,
    query: NDArray[np.float32],
    wanted: SearchRequest,
    *,
    exact: bool = False,
) -> SearchResult:
    """Return the ``wanted.k`` trajectories of the space nearest to ``query`` (dim,), a vector of positive norm."""
    start = FIRST if wanted.since is None else id_floor(wanted.since)
    spans = [Span(start, LAST)] if exact else _spans(weeks.of(connection, space.space_id), start, wanted.k)
    unit = query / np.float32(np.linalg.norm(query))  # unit length, so that half precision can represent it
    rows = _nearest(connection, space, unit, wanted, spans)
    short = [
        index
        for index, span in enumerate(spans)
        if not span.exact and sum(row.span == index for row in rows) < wanted.k
    ]
    again = [index for index in short if spans[index].rows <= AGAIN_EXACT]
    if again:
        rows = [row for row in rows if row.span not in again]
        rows += _nearest(connection, space, unit, wanted, [Span(spans[i].first, spans[i].last) for i in again])
    rows = [row for row in rows if not np.isnan(row.distance)]  # distances to zero vectors are NaN
    rows.sort(key=lambda row: (row.distance, row.id))
    return SearchResult(tuple(_found(row) for row in rows[: wanted.k]), complete=len(short) == len(again))


def sample(connection: Connection, space: Space, n: int, seed: int) -> list[NDArray[np.float32]]:
    """Return the embeddings of about ``n`` stored trajectories of a space, spread over their time."""
    mine = (trajectories.c.space_id == space.space_id) & (func.vector_dims(trajectories.c.embedding) == space.dim)
    lowest, highest = (
        connection.scalar(select(trajectories.c.id).where(mine).order_by(order).limit(1))
        for order in (trajectories.c.id, trajectories.c.id.desc())
    )
    if lowest is None or highest is None:
        return []
    draws = np.random.default_rng(seed).random(n)
    next_one = (
        select(trajectories.c.embedding)
        .where(mine, trajectories.c.id >= bindparam("pivot", type_=UuidType))
        .order_by(trajectories.c.id)
        .limit(1)
    )
    width = highest.int - lowest.int
    found = (connection.scalar(next_one, {"pivot": UUID(int=lowest.int + int(width * draw))}) for draw in draws)
    vectors = [np.asarray(vector, np.float32) for vector in found if vector is not None]
    return [vector for vector in vectors if np.any(vector)]


SEALED = (
    select(sealed_weeks.c.first_id, sealed_weeks.c.end_id, sealed_weeks.c.trajectories, sealed_weeks.c.indexed)
    .where(
        sealed_weeks.c.space_id == bindparam("space"),
        sealed_weeks.c.trajectories > bindparam("least"),
    )
    .order_by(sealed_weeks.c.first_id)
)


# -- spans --------------------------------------------------------------------------------------------------


def _spans(weeks: Sequence[Row[Any]], start: UUID, k: int) -> list[Span]:
    """Return spans that cover all ids from ``start`` on."""
    spans, at = [], start
    for row in weeks:
        # The index covers all spaces: expected nodes visited until k of this one are found, if they are well mixed.
        visited = max(EF_SEARCH, k * row.indexed / row.trajectories)
        if row.end_id <= start or row.trajectories <= COSTLIER * visited:
            continue
        if row.first_id > at:
            spans.append(Span(at, _before(row.first_id)))
        spans.append(Span(max(at, row.first_id), _before(row.end_id), row.trajectories, exact=False))
        at = row.end_id
    return [*spans, Span(at, LAST)]


def _before(end: UUID) -> UUID:
    return UUID(int=end.int - 1)


# -- the statement ------------------------------------------------------------------------------------------


def _nearest(
    connection: Connection, space: Space, query: NDArray[np.float32], wanted: SearchRequest, spans: Sequence[Span]
) -> list[Any]:
    """Return the k nearest rows of every span, each with its span's number."""
    statement = _statement(
        space.dim, wanted.route is not None, wanted.min_quality is not None, tuple(span.exact for span in spans)
    )
    values: dict[str, Any] = {"space": space.space_id, "vector": HalfVector(query).to_text(), "k": wanted.k}
    if wanted.route is not None:
        values["route"] = wanted.route
    if wanted.min_quality is not None:
        values["min_quality"] = wanted.min_quality
    for index, span in enumerate(spans):
        values |= {f"first_{index}": span.first, f"last_{index}": span.last}
    by_index = not all(span.exact for span in spans)
    return _in_one_trip(driver_connection(connection), SETTINGS if by_index else NO_JIT, statement, values)


def _in_one_trip(
    raw: psycopg.Connection[Any], settings: Sequence[str], statement: str, values: dict[str, Any]
) -> list[Any]:
    """Run settings, statement and COMMIT of a transaction in one round trip, each a message of its own.

    Citus would send statements of one message to a worker as a whole.
    """
    raw.autocommit = True  # else the driver would send its own BEGIN first, and wait for it
    try:
        with raw.pipeline(), psycopg.ClientCursor(raw, row_factory=namedtuple_row) as cursor:
            for before in ("BEGIN READ ONLY", *settings):
                raw.execute(before)
            cursor.execute(statement, values)
            raw.execute("COMMIT")
            return cursor.fetchall()
    finally:
        if not raw.closed:
            raw.rollback()  # a no-op after success
            raw.autocommit = False


@lru_cache(maxsize=256)
def _statement(dim: int, by_route: bool, by_quality: bool, exact: tuple[bool, ...]) -> str:
    """Return the SQL for spans with these access paths; cached, because compiling it costs more than a round trip."""
    parts = [_part(dim, by_route, by_quality, scanned, index) for index, scanned in enumerate(exact)]
    nearest = union_all(*(select(part.subquery()) for part in parts)).subquery("nearest")
    n = nearest.c
    return str(select(*n, _quality(n.id, n.route, n.at_end).label("quality")).compile(dialect=DIALECT))


def _part(dim: int, by_route: bool, by_quality: bool, scanned: bool, index: int) -> Select[Any]:
    t = trajectories.c
    vector = bindparam("vector", type_=HALFVEC(dim))
    condition = [
        t.space_id == bindparam("space"),
        t.id >= bindparam(f"first_{index}", type_=UuidType),
        t.id <= bindparam(f"last_{index}", type_=UuidType),
        func.vector_dims(t.embedding) == literal_column(str(dim)),
    ]
    if by_route:
        condition.append(t.route == bindparam("route"))
    if by_quality:
        # In single precision, as qualities are stored: a stored 0.7 must satisfy min_quality=0.7.
        condition.append(_quality(t.id, t.route, t.quality) >= cast(bindparam("min_quality"), REAL))
    # The index is on a typed cast, so an exact span over the untyped column cannot use it.
    exact: ColumnElement[Any] = t.embedding.cosine_distance(vector)
    columns = (t.id, t.route, t.query, t.quality.label("at_end"))
    limit = bindparam("k", type_=Integer)
    candidates: ColumnElement[int] = limit
    if scanned:
        by = exact
    elif dim <= MAX_HALFVEC:
        by = cast(t.embedding, HALFVEC(dim)).cosine_distance(vector)
    else:
        bits = BIT(dim)
        asked = cast(func.binary_quantize(cast(vector, HALFVEC(dim))), bits)
        by = cast(func.binary_quantize(t.embedding), bits).op("<~>")(asked)
        candidates = limit * literal_column(str(RERANK), Integer)
    part = (
        select(*columns, exact.label("distance"), literal_column(str(index)).label("span"))
        .where(*condition)
        .order_by(by)
        .limit(candidates)
    )
    if scanned or dim <= MAX_HALFVEC:
        return part
    inner = part.subquery()
    return select(inner).order_by(inner.c.distance).limit(limit)


def _quality(trajectory: Column, route: Column, at_end: Column) -> Column:
    """Return the SQL expression of a trajectory's outcome, as in the view ``sona.outcomes``."""
    f = latest_feedback.c
    said = case((f.correction.is_(None), f.quality), else_=cast(cast(f.correction == route, Integer), REAL))
    mean = (
        select(func.avg(said))
        .where(f.space_id == bindparam("space"), f.trajectory_id == trajectory)
        .correlate_except(latest_feedback)
        .scalar_subquery()
    )
    return type_coerce(func.coalesce(mean, at_end), REAL)


def _found(row: Any) -> FoundTrajectory:
    return FoundTrajectory(
        id=row.id,
        similarity=1.0 - float(row.distance),
        route=row.route,
        query=row.query,
        quality=None if row.quality is None else float(row.quality),
        started_at=made_at(row.id),
    )
